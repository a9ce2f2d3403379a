"""Millijoules per request from looks at a power sensor. Pure: moments come in, no clock is read.

The rule (reference/power.md D.6, rule 3): the energy of the windows in which requests were answered, less
what the machine draws at rest in the same state, divided by the requests. In particular:

* A look counts for a window only where all that it may tell of lies within: a value may be one update time
  old when it is read, and is a mean over the update time before that. So the first two update times of a
  window are left out, and its energy is the mean power of the rest of it times its whole length.
* Where the hardware counts energy (RAPL) the counter's growth between two looks is taken, else the power.
* Nothing is said of a difference below two standard errors. The error is the larger one of two: by the
  scatter of single looks, and by that of whole windows, which sees a drift that single looks do not.
* Negative power (an offset of the sensor) stays: it goes with the difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, variance

from edge_agent.telemetry.reading import PowerReading, Quality, Scope

NO_SENSOR = "no sensor"
TOO_SHORT = "the window was shorter than the sensor's update time"
TOO_FEW = "too few looks at the sensor"
NO_MORE = "no more than at rest"
LEFT_OUT = "the daemon was left out"
_MARGIN_UPDATES = 2
_STANDARD_ERRORS = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """What a source said, and when it was asked and had answered, by the monotonic clock."""

    asked_seconds: float
    answered_seconds: float
    reading: PowerReading

    @property
    def moment_seconds(self) -> float:
        """The middle."""
        return (self.asked_seconds + self.answered_seconds) / 2


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the monotonic clock, and the requests answered in it; none at rest."""

    began_seconds: float
    ended_seconds: float
    requests: int = 0

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.ended_seconds - self.began_seconds


@dataclass(frozen=True, slots=True)
class PerRequest:
    """What one request takes.

    Attributes:
        value_mj: millijoules above rest; None where it cannot be told, never 0 for that.
        error_mj: its standard error; None where the sensor's steps are coarser than the scatter.
        reason: why there is no value, in words.
        watts: mean power while the requests were answered.
        requests: how many were.
        window_seconds: the time that they took.
    """

    value_mj: float | None = None
    error_mj: float | None = None
    reason: str | None = None
    watts: float | None = None
    requests: int = 0
    window_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Energy:
    """What a request takes, and by which sensor.

    Attributes:
        source: kind of sensor, None where none measures.
        scope: what its figure covers.
        quality: always measured; an estimate would say back what its owner told.
        rest_watts: mean power with the daemon up and nothing to do.
        bare: a call of the bare loop.
        daemon: a request; broker and requester draw their part of it where the scope holds their core too.
    """

    source: str | None
    scope: Scope | None
    quality: Quality | None
    rest_watts: float | None
    bare: PerRequest
    daemon: PerRequest


@dataclass(frozen=True, slots=True)
class _Block:
    """One window as the sensor saw it: watts, each with the seconds that it stands for."""

    window: Window
    samples: tuple[tuple[float, float], ...]

    @property
    def seconds(self) -> float:
        return math.fsum(seconds for seconds, _ in self.samples)

    @property
    def mean_w(self) -> float:
        return math.fsum(seconds * watts for seconds, watts in self.samples) / self.seconds


def unknown(reason: str) -> Energy:
    """Nothing is known, for one reason."""
    return Energy(None, None, None, None, PerRequest(reason=reason), PerRequest(reason=reason))


def rest_watts(looks: Sequence[Look], rest: Sequence[Window], update_seconds: float) -> float | None:
    """Mean power at rest; None where no look tells of it."""
    blocks = _blocks(looks, rest, update_seconds)
    return _significant(_mean_w(blocks)) if blocks else None


