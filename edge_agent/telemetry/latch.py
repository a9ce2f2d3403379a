"""Our own memory of under-voltage, with monotonic times and a count. Pure and immutable.

The firmware's memory cannot be relied on: the kernel's driver asks with a mask that clears its sticky bits
(drivers/hwmon/raspberrypi-hwmon.c), so we keep our own (reference/power.md D.6, rule 5).

A look tells of the time since the look before (the driver's bit is "happened since the last poll"). So a
window of under-voltage begins with the last look that denied it and ends with the next one that denies it:
what was done in between is not vouched for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

MOST_WINDOWS = 32


@dataclass(frozen=True, slots=True)
class UnderVoltageLatch:
    """What is known of under-voltage up to now.

    Attributes:
        now: at the last look; None where nobody knows.
        count: how often it has begun since the agent did.
        windows: those that ended, by first and last moment, the newest last; at most :data:`MOST_WINDOWS`.
        since_seconds: the first moment of the open window, or None.
        firmware_since_boot: what the firmware remembers of this boot.
        looked_seconds: the last look that knew.
    """

    now: bool | None = None
    count: int = 0
    windows: tuple[tuple[float, float], ...] = ()
    since_seconds: float | None = None
    firmware_since_boot: bool | None = None
    looked_seconds: float | None = None

    @property
    def since_boot(self) -> bool | None:
        """Whether there was under-voltage in this boot: by our memory or by the firmware's.

        False only where the firmware says so: what was before the agent began we cannot know.
        """
        return True if self.count else self.firmware_since_boot

    def looked(
        self, moment_seconds: float, under_voltage: bool | None, since_boot: bool | None = None
    ) -> UnderVoltageLatch:
        """The latch after a look.

        Args:
            moment_seconds: when, by the monotonic clock.
            under_voltage: now or since the look before; None where nobody could say.
            since_boot: what the firmware remembers; None leaves what it said before.
        """
        latch = replace(
            self, now=under_voltage, firmware_since_boot=_either(self.firmware_since_boot, since_boot)
        )
        if under_voltage is None:
            return latch
        latch = replace(latch, looked_seconds=moment_seconds)
        if under_voltage and self.since_seconds is None:
            began = moment_seconds if self.looked_seconds is None else self.looked_seconds
            return replace(latch, count=self.count + 1, since_seconds=began)
        if not under_voltage and self.since_seconds is not None:
            windows = (*self.windows, (self.since_seconds, moment_seconds))[-MOST_WINDOWS:]
            return replace(latch, since_seconds=None, windows=windows)
        return latch

    def is_power_ok(self, began_seconds: float, ended_seconds: float, fresh_seconds: float) -> bool | None:
        """Whether work of this time was done on good power, as far as is known now.

        Args:
            began_seconds: when the work began, by the monotonic clock.
            ended_seconds: when it ended.
            fresh_seconds: an older look says nothing of it.

        Returns:
            False when a window of under-voltage meets it, None when nobody looked lately.
        """
        if self.looked_seconds is None:
            return None
        vouched_until = self.looked_seconds + fresh_seconds
        if self.since_seconds is not None and self.since_seconds <= ended_seconds:
            return False if began_seconds <= vouched_until else None
        for first, last in reversed(self.windows):
            if last < began_seconds:
                break
            if first <= ended_seconds:
                return False
        return True if ended_seconds <= vouched_until else None


def _either(before: bool | None, after: bool | None) -> bool | None:
    return before if after is None else bool(before or after)
