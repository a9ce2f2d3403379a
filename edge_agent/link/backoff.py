"""How long to wait before the next connection attempt. Pure.

Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015): a uniformly random
pause below an exponentially growing limit, so that a fleet that lost its broker together does not come
back together. Where asking again soon cannot help (wrong password, an id that two devices share) the pause
has a floor, and the jitter lies above it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

STABLE_SECONDS = 10.0
PEACE_SECONDS = 600.0
SUSPECT_SECONDS = 120.0
_QUICK_SECONDS = 5.0
_SUSPICIOUS_LOSSES = 4


class Outcome(Enum):
    """How a connection, or the attempt to make one, ended.

    The last three came up before: lost without a reason, dismissed with one, or taken over.
    """

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    DENIED = "denied"
    WRONG_PROTOCOL = "wrong protocol"
    LOST = "lost"
    DISMISSED = "dismissed"
    TAKEN_OVER = "taken over"


@dataclass(frozen=True, slots=True)
class Pauses:
    """Limits of the pauses, in seconds.

    Attributes:
        base: limit of the first pause after a loss.
        cap: limit of every pause after a loss.
        denied_floor: least pause after a lasting refusal.
        evicted_floor: least pause after another client took our id; where it only seems so, half of ``cap``
            if that is less.
        patient_cap: limit after a lasting refusal, and where the broker said that our id was taken.
    """

    base: float = 1.0
    cap: float = 30.0
    denied_floor: float = 30.0
    evicted_floor: float = 5.0
    patient_cap: float = 600.0


@dataclass(frozen=True, slots=True)
class History:
    """What the pause depends on.

    Attributes:
        failures: attempts and short connections in a row that failed.
        denials: lasting refusals in a row.
        evictions: times that another client took our id, until ten minutes of peace.
        quick_losses: connections in a row that came up and broke at once, without a reason; once that is
            suspicious, those that lasted two minutes count as well, since the other client pauses, too.
    """

    failures: int = 0
    denials: int = 0
    evictions: int = 0
    quick_losses: int = 0

    @property
    def is_suspicious(self) -> bool:
        """Whether it looks as if another client had our id, on a broker that does not say so.

        No broker can with MQTT 3.1.1, and Mosquitto 2.0.11 does not with MQTT 5.
        """
        return self.quick_losses >= _SUSPICIOUS_LOSSES

    def after(self, outcome: Outcome, lasted_seconds: float) -> History:
        """The history with one more ending.

        Args:
            outcome: how it ended.
            lasted_seconds: since the attempt began.
        """
        came_up = outcome in (Outcome.LOST, Outcome.DISMISSED, Outcome.TAKEN_OVER)
        quick_seconds = SUSPECT_SECONDS if self.is_suspicious else _QUICK_SECONDS
        is_quick = outcome is Outcome.LOST and lasted_seconds < quick_seconds
        is_peace = came_up and lasted_seconds >= PEACE_SECONDS
        evictions = 0 if is_peace else self.evictions
        return replace(
            self,
            failures=failures_after(self.failures, lasted_seconds if came_up else 0.0),
            denials=self.denials + 1 if outcome is Outcome.DENIED else 0,
            evictions=evictions + 1 if outcome is Outcome.TAKEN_OVER else evictions,
            quick_losses=self.quick_losses + 1 if is_quick else 0,
        )

    def pause_seconds(self, outcome: Outcome, pauses: Pauses, fraction: float) -> float:
        """The pause after this outcome, which is in the history already.

        Args:
            outcome: how the last connection ended.
            pauses: limits.
            fraction: a random number in [0, 1).
        """
        if outcome is Outcome.DENIED:
            return _patient(self.denials, pauses.denied_floor, pauses.patient_cap, fraction)
        if outcome is Outcome.TAKEN_OVER:
            return _patient(self.evictions, pauses.evicted_floor, pauses.patient_cap, fraction)
        if self.is_suspicious:
            # A guess, and a link that breaks again and again looks the same: only the broker's word may make
            # us wait for longer than the owner's limit.
            times = self.quick_losses - _SUSPICIOUS_LOSSES + 1
            return _patient(times, min(pauses.evicted_floor, pauses.cap / 2), pauses.cap, fraction)
        attempt = self.failures - 1 if self.failures else 0
        return pause_seconds(attempt, base=pauses.base, cap=pauses.cap, fraction=fraction)


def pause_seconds(attempt: int, *, base: float, cap: float, fraction: float) -> float:
    """The pause before an attempt.

    Args:
        attempt: failures in a row so far, 0 for the first pause.
        base: limit of the first pause, seconds.
        cap: limit of every pause, seconds.
        fraction: a random number in [0, 1).
    """
    return fraction * min(cap, base * 2.0 ** min(attempt, 32))


def failures_after(failures: int, lasted_seconds: float) -> int:
    """Failures in a row after a connection ended that lasted this long.

    A link that came up and broke at once (two devices with one name evict each other so) still counts.
    """
    return 0 if lasted_seconds >= STABLE_SECONDS else failures + 1


def _patient(times: int, floor: float, cap: float, fraction: float) -> float:
    """Above a floor, below a limit that doubles each time."""
    limit = min(cap, floor * 2.0 ** min(times, 32))
    return floor + fraction * max(0.0, limit - floor)
