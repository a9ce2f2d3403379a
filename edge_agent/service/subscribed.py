"""What the broker may still hold for this device: the filters that its persistent session subscribed to.

A session outlives the settings. A route that was taken out of them would go on bringing messages, and a
shared one would go on taking its part of a pool's stream for nobody. So the filters lie in the state folder:
those of earlier lives are taken back on every connection, until one came up without them.
"""

from __future__ import annotations

import json
from pathlib import Path

from edge_agent.errors import SettingsError
from edge_agent.link.envelope import encode_json
from edge_agent.link.protocol import Subscription
from edge_agent.log import get_logger
from edge_agent.service.state_file import StateFile

FILE_NAME = "subscriptions.json"
_MOST = 256
_LONGEST = 65_535


class Subscribed:
    """The record; written only when it changes.

    Args:
        folder: the device's state directory.
        wanted: filters of this life.

    Attributes:
        fault: why it could not be written last time, in words; or None.
    """

    def __init__(self, folder: Path, wanted: tuple[str, ...]) -> None:
        self._file = StateFile(folder / FILE_NAME)
        self.fault: str | None = None
        self._wanted = wanted
        self._written = self._read()
        self.before = self._written
        """Filters of earlier lives and of this one; garbage in the file is none."""
        self._write(tuple(dict.fromkeys((*wanted, *self.before)))[:_MOST])

    def came_up(self) -> None:
        """A connection came up, and with it the broker took back what is not wanted."""
        self._write(self._wanted)

    def _read(self) -> tuple[str, ...]:
        try:
            filters = json.loads(self._file.read())["filters"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ()
        if not isinstance(filters, list):
            return ()
        return tuple(one for one in filters[:_MOST] if _is_filter(one))

    def _write(self, filters: tuple[str, ...]) -> None:
        if filters == self._written:
            return
        reason = self._file.write(encode_json({"filters": list(filters)}))
        if reason is not None:
            self.fault = f"the record of subscriptions cannot be written: {reason}"
            get_logger().warning("subscriptions.unrecorded", reason=reason)
            return
        self._written, self.fault = filters, None


def _is_filter(value: object) -> bool:
    """Whether a broker can be asked to give it up; at one that is no filter it would hang up, each time."""
    if not isinstance(value, str):
        return False
    try:
        Subscription(value)
        return len(value.encode()) <= _LONGEST
    except (SettingsError, UnicodeEncodeError):
        return False
