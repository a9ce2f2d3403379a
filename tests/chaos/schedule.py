"""Which faults come, when and how hard: a pure function of a seed.

A fault comes after so many requests were sent, not after so many seconds, so that a slow machine meets the
same faults at the same requests as a quick one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random


class Kind(Enum):
    """What is done to the agent, the broker, the link between them, the disk or the clock."""

    AGENT_KILL = "agent killed"
    AGENT_STOP = "agent stopped for a while"
    BROKER_TERM = "broker restarted"
    BROKER_KILL = "broker killed"
    LINK_CUT = "link cut, new ones refused"
    LINK_HUNG_UP = "link cut, new ones hung up on"
    LINK_RESET = "link reset"
    LINK_FREEZE = "link frozen"
    LINK_TRICKLE = "link trickles"
    LINK_DELAY = "link delays"
    AGENT_DESERTED = "half-open: agent not told"
    BROKER_DESERTED = "half-open: broker not told"
    DISK_FULL = "disk full"
    CLOCK_JUMP = "clock jumps"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        index: its place in the schedule.
        kind: what is done.
        after_requests: it begins once so many requests were sent.
        seconds: until all is as before; 0 where the kind ends by itself.
        strength: bytes a second of a trickle; seconds of a delay or of a clock jump; so many connections that
            are hung up on; of a full disk 1 where the agent is killed and started again meanwhile.
    """

    index: int
    kind: Kind
    after_requests: int
    seconds: float
    strength: float = 0.0

    def __str__(self) -> str:
        strength = f", strength {self.strength:g}" if self.strength else ""
        return (
            f"fault {self.index} after {self.after_requests} requests: {self.kind.value} "
            f"for {self.seconds:g} s{strength}"
        )


_JUMPS_SECONDS = (-31_536_000.0, -3_600.0, -5.0, 5.0, 3_600.0, 31_536_000.0)
_HANG_UPS = (1.0, 2.0, 3.0, 1000.0)  # after one, the agent has tried MQTT 5 and goes on with 3.1.1
_AT_ONCE = frozenset({Kind.AGENT_DESERTED, Kind.LINK_RESET})
_LONG_FREEZE_EVERY = 5
_BEYOND_KEEPALIVE_SECONDS = 12.0
"""Longer than twice the shortest keep-alive that the settings allow, so that both ends give up."""


def make_schedule(seed: int, requests: int, faults: int) -> tuple[Fault, ...]:
    """A schedule in which every kind comes equally often, evenly spread over the requests.

    Args:
        seed: the same seed gives the same schedule.
        requests: how many are sent in all.
        faults: how many there are.
    """
    random = Random(seed)
    kinds: list[Kind] = []
    while len(kinds) < faults:
        one_round = list(Kind)
        random.shuffle(one_round)
        kinds += one_round
    spacing = requests / (faults + 1)
    return tuple(
        Fault(
            index=index,
            kind=kind,
            after_requests=int(spacing * (index + 0.5 + 0.5 * random.random())),
            seconds=_seconds(kind, random),
            strength=_strength(kind, random),
        )
        for index, kind in enumerate(kinds[:faults])
    )


def _seconds(kind: Kind, random: Random) -> float:
    seconds = round(random.uniform(0.2, 2.0), 2)
    is_long = random.randrange(_LONG_FREEZE_EVERY) == 0
    if kind in _AT_ONCE:
        return 0.0
    if kind in (Kind.LINK_FREEZE, Kind.AGENT_STOP) and is_long:
        return _BEYOND_KEEPALIVE_SECONDS
    return seconds


def _strength(kind: Kind, random: Random) -> float:
    drawn = random.random()
    if kind is Kind.LINK_TRICKLE:
        return round(500 + 3500 * drawn)
    if kind is Kind.LINK_DELAY:
        return round(0.05 + 0.25 * drawn, 3)
    if kind is Kind.CLOCK_JUMP:
        return _JUMPS_SECONDS[int(drawn * len(_JUMPS_SECONDS))]
    if kind is Kind.LINK_HUNG_UP:
        return _HANG_UPS[int(drawn * len(_HANG_UPS))]
    if kind is Kind.DISK_FULL:
        return float(drawn < 0.5)
    return 0.0