def per_request(
    looks: Sequence[Look],
    rest: Sequence[Window],
    busy: Sequence[Window],
    update_seconds: float,
    failure: str | None = None,
) -> PerRequest:
    """What one request takes beyond rest.

    Args:
        looks: in the order of their moments.
        rest: when nothing was asked.
        busy: when requests were answered; windows in which the sensor told nothing are left out.
        update_seconds: how often the sensor has a new value.
        failure: what the sensor failed with, if it did.
    """
    at_rest, at_work = _blocks(looks, rest, update_seconds), _blocks(looks, busy, update_seconds)
    requests = sum(block.window.requests for block in at_work)
    seconds = math.fsum(block.window.seconds for block in at_work)
    if not requests or _count(at_rest) < 2 or _count(at_work) < 2:
        return PerRequest(reason=_why_nothing(busy, update_seconds, failure))
    busy_w, rest_w = _mean_w(at_work), _mean_w(at_rest)
    error_w = max(_error_of_looks(at_work, at_rest), _error_of_windows(at_work, at_rest))
    excess_j = math.fsum((block.mean_w - rest_w) * block.window.seconds for block in at_work)
    least_w = max(_STANDARD_ERRORS * error_w, 1e-9 * abs(rest_w))
    unseen = PerRequest(None, None, NO_MORE, _significant(busy_w), requests, round(seconds, 3))
    if excess_j <= least_w * seconds:
        return unseen
    return replace(
        unseen,
        value_mj=_significant(excess_j / requests * 1e3),
        error_mj=_significant(error_w * seconds / requests * 1e3) or None,
        reason=None,
    )


def _why_nothing(busy: Sequence[Window], update_seconds: float, failure: str | None) -> str:
    if failure is not None:
        return f"the sensor failed: {failure}"
    return TOO_SHORT if all(window.seconds < update_seconds for window in busy) else TOO_FEW


def _blocks(looks: Sequence[Look], windows: Sequence[Window], update_seconds: float) -> list[_Block]:
    """The windows of which the sensor told something."""
    found = (_Block(window, _samples(looks, window, update_seconds)) for window in windows)
    return [block for block in found if block.samples]


def _samples(looks: Sequence[Look], window: Window, update_seconds: float) -> tuple[tuple[float, float], ...]:
    begin = window.began_seconds + _MARGIN_UPDATES * update_seconds
    end = window.ended_seconds
    inside = [look for look in looks if begin <= look.asked_seconds and look.answered_seconds < end]
    counted = [(look.moment_seconds, _number(look.reading.energy_j)) for look in inside]
    if any(energy_j is not None for _, energy_j in counted):
        known = [(moment, energy_j) for moment, energy_j in counted if energy_j is not None]
        return tuple(
            (later - earlier, (after_j - before_j) / (later - earlier))
            for (earlier, before_j), (later, after_j) in pairwise(known)
            if later > earlier and after_j >= before_j  # one that went back began anew
        )
    powers = (_number(look.reading.power_w) for look in inside)
    return tuple((update_seconds, watts) for watts in powers if watts is not None)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _count(blocks: Sequence[_Block]) -> int:
    return sum(len(block.samples) for block in blocks)


def _mean_w(blocks: Sequence[_Block]) -> float:
    """Over all blocks, each by the time that was seen of it."""
    return math.fsum(block.mean_w * block.seconds for block in blocks) / math.fsum(
        block.seconds for block in blocks
    )


def _error_of_looks(one: Sequence[_Block], other: Sequence[_Block]) -> float:
    """Standard error of the difference of two means, by the scatter of single looks, in watts."""
    watts = [[watts for block in side for _, watts in block.samples] for side in (one, other)]
    return math.sqrt(math.fsum(variance(side) / len(side) for side in watts))


def _error_of_windows(one: Sequence[_Block], other: Sequence[_Block]) -> float:
    """The same by the scatter of whole windows; 0 where there are not two of each."""
    means = [[block.mean_w for block in side] for side in (one, other)]
    if any(len(side) < 2 for side in means):
        return 0.0
    return math.sqrt(math.fsum(variance(side, fmean(side)) / len(side) for side in means))


def _significant(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")
