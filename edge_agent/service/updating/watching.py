"""Judges a new model by what it does while it serves: keep it, go on watching, or roll back. Pure.

In this order:

1. A fault rolls back at once: a wrong canary, which the model was proved to answer minutes ago, or a worker
   that hangs.
2. So do failures: more of them than the allowed share of the requests since the switch. That share is taken
   of twenty requests at least; see :data:`LEAST_REQUESTS`.
3. So does a median that is so many times the old model's, once each of them has :data:`LEAST_ANSWERS` in it.
   A board that is hard pressed now slows down any model, so then this is not judged.
4. When the time is up, a model that has answered rightly since the switch is kept: a request, or where there
   was none, a canary. One that has not gets :data:`GRACE_SECONDS` more and is then rolled back.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Final

from edge_agent.settings.update_sections import UpdatesSettings

LEAST_REQUESTS: Final = 20
"""A share of fewer says nothing: one text of two on which a model fails would be half of all. By the default
of 5 % one failure among the first twenty is borne and two are not, so a model that fails always is gone after
two requests."""
LEAST_ANSWERS: Final = 30
"""Sentences differ in length, and so answers in time, by a factor of ten (0.7 ms to 10 ms, DESIGN §3): the
median of a handful is that of their lengths."""
GRACE_SECONDS: Final = 60.0
"""A canary sings at the switch and with each beat of the heart; who is silent for so long will not sing."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What the models of one name did since the daemon began.

    Attributes:
        answered: requests with a result.
        failed: requests that failed by the model's fault.
        latest_ms: milliseconds of its own work on each of the latest requests with a result, queueing not
            counted, the oldest first.
        last_ok_age_seconds: since it last answered rightly, a canary counted; None when it never did.
    """

    answered: int = 0
    failed: int = 0
    latest_ms: tuple[float, ...] = ()
    last_ok_age_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Watching:
    """It is not decided yet; at the earliest in so many seconds unless it goes wrong."""

    left_seconds: float


@dataclass(frozen=True, slots=True)
class Keep:
    """The new model has proved itself."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """The old one is to serve again; why, in words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Watch:
    """One watch over a new model.

    Attributes:
        before: what there was of this name before the update began; None where nothing served, or after a
            restart.
        switched: the same when the new one began to serve; what came since is the new one's.
        rules: of the settings.
        begun: when that was, by the monotonic clock, seconds.
    """

    before: Stats | None
    switched: Stats
    rules: UpdatesSettings
    begun: float

    def verdict(
        self, now: float, stats: Stats, fault: str | None, *, is_strained: bool = False
    ) -> Watching | Keep | RollBack:
        """What is to be done now; to be asked every second or so.

        Args:
            now: by the same clock.
            stats: of this name.
            fault: what is wrong with the new model now, in words: on the disk, in its last canary, or that
                the worker hangs; or None.
            is_strained: the board is hard pressed, and slow for that.
        """
        fault = fault or self._failures(stats) or (None if is_strained else self._slowdown(stats))
        if fault is not None:
            return RollBack(fault)
        if not self.rules.watch_seconds:
            return Keep()
        left = self.begun + self.rules.watch_seconds - now
        if left > 0:
            return Watching(left)
        if self._has_proved_itself(now, stats):
            return Keep()
        if left > -GRACE_SECONDS:
            return Watching(0.0)
        return RollBack("it has answered nothing rightly since the switch")

    def _failures(self, stats: Stats) -> str | None:
        failed = stats.failed - self.switched.failed
        requests = stats.answered - self.switched.answered + failed
        if failed > self.rules.watch_max_errors * max(requests, LEAST_REQUESTS):
            return f"it failed on {failed} of {requests} requests"
        return None

    def _slowdown(self, stats: Stats) -> str | None:
        answered = stats.answered - self.switched.answered
        old = self.before.latest_ms if self.before is not None else ()
        new = stats.latest_ms[-answered:] if answered > 0 else ()
        if min(len(old), len(new)) < LEAST_ANSWERS:
            return None
        took, takes = median(old), median(new)
        if takes <= took * self.rules.watch_max_slowdown:
            return None
        return f"it takes {takes:.1f} ms for a request, the old one took {took:.1f} ms (medians)"

    def _has_proved_itself(self, now: float, stats: Stats) -> bool:
        age = stats.last_ok_age_seconds
        return age is not None and now - age >= self.begun
