"""The one source of power that counts: its looks, its energy, what answers take.

Only the first source of the inventory is read, so that nothing is counted twice.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

from edge_agent.telemetry.energy import EnergyCounter, Interval
from edge_agent.telemetry.per_answer import AnswerMeter, PerAnswer
from edge_agent.telemetry.probe import Probe, Turn
from edge_agent.telemetry.reading import PowerReading, PowerSource
from edge_agent.telemetry.snapshot import PowerFigures

GAP_INTERVALS = 3.5
"""Room for two looks that failed, and for looks that came late."""


class PowerGauge:
    """Reads a source of power.

    Args:
        source: it.
        turn: shared by all sensors.
        interval_seconds: the usual time between two looks.
        quick_seconds: the time between two looks while answers are given; the source's own update time where
            that is longer.
    """

    def __init__(
        self, source: PowerSource, turn: Turn, interval_seconds: float, quick_seconds: float
    ) -> None:
        update = source.update_seconds
        self.quick_seconds = max(quick_seconds, update)
        self.probe: Probe[PowerReading] = Probe(source, turn, interval_seconds)
        self._source = source
        self._update_seconds = update
        self._counter = EnergyCounter(GAP_INTERVALS * max(interval_seconds, self.quick_seconds))
        self._meter = AnswerMeter(update)
        self._looked_seconds = -math.inf
        self._reading: PowerReading | None = None
        self._interval: Interval | None = None
        self._answers = 0
        self._per_answer = PerAnswer()

    @property
    def next_seconds(self) -> float:
        """When the next quick look is due."""
        return self._looked_seconds + self.quick_seconds

    def count(self, answers: int) -> None:
        """So many answers were given since this was called last."""
        self._answers += answers

    def look(self, now_seconds: float, state: Hashable) -> None:
        """Takes a look, unless the sensor has no new value yet.

        Args:
            now_seconds: by the monotonic clock.
            state: whatever else changes what the board draws.

        Raises:
            Overtaken: the source hung, and another thread looks now.
        """
        if now_seconds < self._looked_seconds + self._update_seconds:
            return
        self._looked_seconds = now_seconds
        self._reading = self._interval = None
        self._reading = self.probe.look(now_seconds)
        if self._reading is None:
            return
        self._interval = self._counter.look(now_seconds, self._reading)
        answers, self._answers = self._answers, 0
        if self._interval is not None:
            self._meter.note(self._interval, answers, state)
        elif answers:
            self._meter.skip(now_seconds)

    def interrupt(self) -> None:
        """The machine was suspended: what was before is not joined to what comes."""
        self._counter.interrupt()

    def reckon(self, now_seconds: float) -> None:
        """Reckons anew what an answer takes: too dear for every quick look."""
        self._per_answer = self._meter.per_answer(now_seconds)

    def figures(self) -> PowerFigures:
        """What is known now."""
        reading = self._reading
        power_w = None if reading is None else reading.power_w
        if power_w is None and reading is not None and self._interval is not None:
            power_w = self._interval.mean_w
        return PowerFigures(
            source=self._source.name,
            scope=self._source.scope,
            quality=self._source.quality,
            power_w=power_w,
            rails={} if reading is None else dict(reading.rails),
            energy_j=self._counter.energy_j,
            measured_seconds=self._counter.measured_seconds,
            per_answer=self._per_answer,
        )
