"""What time it is for the expiry of signed metadata, on a device whose clock may be wrong. Pure.

Many boards have no battery for their clock: after a power cut they wake up in 1970, or where the file system
was last written, and without a network nobody tells them better. Two faults are to be avoided: to take
expired metadata for ever (the freeze attack of the TUF specification), and to refuse good metadata.

The rule:

1.  Where the kernel says that the clock is synchronised, it counts.
2.  Else the time is the latest of *last known good time* and *build time*, plus the time that has certainly
    gone by since: in the boot in which it was noted, what ``CLOCK_BOOTTIME`` counted since the note; in a
    later one, the uptime. What the wall clock says does not count, since it may say anything.
3.  It never goes back: neither rule gives less than the last known good time, nor less than the build time.
4.  It is noted after each use, so uptime adds up over any number of boots.

By 2 the reference is never later than the true time as long as the noted one was not, so a device without
a clock never refuses what is still good. By 3 and 4 it grows while the device is on, so metadata do expire in
the end, only later than for others: by as long as the device was switched off. The price of 3: a synchronised
clock that was set into the future, by a false time server, stays the reference; removing the note mends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any, Final

BUILD_TIME: Final = datetime(2026, 11, 24, tzinfo=timezone.utc)
"""No device that runs this code lives earlier. Moved on with each release."""
_LATEST: Final = datetime(9000, 1, 1, tzinfo=timezone.utc)


class Source(Enum):
    """Where a reference time comes from."""

    SYNCHRONISED = "synchronised clock"
    LAST_KNOWN = "last known time"
    BUILD = "build time"


@dataclass(frozen=True, slots=True)
class Note:
    """The last known good time.

    Attributes:
        time: it, with a time zone.
        boot_id: of the boot in which it was noted, or None.
        boottime_seconds: ``CLOCK_BOOTTIME`` at that moment.
    """

    time: datetime
    boot_id: str | None
    boottime_seconds: float


@dataclass(frozen=True, slots=True)
class Clocks:
    """What this machine's clocks say at one moment.

    Attributes:
        wall: the wall clock, with a time zone.
        is_synchronised: whether the kernel says so.
        boot_id: of this boot, or None where the kernel has none.
        boottime_seconds: time since the boot, sleep included.
    """

    wall: datetime
    is_synchronised: bool
    boot_id: str | None
    boottime_seconds: float


@dataclass(frozen=True, slots=True)
class Reference:
    """The time that counts, and where it comes from."""

    time: datetime
    source: Source


def reference_time(clocks: Clocks, note: Note | None, build: datetime = BUILD_TIME) -> Reference:
    """The time by which metadata expire; the rule stands above.

    Args:
        clocks: of this machine, now.
        note: the last known good time, or None.
        build: when this program was made.
    """
    known = Reference(build, Source.BUILD)
    if note is not None and note.time > build:
        known = Reference(note.time, Source.LAST_KNOWN)
    if clocks.is_synchronised and clocks.wall >= known.time:
        return Reference(min(clocks.wall, _LATEST), Source.SYNCHRONISED)
    if clocks.is_synchronised:
        return known
    passed = _passed(clocks, note if known.source is Source.LAST_KNOWN else None)
    return Reference(min(known.time + timedelta(seconds=passed), _LATEST), known.source)


def note_of(reference: Reference, clocks: Clocks) -> Note:
    """What is to be noted after a reference time was used."""
    return Note(reference.time, clocks.boot_id, clocks.boottime_seconds)


def to_json(note: Note) -> dict[str, Any]:
    """A note as a JSON object."""
    return {
        "time": note.time.isoformat(),
        "boot_id": note.boot_id,
        "boottime_seconds": note.boottime_seconds,
    }


def from_json(value: Any) -> Note | None:
    """A note from :func:`to_json`; None where it is none."""
    if not isinstance(value, Mapping):
        return None
    text, boot_id, boottime = value.get("time"), value.get("boot_id"), value.get("boottime_seconds")
    if not isinstance(text, str) or not isinstance(boot_id, str | None):
        return None
    if isinstance(boottime, bool) or not isinstance(boottime, int | float) or not boottime >= 0:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if time.tzinfo is None or time > _LATEST else Note(time, boot_id, float(boottime))


def _passed(clocks: Clocks, note: Note | None) -> float:
    """Seconds that have certainly gone by since the note, or since the build."""
    is_same_boot = note is not None and note.boot_id is not None and note.boot_id == clocks.boot_id
    since = note.boottime_seconds if note is not None and is_same_boot else 0.0
    return max(clocks.boottime_seconds - since, 0.0)
