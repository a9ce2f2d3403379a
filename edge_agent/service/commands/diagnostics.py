"""``diagnostics``: what a stranger needs to help, in one document of at most 64 kB, and no more than that.

Neither secrets nor texts nor the topics of others. The parts that it is made of keep them out themselves; the
rules here are a second net, so that a setting added tomorrow does not leak by its name.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from edge_agent.link.commands import MAX_STATE_BYTES
from edge_agent.link.envelope import encode_json
from edge_agent.link.expiry import rfc3339
from edge_agent.service.commands.operation import Outcome
from edge_agent.service.commands.recent import RecentEvents
from edge_agent.service.commands.states import Interruption

DEADLINE_SECONDS = 30.0
REDACTED = "(redacted)"
_ROOM_BYTES = 2048
"""For the state around the result, and for the packet around that."""

_SECRET = re.compile(r"password|passwd|secret|token|credential|passphrase|api_?key|private", re.IGNORECASE)
_FILE = re.compile(r"_(file|path|directory)$", re.IGNORECASE)
_TOPICS = frozenset({"subscribe", "publish", "topic", "topics", "filter", "text"})
_PACKAGES = (
    "edge-agent",
    "ai-edge-litert",
    "tflite-runtime",
    "numpy",
    "paho-mqtt",
    "psutil",
    "pydantic",
    "pydantic-settings",
    "structlog",
)
_LAST_TO_GO = ("packages", "settings", "events", "health")
"""Where all does not fit, these are left out in turn."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the parts come from.

    Attributes:
        settings: all settings without secrets.
        health: the health document.
        identity: what ``info`` says of program and machine; its settings are not taken twice.
        events: the latest warnings and errors.
    """

    settings: Callable[[], Mapping[str, Any]]
    health: Callable[[], Mapping[str, Any]]
    identity: Callable[[], Mapping[str, Any]]
    events: RecentEvents


class Diagnostics:
    """Collects the document.

    Args:
        sources: where its parts come from.
        most_bytes: largest payload that the broker takes.
    """

    deadline_seconds = DEADLINE_SECONDS
    interruption = Interruption.RUN_AGAIN

    def __init__(self, sources: Sources, most_bytes: Callable[[], int] = lambda: MAX_STATE_BYTES) -> None:
        self._sources = sources
        self._most_bytes = most_bytes

    def run(self, arguments: Mapping[str, Any], stopping: Event) -> Outcome | None:
        """Collects."""
        del arguments, stopping
        events = [{**event, "time": rfc3339(float(event["time"]))} for event in self._sources.events.newest()]
        document = {
            "identity": redacted({k: v for k, v in self._sources.identity().items() if k != "settings"}),
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "packages": package_versions(),
            "health": redacted(self._sources.health()),
            "settings": redacted(self._sources.settings()),
            "events": events,
        }
        return Outcome(result=shrunk(document, min(MAX_STATE_BYTES, self._most_bytes()) - _ROOM_BYTES))


def package_versions() -> dict[str, str]:
    """The versions of what is installed of the libraries that the daemon uses."""
    from importlib import metadata  # 15 ms that the way to `online` need not wait for

    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def redacted(value: Any, key: str = "") -> Any:
    """A copy of a document without values whose keys say that they are secrets, texts or topics."""
    if _SECRET.search(key) and not _FILE.search(key) and value is not None:
        return REDACTED
    if isinstance(value, str):
        return REDACTED if key in _TOPICS else value
    if isinstance(value, Mapping):
        return {str(name): redacted(item, str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item, key) for item in value]
    return value


def shrunk(document: Mapping[str, Any], most_bytes: int) -> dict[str, Any]:
    """A document of at most so many bytes: oldest events go first, then parts, and it says which."""
    small = dict(document)
    while len(encode_json(small)) > most_bytes and len(small.get("events") or ()) > 5:
        small["events"] = small["events"][1:]
    left_out: list[str] = []
    for part in _LAST_TO_GO:
        if len(encode_json(small)) <= most_bytes:
            break
        small.pop(part, None)
        left_out.append(part)
        small["left_out"] = left_out
    return small if len(encode_json(small)) <= most_bytes else {"left_out": sorted(document)}
