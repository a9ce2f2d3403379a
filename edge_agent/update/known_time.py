"""This machine's clocks, and the last known good time; the rule is :mod:`edge_agent.update.clock`."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from edge_agent.files import write_atomic
from edge_agent.update.clock import BUILD_TIME, Clocks, Reference, from_json, note_of, reference_time, to_json

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_MOST_BYTES: Final = 4096


def read_clocks(is_synchronised: bool) -> Clocks:
    """This machine's clocks, now."""
    boot_id = None
    with suppress(OSError):
        boot_id = _BOOT_ID.read_text().strip() or None
    return Clocks(
        datetime.now(timezone.utc), is_synchronised, boot_id, time.clock_gettime(time.CLOCK_BOOTTIME)
    )


def take_reference(path: Path, clocks: Clocks, build: datetime = BUILD_TIME) -> Reference:
    """The reference time, noted at ``path`` so that no later one is earlier.

    Args:
        path: the note; its folder must exist. One that is missing or garbage counts as none.
        clocks: from :func:`read_clocks`.
        build: when this program was made.

    Raises:
        OSError: it cannot be noted, so it is not to be used either.
    """
    note = None
    with suppress(OSError, ValueError, RecursionError), path.open("rb") as file:
        note = from_json(json.loads(file.read(_MOST_BYTES)))
    reference = reference_time(clocks, note, build)
    write_atomic(path, (json.dumps(to_json(note_of(reference, clocks))) + "\n").encode())
    return reference
