"""The board's sensors in the daemon: found and read in a thread of their own, told by the main one.

Looking for sensors asks each of them once, and one may hang; so the daemon neither waits for that nor fails
of it. Where ``telemetry`` is off, nothing here does anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from edge_agent.link.discovery import Sensors
from edge_agent.link.expiry import rfc3339
from edge_agent.log import get_logger
from edge_agent.settings import Settings
from edge_agent.telemetry.board import Board
from edge_agent.telemetry.power.estimate import BusyShare, Estimate
from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.power.ina2xx import shunts
from edge_agent.telemetry.power.mailbox import Firmware
from edge_agent.telemetry.power_document import render_power
from edge_agent.telemetry.reading import Inventory
from edge_agent.telemetry.sampler import Sampler
from edge_agent.telemetry.snapshot import Snapshot
from edge_agent.telemetry.sysfs import Tree

_FINDING_SECONDS = 15.0
_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class _Found:
    sampler: Sampler
    inventory: Inventory
    shunts: dict[str, float] = field(default_factory=dict)


class Sensing:
    """For the main thread, save for :meth:`note_activity` and :meth:`is_power_ok`, which are the worker's.

    Args:
        settings: of which the sections ``telemetry`` and ``power`` are read.
        activity: answers so far.
        cpu_times: seconds that all processors were idle, and in all; for an estimate.
        on_change: called in another thread when there is something to tell.
        root: where ``proc``, ``sys`` and ``dev`` are.
        firmware: who answers for a Raspberry Pi's firmware; its mailbox where None.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        activity: Callable[[], int],
        cpu_times: Callable[[], tuple[float, float]],
        on_change: Callable[[], None],
        root: Path = _ROOT,
        firmware: Firmware | None = None,
    ) -> None:
        self._settings = settings
        self._activity = activity
        self._cpu_times = cpu_times
        self._on_change = on_change
        self._tree = Tree(root)
        self._firmware = firmware
        self._found: _Found | None = None
        self._is_stopped = False
        self._begun: float | None = None
        self._offered = Sensors()
        self._log = get_logger()

    def start(self) -> None:
        """Begins to look for sensors, and reads what there are."""
        if self._settings.telemetry.enabled:
            self._begun = time.monotonic()
            Thread(target=self._find, name="sensors", daemon=True).start()

    def stop(self, timeout_seconds: float) -> None:
        """Ends; a sensor that hangs is left to itself."""
        self._is_stopped = True
        if self._found is not None:
            self._found.sampler.stop(timeout_seconds)

    def tend(self) -> None:
        """Sees to a sensor that hangs; every few seconds."""
        if self._found is not None:
            self._found.sampler.tend()

    def note_activity(self) -> None:
        """A request begins."""
        found = self._found
        if found is not None:
            found.sampler.note_activity()

    def is_power_ok(self, began: float, ended: float) -> bool | None:
        """Whether the supply held between two moments of the monotonic clock; None is unknown."""
        found = self._found
        return None if found is None else found.sampler.is_power_ok(began, ended)

    @property
    def snapshot(self) -> Snapshot:
        """What was seen last."""
        return Snapshot() if self._found is None else self._found.sampler.snapshot()

    @property
    def is_strained(self) -> bool:
        """Whether the board should be asked less."""
        return self._found is not None and self._found.sampler.is_strained

    @property
    def age_seconds(self) -> float | None:
        """Since the sensors were last looked at; None where nobody looks."""
        return None if self._found is None else self._found.sampler.progress_age_seconds

    def reasons(self) -> tuple[str, ...]:
        """What ``health`` is to tell."""
        if self._found is not None:
            return self._found.sampler.reasons()
        if self._begun is None or time.monotonic() - self._begun < _FINDING_SECONDS:
            return ()
        return ("sensors: one of them hangs while they are looked for; `edge-agent check` says which",)

    def power(self) -> bytes | None:
        """The document ``power``; None where there is nothing to tell yet."""
        if self._found is None:
            return None
        return render_power(self._found.sampler.snapshot(), rfc3339(time.time()))

    def described(self) -> dict[str, object]:
        """What ``info`` says of the sensors."""
        if self._found is None:
            return {}
        inventory = self._found.inventory
        return {
            "power": [f"{one.name} ({one.scope.value}, {one.quality.value})" for one in inventory.power],
            "supply": [one.name for one in inventory.supply],
            "batteries": [one.name for one in inventory.batteries],
            "shunts_ohm": self._found.shunts,
        }

    @property
    def is_settled(self) -> bool:
        """Whether it is known what this board has: all was looked at once, or hangs, or nobody looks."""
        if self._begun is None or self.snapshot.moment_seconds is not None:
            return True
        return time.monotonic() - self._begun >= _FINDING_SECONDS

    def offered(self) -> Sensors:
        """Which figures ``power`` has on this board, for Home Assistant.

        What was there once stays: a sensor that fails is unknown there, and does not go and come.
        """
        if self._found is None:
            return self._offered
        inventory, snapshot, before = self._found.inventory, self._found.sampler.snapshot(), self._offered
        self._offered = Sensors(
            power=bool(inventory.power),
            energy=bool(inventory.power),
            temperature=before.temperature or snapshot.board.temperature_c is not None,
            under_voltage=before.under_voltage or snapshot.latch.now is not None,
            throttled=before.throttled or snapshot.supply.throttled is not None,
            battery=bool(inventory.batteries),
        )
        return self._offered

    def _find(self) -> None:
        power = self._settings.power
        estimate = None
        if power.idle_watts is not None and power.full_watts is not None:
            estimate = Estimate(power.idle_watts, power.full_watts, BusyShare(self._cpu_times))
        inventory = find_sensors(self._tree, firmware=self._firmware, estimate=estimate)
        sampler = Sampler(
            inventory,
            Board(self._tree),
            self._settings.telemetry,
            power,
            activity=self._activity,
            on_change=self._on_change,
        )
        for note in inventory.notes:
            self._log.info("sensor.unusable", reason=note)
        self._found = _Found(sampler, inventory, dict(shunts(self._tree)))
        if self._is_stopped:  # looked at after it is set: whoever stops later, sees it and ends it
            return
        sampler.start()
        self._on_change()
