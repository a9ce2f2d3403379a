"""How long a device was well, of how long it should have been: the two counters of its availability. Pure.

The idea is Azure IoT Edge's (``edgeAgent_total_time_running_correctly_seconds`` and
``…_expected_running_seconds``): the quotient of their increases is the availability of any window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Uptime:
    """What was noted so far.

    Attributes:
        began_seconds: when the daemon started, by the monotonic clock.
        correct_seconds: time in which it was well, up to ``noted_seconds``.
        noted_seconds: when its health was last looked at.
        is_well: what it was then; it counts until the next look.
    """

    began_seconds: float
    correct_seconds: float = 0.0
    noted_seconds: float = 0.0
    is_well: bool = False

    def noted(self, is_well: bool, now: float) -> Uptime:
        """With one more look at the health, at ``now`` by the monotonic clock."""
        return replace(self, correct_seconds=self.correct(now), noted_seconds=now, is_well=is_well)

    def correct(self, now: float) -> float:
        """Seconds in which it was well, up to ``now``; it never falls."""
        return self.correct_seconds + (max(0.0, now - self.noted_seconds) if self.is_well else 0.0)

    def expected(self, now: float) -> float:
        """Seconds since the start."""
        return max(0.0, now - self.began_seconds)
