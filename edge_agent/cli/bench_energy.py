"""The energy of ``edge-agent bench``: rest and load in turns, while a thread looks at the power sensor.

These turns come after the rounds that are timed, so looking disturbs none of their figures, and they are long
enough for the sensor. Rest, before and after every load, is the machine in the same state: broker and daemon
up, with nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.bench.energy import (
    LEFT_OUT,
    NO_SENSOR,
    TOO_SHORT,
    Energy,
    PerRequest,
    Window,
    per_request,
    rest_watts,
    unknown,
)
from edge_agent.bench.power_sampler import PowerSampler
from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.reading import PowerSource, Quality, SensorError
from edge_agent.telemetry.sysfs import Tree

UPDATES_IN_WINDOW = 8
LONGEST_SECONDS = 8.0
"""Requester and broker are silent from load to load, three windows at most: within MQTT's keep-alive."""

Load = Callable[[float], int]
"""Asks for about so many seconds; returns how many requests were answered."""


@dataclass(frozen=True, slots=True)
class EnergyPlan:
    """How much is measured, where there is a sensor.

    Attributes:
        turns: of rest, bare loop, rest and daemon.
        seconds: of each of them; longer for a slow sensor, up to :data:`LONGEST_SECONDS`.
    """

    turns: int
    seconds: float


@dataclass(frozen=True, slots=True)
class EnergyStage:
    """Where it is measured.

    Attributes:
        plan: how much.
        source: the sensor, or None.
        core: where the sensor's thread runs, not the model's; None for any.
        tell: what is being done, in words.
    """

    plan: EnergyPlan
    source: PowerSource | None
    core: int | None
    tell: Callable[[str], None]

    def measure(self, bare: Load, daemon: Load | None) -> Energy:
        """What a call of the bare loop and a request of the daemon take.

        Raises:
            BrokerError: an answer was an error or did not come.
        """
        source = self.source
        if source is None:
            return unknown(NO_SENSOR)
        seconds = min(max(self.plan.seconds, UPDATES_IN_WINDOW * source.update_seconds), LONGEST_SECONDS)
        if seconds < source.update_seconds:
            return _told(source, None, PerRequest(reason=TOO_SHORT), PerRequest(reason=TOO_SHORT))
        loads = [("the bare loop", bare)] + ([("the daemon", daemon)] if daemon else [])
        busy: list[list[Window]] = [[] for _ in loads]
        with PowerSampler(source, self.core) as sampler:
            rest = [self._rest(seconds)]
            for turn in range(self.plan.turns):
                for windows, (name, load) in zip(busy, loads, strict=True):
                    self.tell(f"energy, turn {turn + 1} of {self.plan.turns}: {name}")
                    windows.append(_window(lambda load=load: load(seconds)))  # type: ignore[misc]
                    rest.append(self._rest(seconds))
        update = source.update_seconds
        found = [per_request(sampler.looks, rest, windows, update, sampler.failure) for windows in busy]
        return _told(source, rest_watts(sampler.looks, rest, update), *found)

    def _rest(self, seconds: float) -> Window:
        self.tell("energy: at rest")

        def sleep() -> int:
            time.sleep(seconds)
            return 0

        return _window(sleep)


def measuring_source(root: Path) -> tuple[PowerSource | None, tuple[str, ...]]:
    """The sensor that measures this machine, or None with what is there and cannot be used.

    An estimate measures nothing, nor does a battery that is not drawn from. One that fails now is taken all
    the same: that it failed is what the report then says.
    """
    inventory = find_sensors(Tree(root))
    for source in inventory.power:
        if source.quality is Quality.MEASURED and _tells(source):
            return source, ()
    return None, inventory.notes


def _tells(source: PowerSource) -> bool:
    try:
        reading = source.read()
    except SensorError:
        return True
    return reading.power_w is not None or reading.energy_j is not None


def _window(work: Callable[[], int]) -> Window:
    began = time.monotonic()
    requests = work()
    return Window(began, time.monotonic(), requests)


def _told(
    source: PowerSource, watts: float | None, bare: PerRequest, daemon: PerRequest | None = None
) -> Energy:
    left_out = PerRequest(reason=LEFT_OUT)
    return Energy(source.name, source.scope, source.quality, watts, bare, daemon or left_out)
