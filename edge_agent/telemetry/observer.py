"""When which sensor is looked at, and what comes of it. No threads: it is told the time and says when next.

Every ``interval_seconds`` all sensors are looked at. Only while answers are given, the source of power is
looked at every ``busy_interval_seconds`` (never more often than it has new values), and the supply every two
seconds, as often as the kernel asks the firmware (drivers/hwmon/raspberrypi-hwmon.c).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from edge_agent.settings.board_sections import PowerSettings, TelemetrySettings
from edge_agent.telemetry.board import BoardReading
from edge_agent.telemetry.latch import UnderVoltageLatch
from edge_agent.telemetry.power_gauge import PowerGauge
from edge_agent.telemetry.probe import Probe, Sensor, Turn
from edge_agent.telemetry.reading import BatteryReading, Inventory, SupplyReading
from edge_agent.telemetry.snapshot import Snapshot
from edge_agent.telemetry.strain import Strain, judge_strain
from edge_agent.telemetry.supply import merge_supply

SUPPLY_SECONDS = 2.0
_SUSPENDED_SECONDS = 0.5
_NEVER = float("inf")


class Observer:
    """Looks at the sensors of a machine.

    Args:
        inventory: what measures power, supply and batteries.
        board: heat, fans and clocks.
        telemetry: how often to look.
        power: what is too hot and too low.
        turn: shared with whoever watches for a sensor that hangs.

    Attributes:
        snapshot: what was seen last; replaced, never changed.
    """

    def __init__(
        self,
        inventory: Inventory,
        board: Sensor[BoardReading],
        telemetry: TelemetrySettings,
        power: PowerSettings,
        turn: Turn,
    ) -> None:
        interval = telemetry.interval_seconds
        self._settings = power
        self._interval_seconds = interval
        self._gauge = (
            PowerGauge(inventory.power[0], turn, interval, telemetry.busy_interval_seconds)
            if inventory.power
            else None
        )
        self._supply_probes = [Probe(source, turn, interval) for source in inventory.supply]
        self._battery_probes = [Probe(source, turn, interval) for source in inventory.batteries]
        self._board_probe = Probe(board, turn, interval)
        self._supply = SupplyReading()
        self._latch = UnderVoltageLatch()
        self._batteries: dict[str, BatteryReading] = {}
        self._board = BoardReading()
        self._strain = Strain()
        self._answers: int | None = None
        self._suspended: float | None = None
        self._busy_until = -_NEVER
        self._next_all = -_NEVER
        self._next_supply = -_NEVER
        self.snapshot = Snapshot()

    @property
    def minds_activity(self) -> bool:
        """Whether there is anything to look at more often while answers are given."""
        return self._gauge is not None or bool(self._supply_probes)

    def is_busy(self, now_seconds: float) -> bool:
        """Whether answers are being given, or were a moment ago."""
        return self.minds_activity and now_seconds < self._busy_until

    def next_seconds(self, now_seconds: float) -> float:
        """When to look next, by the monotonic clock."""
        if not self.is_busy(now_seconds):
            return self._next_all
        power = self._gauge.next_seconds if self._gauge else _NEVER
        return min(self._next_all, power, self._next_supply if self._supply_probes else _NEVER)

    def start_over(self) -> None:
        """The next time everything is looked at: another thread was held by a sensor, or the start."""
        self._next_all = -_NEVER

    def observe(
        self, now_seconds: float, answers: int, suspended_seconds: float = 0.0, *, is_woken: bool = False
    ) -> bool:
        """Looks at what is due, and takes a new snapshot.

        Args:
            now_seconds: by the monotonic clock.
            answers: given since the start of the agent.
            suspended_seconds: the machine has slept so long since its boot.
            is_woken: a request has just begun.

        Returns:
            Whether ``health`` has something new to tell: strain, under-voltage, a sensor that fails.

        Raises:
            Overtaken: a sensor hung, and another thread looks now.
        """
        given = 0 if self._answers is None else answers - self._answers
        self._answers = answers
        self._note_suspension(suspended_seconds)
        is_all = now_seconds >= self._next_all
        if is_all:
            self._next_all = now_seconds + self._interval_seconds
        if given or is_woken:
            self._busy_until = now_seconds + self._tail_seconds()
        is_quick = is_all or is_woken or self.is_busy(now_seconds)
        if self._supply_probes and (is_all or (is_quick and now_seconds >= self._next_supply)):
            self._look_at_supply(now_seconds)
        if self._gauge is not None:
            self._gauge.count(given)
            if is_quick:
                self._look_at_power(self._gauge, now_seconds)
        if is_all:
            self._look_at_others(now_seconds)
        return self._conclude(now_seconds)

    def _tail_seconds(self) -> float:
        """So long after an answer it is still busy: two quick looks, and the sensor's own delay with them."""
        return 2 * self._gauge.quick_seconds if self._gauge else SUPPLY_SECONDS

    def _note_suspension(self, suspended_seconds: float) -> None:
        before, self._suspended = self._suspended, suspended_seconds
        if before is not None and suspended_seconds - before > _SUSPENDED_SECONDS and self._gauge:
            self._gauge.interrupt()

    def _look_at_power(self, gauge: PowerGauge, now_seconds: float) -> None:
        supply = self._supply
        state = (
            supply.under_voltage,
            supply.throttled,
            supply.frequency_capped,
            supply.soft_temperature_limit,
            self._strain.is_strained,
        )
        gauge.look(now_seconds, state)

    def _look_at_supply(self, now_seconds: float) -> None:
        self._next_supply = now_seconds + SUPPLY_SECONDS
        readings = [probe.look(now_seconds) for probe in self._supply_probes]
        self._supply = merge_supply([reading for reading in readings if reading is not None])
        self._latch = self._latch.looked(
            now_seconds, self._supply.under_voltage, self._supply.under_voltage_since_boot
        )

    def _look_at_others(self, now_seconds: float) -> None:
        if self._gauge is not None:
            self._gauge.reckon(now_seconds)
        self._board = self._board_probe.look(now_seconds) or BoardReading()
        self._batteries = {
            probe.name: reading
            for probe in self._battery_probes
            if (reading := probe.look(now_seconds)) is not None
        }

    def _conclude(self, now_seconds: float) -> bool:
        before = self.snapshot
        self._strain = judge_strain(
            self._supply,
            self._board.temperature_c,
            self._batteries,
            self._settings,
            before=self._strain,
            faults=[probe.fault for probe in self._probes() if probe.fault is not None],
        )
        failures: Counter[str] = Counter()
        for probe in self._probes():
            failures[probe.name] += probe.failures
        self.snapshot = Snapshot(
            moment_seconds=now_seconds,
            power=None if self._gauge is None else self._gauge.figures(),
            supply=self._supply,
            latch=self._latch,
            board=self._board,
            batteries=self._batteries,
            strain=self._strain,
            failures=dict(failures),
        )
        latched = (before.latch.now, before.latch.count) != (self._latch.now, self._latch.count)
        return self._strain.differs(before.strain) or (latched and before.moment_seconds is not None)

    def _probes(self) -> Iterator[Probe[Any]]:
        if self._gauge is not None:
            yield self._gauge.probe
        yield from self._supply_probes
        yield from self._battery_probes
        yield self._board_probe
