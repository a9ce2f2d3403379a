"""Watts reckoned from what the owner measured at rest and at full load, where there is no sensor.

The draw is taken to grow linearly with the processors' busy share; that is the common model of a machine
whose processors dominate (Fan, Weber and Barroso, Power provisioning for a warehouse-sized computer, ISCA
2007). It knows nothing of disks, USB and screens. Its figures are labelled ``estimated``, always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.telemetry.reading import PowerReading, Quality, Scope

UPDATE_SECONDS = 1.0


class BusyShare:
    """How busy the processors were since the call before: 0 to 1.

    Args:
        times: seconds that all processors together were idle, and seconds in all, since boot.
    """

    def __init__(self, times: Callable[[], tuple[float, float]]) -> None:
        self._times = times
        self._before: tuple[float, float] | None = None

    def __call__(self) -> float | None:
        """The share, or None at the first call and where no time has passed."""
        before, now = self._before, self._times()
        self._before = now
        if before is None or now[1] <= before[1]:
            return None
        idle_share = (now[0] - before[0]) / (now[1] - before[1])
        return min(1.0, max(0.0, 1.0 - idle_share))


def watts(idle_watts: float, full_watts: float, busy_share: float) -> float:
    """The draw at a busy share of 0 to 1; a share outside is taken to the nearer end."""
    share = min(1.0, max(0.0, busy_share))
    return round(idle_watts + share * (full_watts - idle_watts), 3)


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate as a power source.

    Attributes:
        idle_watts: draw at rest, at the board's input.
        full_watts: draw with all processors busy.
        busy_share: how busy the processors were since the call before, 0 to 1; None where that is unknown.
    """

    idle_watts: float
    full_watts: float
    busy_share: Callable[[], float | None]

    name = "estimate"
    scope = Scope.BOARD_INPUT
    quality = Quality.ESTIMATED
    update_seconds = UPDATE_SECONDS

    def read(self) -> PowerReading:
        """A look now; unknown is None."""
        share = self.busy_share()
        known = share is not None and share == share  # noqa: PLR0124  NaN is unknown too
        return PowerReading(
            watts(self.idle_watts, self.full_watts, share) if known and share is not None else None
        )
