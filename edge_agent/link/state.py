"""Retained state: the newest of each topic, and which of it is on its way. Pure.

While the broker has not confirmed one, later ones of the same topic only replace each other, so that a
broker that is slow or frozen makes nothing grow; when it confirms, the newest follows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StateToken:
    """A publication of state that is under way."""

    topic: str
    payload: bytes


class StateBook:
    """The newest state of every topic."""

    def __init__(self) -> None:
        self._newest: dict[str, bytes] = {}
        self._under_way: dict[str, StateToken] = {}

    def topics(self) -> list[str]:
        """Topics with state."""
        return list(self._newest)

    def note(self, topic: str, payload: bytes) -> None:
        """Remembers state; empty state clears what the broker retained, and is forgotten once it did."""
        self._newest[topic] = payload

    def forget(self, topic: str) -> None:
        """Never publishes this again."""
        self._newest.pop(topic, None)

    def only(self, topic: str, payload: bytes) -> StateToken:
        """The last words: forgets all others, and waits for nothing."""
        self._newest = {topic: payload}
        self._under_way.pop(topic, None)
        return self.next(topic) or StateToken(topic, payload)

    def next(self, topic: str) -> StateToken | None:
        """What to publish now; None while one of this topic is under way, or there is none."""
        payload = self._newest.get(topic)
        if payload is None or topic in self._under_way:
            return None
        token = StateToken(topic, payload)
        self._under_way[topic] = token
        return token

    def ended(self, token: StateToken) -> bool:
        """The broker confirmed or refused it; whether there is newer state to publish."""
        if self._under_way.get(token.topic) is not token:
            return False
        del self._under_way[token.topic]
        newest = self._newest.get(token.topic)
        if newest is token.payload and not newest:
            del self._newest[token.topic]
        return newest is not None and newest is not token.payload

    def lost(self) -> None:
        """The connection is gone: nothing is under way."""
        self._under_way.clear()
