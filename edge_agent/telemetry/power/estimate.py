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
