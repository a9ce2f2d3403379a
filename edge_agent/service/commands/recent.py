"""The latest warnings and errors, for ``diagnostics``: bounded, and without what a stranger wrote.

A structlog processor (it needs nothing of that library). Only named fields are kept, so that a new field of
some event never carries a text, a payload or a topic out of the device by mistake.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, MutableMapping
from threading import Lock
from typing import Any

KEPT = 20
_LEVELS = {
    "warning": "warning",
    "warn": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
_FIELDS = (
    "attempt",
    "code",
    "error",
    "model",
    "operation",
    "reason",
    "seconds",
    "status",
    "version",
    "where",
)
_LONGEST = 200


class RecentEvents:
    """Remembers events at warning or above, the newest :data:`KEPT`.

    Args:
        wall: seconds since the epoch.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._lock = Lock()
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def __call__(
        self, _logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Looks at an event on its way to the log, and passes it on unchanged."""
        level = _LEVELS.get(method)
        if level is not None:
            kept: dict[str, Any] = {
                "event": str(event.get("event"))[:_LONGEST],
                "level": level,
                "time": self._wall(),
            }
            kept.update({name: _plain(event[name]) for name in _FIELDS if event.get(name) is not None})
            with self._lock:
                self._events.append(kept)
        return event

    def newest(self, most: int = KEPT) -> list[dict[str, Any]]:
        """The newest events, oldest first; ``time`` in seconds since the epoch."""
        with self._lock:
            events = list(self._events)
        return [dict(event) for event in events[max(0, len(events) - most) :]]


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, float)):
        return value
    return str(value)[:_LONGEST]
