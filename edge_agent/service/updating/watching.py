"""Judges a new model by what it does while it serves: keep it, go on watching, or roll back. Pure.

In this order:

1. A wrong canary rolls back at once: the device cannot do what the model was proved to do minutes ago.
2. So does a worker that hangs.
3. So do failures: more of them than the allowed share of the requests since the switch. That share is taken
   of twenty requests at least; see :data:`LEAST_REQUESTS`.
4. So does a median that is so many times the old model's, once each of them has :data:`LEAST_ANSWERS` in it.
   A board that is hard pressed now slows down any model, so then this is not judged.
5. When the time is up, a model that has answered rightly since the switch is kept: a request, or where there
   was none, a canary. One that has not gets :data:`GRACE_SECONDS` more and is then rolled back.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """What one model did since a moment: its switch, or the start of the daemon.

    Attributes:
        answered: requests with a result.
        failed: requests that failed by the model's fault.
        median_ms: milliseconds of its own work on a request, queueing not counted, over the latest; None
            without an answer.
        samples: answers in that median.
        last_ok_age_seconds: since it last answered rightly, a canary counted; None when it never did.
        canary_fault: what was wrong with its last canary, in words, or None.
        is_stuck: the worker hangs.
        is_strained: the board is hard pressed now.
    """

    answered: int = 0
    failed: int = 0
    median_ms: float | None = None
    samples: int = 0
    last_ok_age_seconds: float | None = None
    canary_fault: str | None = None
    is_stuck: bool = False
    is_strained: bool = False


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
class WatchRules:
    """What of the settings decides.

    Attributes:
        seconds: that a model is watched; 0: it is kept at once, unless its first canary was wrong.
        max_errors: share of requests that may fail.
        max_slowdown: how many times the old one's median the new one's may be.
    """

    seconds: float = 60.0
    max_errors: float = 0.05
    max_slowdown: float = 3.0

    @classmethod
    def of(cls, settings: UpdatesSettings) -> WatchRules:
        """Those of the settings."""
        return cls(settings.watch_seconds, settings.watch_max_errors, settings.watch_max_slowdown)


@dataclass(frozen=True, slots=True)
class Watch:
    """One watch over a new model.

    Attributes:
        before: what the old one did; ``Stats()`` where there was none, or after a restart.
        rules: of the settings.
        begun: when the new one began to serve, by the monotonic clock, seconds.
    """

    before: Stats
    rules: WatchRules
    begun: float

    def verdict(self, now: float, stats: Stats) -> Watching | Keep | RollBack:
        """What is to be done now; to be asked after each canary and every second or so.

        Args:
            now: by the same clock.
            stats: of the new model since the switch.
        """
        fault = self._fault(stats)
        if fault is not None:
            return RollBack(fault)
        if not self.rules.seconds:
            return Keep()
        left = self.begun + self.rules.seconds - now
        if left > 0:
            return Watching(left)
        if self._has_proved_itself(now, stats):
            return Keep()
        if left > -GRACE_SECONDS:
            return Watching(0.0)
        return RollBack("it has answered nothing rightly since the switch")

    def _fault(self, stats: Stats) -> str | None:
        if stats.canary_fault is not None:
            return stats.canary_fault
        if stats.is_stuck:
            return "the worker hangs"
        requests = stats.answered + stats.failed
        if stats.failed > self.rules.max_errors * max(requests, LEAST_REQUESTS):
            return f"it failed on {stats.failed} of {requests} requests"
        return None if stats.is_strained else self._slowdown(stats)

    def _slowdown(self, stats: Stats) -> str | None:
        old, new = self.before.median_ms, stats.median_ms
        if old is None or new is None or min(self.before.samples, stats.samples) < LEAST_ANSWERS:
            return None
        if new <= old * self.rules.max_slowdown:
            return None
        return f"it takes {new:.1f} ms for a request, the old one took {old:.1f} ms (medians)"

    def _has_proved_itself(self, now: float, stats: Stats) -> bool:
        age = stats.last_ok_age_seconds
        return age is not None and now - age >= self.begun
