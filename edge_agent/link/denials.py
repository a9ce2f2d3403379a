"""What the broker refuses while the link is up, in words for ``health``. Pure.

A refused thing is a topic and what it was for. The list is bounded, an entry goes when the same topic is
taken later, and what a stranger chose (a response topic, a command's id) is not repeated: of our own tree
the first two levels are named, of the rest only that it is elsewhere. State is our own choice and named in
full: elsewhere we keep only what Home Assistant reads.
"""

from __future__ import annotations

import re
from enum import Enum

_MOST = 32
_MOST_LINES = 8
_DISCOVERY_HINT = "let the access list allow it, or set home_assistant.enabled to false"
_PLAIN_LEVEL = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Purpose(Enum):
    """What a refused topic was for."""

    ANSWER = "answers to"
    STATE = "retained state on"
    REPORT = "messages to"
    SUBSCRIPTION = "the subscription to"
    CANARY = "the link's own"


class Denials:
    """Keeps what is refused now.

    Args:
        tree: topic above all of this device's topics; empty where there is none.
    """

    def __init__(self, tree: str) -> None:
        self._tree = tree
        self._lines: dict[tuple[Purpose, str], str] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def note(self, purpose: Purpose, topic: str, reason: str) -> None:
        """The broker does not take this; the oldest entry makes room."""
        self._lines.pop((purpose, topic), None)
        if len(self._lines) >= _MOST:
            del self._lines[next(iter(self._lines))]
        self._lines[purpose, topic] = f"{purpose.value} {self._shown(purpose, topic)}: {reason}"

    def clear(self, purpose: Purpose, topic: str) -> None:
        """The broker takes it after all."""
        self._lines.pop((purpose, topic), None)

    def forget(self, *purposes: Purpose) -> None:
        """A new connection: these are tried again."""
        for key in [key for key in self._lines if key[0] in purposes]:
            del self._lines[key]

    def lines(self) -> tuple[str, ...]:
        """One line for each kind of thing, oldest first, at most nine."""
        lines = tuple(dict.fromkeys(self._lines.values()))
        if len(lines) <= _MOST_LINES:
            return lines
        return (*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES} more")

    def _shown(self, purpose: Purpose, topic: str) -> str:
        if purpose is Purpose.SUBSCRIPTION:
            return topic[:128]
        prefix = f"{self._tree}/" if self._tree else ""
        if not topic.startswith(prefix) and purpose is Purpose.STATE:
            return f"{topic[:100]} ({_DISCOVERY_HINT})"
        if not topic.startswith(prefix):
            return "a topic of another tree"
        levels = topic[len(prefix) :].split("/")
        shown = [level if _PLAIN_LEVEL.fullmatch(level) else "…" for level in levels[:2]]
        return "/".join([*shown, "…"] if len(levels) > 2 else shown)
