"""Joules from looks at a power source. Pure: moments come in, no clock is read.

The rules (reference/power.md D.6, rule 1):

* Where the hardware counts energy (RAPL), its counter's growth is taken; else power is integrated over
  monotonic time by the trapezoidal rule, which is exact for power that changes linearly between looks.
* Two looks are joined when at most ``longest_gap_seconds`` lie between them, whether or not looks between
  them failed. Over a longer gap nothing is counted, since nothing was measured: the counter stands still, and
  ``measured_seconds`` says how much time it covers.
* Over a suspension nothing is joined either (:meth:`EnergyCounter.interrupt`): ``CLOCK_MONOTONIC`` does not
  run meanwhile (clock_gettime(2)), and a hardware counter may begin anew.
* The counter never goes down. Negative power (an offset of the sensor) counts as none; a hardware counter
  that went back counts from where it is now.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

from edge_agent.telemetry.reading import PowerReading


@dataclass(frozen=True, slots=True)
class Interval:
    """What was measured between two looks.

    Attributes:
        began_seconds: when it began, by the monotonic clock.
        ended_seconds: when it ended.
        energy_j: joules drawn meanwhile, never negative.
    """

    began_seconds: float
    ended_seconds: float
    energy_j: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.ended_seconds - self.began_seconds

    @property
    def mean_w(self) -> float:
        """Mean power in watts."""
        return self.energy_j / self.seconds


class EnergyCounter:
    """Adds up what looks at one source say.

    Args:
        longest_gap_seconds: two looks further apart are not joined.
    """

    def __init__(self, longest_gap_seconds: float) -> None:
        self._longest_gap_seconds = longest_gap_seconds
        self._last: tuple[float, PowerReading] | None = None
        self._energy_j = 0.0
        self._measured_seconds = 0.0

    @property
    def energy_j(self) -> float | None:
        """Joules since the start; None until something was measured."""
        return self._energy_j if self._measured_seconds else None

    @property
    def measured_seconds(self) -> float:
        """The time that :attr:`energy_j` covers."""
        return self._measured_seconds

    def look(self, moment_seconds: float, reading: PowerReading) -> Interval | None:
        """Takes a look.

        Args:
            moment_seconds: when, by the monotonic clock; never before the look before.
            reading: what the source said.

        Returns:
            What was measured since the look before, or None: the first look, a gap, no new moment, no number.
        """
        if not _is_number(reading.power_w) and not _is_number(reading.energy_j):
            return None  # as if the look had failed
        last, self._last = self._last, (moment_seconds, reading)
        if last is None or not 0 < moment_seconds - last[0] <= self._longest_gap_seconds:
            return None
        energy_j = _energy_between(last[1], reading, moment_seconds - last[0])
        if energy_j is None:
            return None
        self._energy_j += energy_j
        self._measured_seconds += moment_seconds - last[0]
        return Interval(last[0], moment_seconds, energy_j)

    def interrupt(self) -> None:
        """The next look is not joined to the last: the machine was suspended."""
        self._last = None


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _energy_between(before: PowerReading, after: PowerReading, seconds: float) -> float | None:
    if _is_number(before.energy_j) and _is_number(after.energy_j):
        grown = after.energy_j - before.energy_j
        return grown if grown >= 0 else None
    if _is_number(before.power_w) and _is_number(after.power_w):
        return (max(0.0, before.power_w) + max(0.0, after.power_w)) / 2 * seconds
    return None
