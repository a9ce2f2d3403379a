"""What a rollout is and where it stands, and its form in the state file. Pure.

The state of one device:

    pending ──► asked ──► executing ──► confirming ──► updated ──► failed   (serves another version later)
       │          │           │             └────────► failed         │
       │          │           └──► failed                             └──► asked   (to go back)
       │          ├──► unreachable ──► (executing, confirming, updated, failed: it returned)
       │          └──► withdrawn       (halted before it began)      asked to go back ──► … ──► returned
       └──► already (it had the version) · not_asked (halted before its turn)

*Confirming* is between the command's end and the device's own word, in ``model/<name>``, that it serves the
version. Everything is written down before it is acted on, so a driver that is killed goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from edge_agent.errors import SettingsError
from edge_agent.fleet.rollout.documents import is_device_id
from edge_agent.fleet.rollout.waves import Amount

FORMAT: Final = 1
UPDATE: Final = "model-update"
ROLLBACK: Final = "model-rollback"


class Phase(str, Enum):
    """Where a rollout stands."""

    RUNNING = "running"
    PAUSED = "paused"
    HALTING = "halting"
    HALTED = "halted"
    COMPLETE = "complete"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


class Standing(str, Enum):
    """Where a device stands in it."""

    PENDING = "pending"
    ASKED = "asked"
    EXECUTING = "executing"
    CONFIRMING = "confirming"
    UPDATED = "updated"
    ALREADY = "already"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    WITHDRAWN = "withdrawn"
    NOT_ASKED = "not_asked"
    RETURNED = "returned"


OPEN: Final = frozenset({Standing.PENDING, Standing.ASKED, Standing.EXECUTING, Standing.CONFIRMING})
"""A wave waits for these; all others are an end, or past their deadline."""

_ANSWERS: Final = frozenset(
    {Standing.CONFIRMING, Standing.UPDATED, Standing.FAILED, Standing.RETURNED, Standing.UNREACHABLE}
)
TRANSITIONS: Final[Mapping[Standing, frozenset[Standing]]] = MappingProxyType(
    {
        Standing.PENDING: frozenset({Standing.ASKED, Standing.ALREADY, Standing.NOT_ASKED}),
        Standing.ASKED: _ANSWERS | {Standing.EXECUTING, Standing.WITHDRAWN},
        Standing.EXECUTING: _ANSWERS,
        Standing.CONFIRMING: _ANSWERS,
        Standing.UNREACHABLE: _ANSWERS | {Standing.EXECUTING, Standing.WITHDRAWN},
        Standing.WITHDRAWN: _ANSWERS | {Standing.EXECUTING},
        Standing.UPDATED: frozenset({Standing.FAILED, Standing.ASKED}),
        Standing.ALREADY: frozenset({Standing.FAILED}),
        Standing.FAILED: frozenset({Standing.CONFIRMING, Standing.UPDATED, Standing.RETURNED}),
        Standing.NOT_ASKED: frozenset(),
        Standing.RETURNED: frozenset(),
    }
)
"""What may follow what. A failed device moves only where its deadline had failed it and it ends after all."""


@dataclass(frozen=True, slots=True)
class Member:
    """A device of a rollout; times in seconds since the epoch by the operator's clock.

    Attributes:
        wave: number of its wave, from 0.
        standing: where it is.
        since: since when it is there; of one that is unreachable, when it was last heard, as far as known.
        reason: why, in words, or None.
        operation: of the command that it was given last.
        asked_at: when it was given.
        begun_at: when it was seen to execute it.
        is_late: it was unreachable and began after all; it gets no third deadline.
        has_command: the broker may retain a command of ours for it.
        seen_at: when it was last heard before the rollout, or None.
    """

    wave: int
    standing: Standing = Standing.PENDING
    since: float | None = None
    reason: str | None = None
    operation: str = UPDATE
    asked_at: float | None = None
    begun_at: float | None = None
    is_late: bool = False
    has_command: bool = False
    seen_at: float | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What was ordered, and does not change.

    Attributes:
        id: of the rollout, and of its command at each device: whoever goes on with it gives no device a
            second one. It begins with the time, so that ids sort as rollouts were begun.
        model: its name.
        version: that the devices are to serve.
        group: whom it is for, in words.
        broker: where, without secrets.
        base_topic: first part of the devices' topics.
        sizes: devices that have been told after each wave.
        max_failures: how many of a wave may fail.
        soak_seconds: from the end of a wave to the next.
        deadline_seconds: that a device has to begin, and again to end.
        created_at: seconds since the epoch.
    """

    id: str
    model: str
    version: str
    group: str
    broker: str
    base_topic: str
    sizes: tuple[int, ...]
    max_failures: Amount
    soak_seconds: float
    deadline_seconds: float
    created_at: float

    def allowed_failures(self, wave: int) -> int:
        """``⌊share × wave⌋``, the wave counted with those before it."""
        return self.max_failures.at_most(self.sizes[wave])


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout.

    Attributes:
        terms: what was ordered.
        phase: where it stands.
        members: by device, in the order in which they are told.
        wave: number of the wave that is on its way.
        soak_from: since when all of the wave have ended; None while one has not.
        reason: why it halted or paused, in words, or None.
        without_proof: a wave may go on though no device has taken the version.
        back_waves: numbers of the waves that are to go back; None for all.
    """

    terms: Terms
    phase: Phase
    members: Mapping[str, Member]
    wave: int = 0
    soak_from: float | None = None
    reason: str | None = None
    without_proof: bool = False
    back_waves: tuple[int, ...] | None = None

    def command_id(self, operation: str) -> str:
        """Of the command that a device gets; the same however often this is asked."""
        return self.terms.id if operation == UPDATE else f"{self.terms.id}-back"

    @property
    def is_at_work(self) -> bool:
        """Whether a device is at its command now, perhaps one that came back late."""
        at_work = (Standing.EXECUTING, Standing.CONFIRMING)
        return any(member.standing in at_work for member in self.members.values())

    def reached(self) -> list[Member]:
        """Members of the waves up to the present one."""
        return [member for member in self.members.values() if member.wave <= self.wave]


def begin(terms: Terms, order: tuple[str, ...], seen: Mapping[str, float]) -> Rollout:
    """A rollout of which nobody has been told yet.

    Args:
        terms: what is ordered.
        order: the devices, as they are to be told.
        seen: when they were last heard, as far as known.
    """
    members: dict[str, Member] = {}
    wave = 0
    for position, device in enumerate(order):
        wave += position >= terms.sizes[wave]
        members[device] = Member(wave, seen_at=seen.get(device))
    return Rollout(terms, Phase.RUNNING, members)


def advance(member: Member, standing: Standing, since: float | None, reason: str | None = None) -> Member:
    """A member that moves on.

    Raises:
        ValueError: there is no such way.
    """
    if standing not in TRANSITIONS[member.standing]:
        raise ValueError(f"a device that is {member.standing.value} cannot become {standing.value}")
    return replace(member, standing=standing, since=since, reason=reason)


def render(rollout: Rollout) -> bytes:
    """The state file: JSON, a line for each device; what is as at the start is left out."""
    terms = {**asdict(rollout.terms), "max_failures": rollout.terms.max_failures.text}
    head = {
        "format": FORMAT,
        "terms": terms,
        **{one.name: getattr(rollout, one.name) for one in fields(rollout) if one.name not in _NESTED},
    }
    lines = [f'"{device}":{_dump(_changed(member))}' for device, member in rollout.members.items()]
    return (f'{_dump(head)[:-1]},\n"members":{{\n' + ",\n".join(lines) + "\n}}\n").encode()


def parse(content: bytes) -> Rollout:
    """Reads what :func:`render` wrote.

    Raises:
        SettingsError: it is not that.
    """
    try:
        document = json.loads(content)
        if document.pop("format") != FORMAT:
            raise SettingsError("a rollout of another format", hint="update edge-agent")
        terms = document.pop("terms")
        members = {device: _member(value) for device, value in document.pop("members").items()}
        if not all(map(is_device_id, members)):
            raise ValueError("an id that no device can have")
        terms = Terms(
            **{**terms, "sizes": tuple(terms["sizes"]), "max_failures": Amount.parse(terms["max_failures"])}
        )
        back = document.pop("back_waves")
        waves = None if back is None else tuple(back)
        phase = Phase(document.pop("phase"))
        return Rollout(terms=terms, phase=phase, members=members, back_waves=waves, **document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(
            "this is no state of a rollout", hint="name the file that `fleet rollout` wrote"
        ) from error


_NESTED: Final = frozenset({"terms", "members"})
_DEFAULTS: Final = Member(wave=-1)
_dump: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _changed(member: Member) -> dict[str, Any]:
    values = {one.name: getattr(member, one.name) for one in fields(member)}
    return {name: value for name, value in values.items() if value != getattr(_DEFAULTS, name)}


def _member(value: Any) -> Member:
    return Member(**{**value, "standing": Standing(value.get("standing", Standing.PENDING))})


@dataclass(frozen=True, slots=True)
class Tally:
    """How many devices stand where."""

    counts: Mapping[Standing, int] = field(default_factory=dict)

    @classmethod
    def of(cls, members: list[Member]) -> Tally:
        """Counts once."""
        counts: dict[Standing, int] = {}
        for member in members:
            counts[member.standing] = counts.get(member.standing, 0) + 1
        return cls(counts)

    def __getitem__(self, standing: Standing) -> int:
        return self.counts.get(standing, 0)

    @property
    def open(self) -> int:
        """Devices that a wave waits for."""
        return sum(self[standing] for standing in OPEN)

    @property
    def serving(self) -> int:
        """Devices that have the version."""
        return self[Standing.UPDATED] + self[Standing.ALREADY]
