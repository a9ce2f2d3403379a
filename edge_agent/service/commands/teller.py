"""Tells the states of commands, and bounds how many stand at the broker.

The lock is never held while the link is called: the network thread comes here with the link's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Protocol

from edge_agent.link.commands import MAX_STATE_BYTES, Report, render_report
from edge_agent.link.protocol import Delivery

MOST_TOLD = 128


class Voice(Protocol):
    """The part of the link that the desk speaks to."""

    def announce(self, topic: str, payload: bytes) -> None:
        """Publishes retained state now and on every later connection, the newest only.

        An empty payload clears what the broker retained, and is forgotten once it did.
        """

    def retract(self, topic: str) -> None:
        """Forgets such a state and publishes nothing."""

    def settle(self, delivery: Delivery) -> None:
        """Acknowledges a message, in its turn."""

    def comes_again(self, delivery: Delivery) -> bool:
        """Whether the broker sends this message again anyway."""


class Teller:
    """Announces reports on commands' topics, the newest :data:`MOST_TOLD` of this life.

    Args:
        voice: the link.
        most_bytes: of a payload; what the broker takes.
    """

    def __init__(self, voice: Voice, most_bytes: Callable[[], int]) -> None:
        self._voice = voice
        self._most_bytes = most_bytes
        self._lock = Lock()
        self._told: dict[str, Report] = {}

    def tell(self, topic: str, report: Report) -> None:
        """Announces a state; the oldest topic makes room for it where there are too many."""
        oldest: str | None = None
        with self._lock:
            self._told.pop(topic, None)
            self._told[topic] = report
            if len(self._told) > MOST_TOLD:
                oldest = next(iter(self._told))
                del self._told[oldest]
        if oldest is not None:
            self._voice.announce(oldest, b"")
        self._voice.announce(topic, render_report(report, min(MAX_STATE_BYTES, self._most_bytes())))

    def told(self, topic: str) -> Report | None:
        """What was last told on a topic in this life, unless it was cleared."""
        with self._lock:
            return self._told.get(topic)

    def cleared(self, topic: str) -> None:
        """The requester has cleared a topic: it is not to come back with the next connection."""
        with self._lock:
            self._told.pop(topic, None)
        self._voice.retract(topic)

    def clear(self, topic: str) -> None:
        """Takes a state, told in this life or an earlier one, from the broker."""
        with self._lock:
            self._told.pop(topic, None)
        self._voice.announce(topic, b"")
