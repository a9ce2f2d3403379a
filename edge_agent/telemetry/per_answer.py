"""Joules per answer, where what was measured allows to say it. Pure.

The rule (reference/power.md D.6, rule 3): the energy of the time in which answers were given, less what the
machine draws at rest in the same state, divided by the answers. In particular:

* The window is made of the intervals between looks in which answers were given, and of those after them
  within the sensor's own update time, which may show it late; of the last :data:`WINDOW_SECONDS`.
* Rest is an interval without answers that begins at least one update time after the last answer. Its mean
  power counts for :data:`REST_SECONDS`. Its *state* is whatever else changes what a board draws (throttled, a
  capped clock): another state begins with neither window nor rest.
* Nothing is said when the window is shorter than the sensor's update time, when there was no answer or no
  rest, or when the difference is within the scatter of rest (less than twice its standard error): what is
  not seen in the noise is not told.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

from edge_agent.telemetry.energy import Interval

WINDOW_SECONDS = 60.0
REST_SECONDS = 900.0
_MOST_INTERVALS = 1024
_STANDARD_ERRORS = 2.0


@dataclass(frozen=True, slots=True)
class PerAnswer:
    """What one answer takes.

    Attributes:
        energy_mj: millijoules above rest; None where it cannot be told.
        window_seconds: the time in which it was measured.
        answers: given in that time.
    """

    energy_mj: float | None = None
    window_seconds: float = 0.0
    answers: int = 0


class AnswerMeter:
    """Tells what answers take.

    Args:
        update_seconds: how often the sensor has a new value.
    """

    def __init__(self, update_seconds: float) -> None:
        self._update_seconds = update_seconds
        self._state: Hashable = None
        self._busy: deque[tuple[Interval, int]] = deque(maxlen=_MOST_INTERVALS)
        self._rest: deque[Interval] = deque(maxlen=_MOST_INTERVALS)
        self._answered_seconds = -math.inf

    def note(self, interval: Interval, answers: int, state: Hashable = None) -> None:
        """Takes what was measured between two looks.

        Args:
            interval: time and energy.
            answers: given in it.
            state: whatever else changes what the board draws.
        """
        if state != self._state:
            self._state = state
            self._busy.clear()
            self._rest.clear()
        if answers:
            self._answered_seconds = interval.ended_seconds
            self._busy.append((interval, answers))
        elif interval.began_seconds < self._answered_seconds + self._update_seconds:
            self._busy.append((interval, 0))
        else:
            self._rest.append(interval)

    def skip(self, moment_seconds: float) -> None:
        """Answers were given up to this moment in time that was not measured."""
        self._answered_seconds = moment_seconds

    def per_answer(self, now_seconds: float) -> PerAnswer:
        """What one answer of the window takes."""
        while self._busy and self._busy[0][0].began_seconds < now_seconds - WINDOW_SECONDS:
            self._busy.popleft()
        while self._rest and self._rest[0].ended_seconds < now_seconds - REST_SECONDS:
            self._rest.popleft()
        answers = sum(count for _, count in self._busy)
        seconds = math.fsum(interval.seconds for interval, _ in self._busy)
        if not answers or not self._rest or seconds < self._update_seconds:
            return PerAnswer(None, seconds, answers)
        energy_j = math.fsum(interval.energy_j for interval, _ in self._busy)
        rest_w, error_w = _mean_and_error(self._rest, len(self._busy))
        excess_j = energy_j - rest_w * seconds
        if excess_j <= max(_STANDARD_ERRORS * error_w * seconds, 1e-9 * energy_j):
            return PerAnswer(None, seconds, answers)
        return PerAnswer(excess_j / answers * 1e3, seconds, answers)


def _mean_and_error(rest: deque[Interval], looks: int) -> tuple[float, float]:
    """Mean power at rest, and the standard error of the difference to a mean of so many looks, in watts."""
    seconds = math.fsum(interval.seconds for interval in rest)
    mean_w = math.fsum(interval.energy_j for interval in rest) / seconds
    variance = math.fsum((interval.mean_w - mean_w) ** 2 * interval.seconds for interval in rest) / seconds
    return mean_w, math.sqrt(variance * (1 / len(rest) + 1 / looks))
