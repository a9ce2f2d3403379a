"""What the desk says, kept: a :class:`~edge_agent.service.commands.teller.Voice` without a broker."""

from __future__ import annotations

import json
from threading import Condition
from typing import Any

from edge_agent.link.protocol import Delivery, Incoming


class KeptVoice:
    """Keeps announcements and acknowledgements, and what a broker would retain."""

    def __init__(self) -> None:
        self.said: list[tuple[str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        self.retracted: list[str] = []
        self.settled: list[Delivery] = []
        self.old: set[int] = set()
        """Numbers of connections whose messages come again."""
        self._news = Condition()

    def announce(self, topic: str, payload: bytes) -> None:
        with self._news:
            self.said.append((topic, payload))
            if payload:
                self.retained[topic] = payload
            else:
                self.retained.pop(topic, None)
            self._news.notify_all()

    def retract(self, topic: str) -> None:
        with self._news:
            self.retracted.append(topic)
            self._news.notify_all()

    def settle(self, delivery: Delivery) -> None:
        with self._news:
            self.settled.append(delivery)
            self._news.notify_all()

    def comes_again(self, delivery: Delivery) -> bool:
        return delivery.connection in self.old

    def wait_until(self, is_it: Any, within_seconds: float = 20.0) -> None:
        with self._news:
            assert self._news.wait_for(is_it, within_seconds), f"said so far: {self.said}"

    def wait_settled(self, *deliveries: Delivery) -> None:
        self.wait_until(lambda: all(any(d is s for s in self.settled) for d in deliveries))

    def states(self, topic: str) -> list[str]:
        """The states told on a topic, in order."""
        return [json.loads(payload)["status"] for said, payload in self.said if said == topic and payload]

    def wait_final(self, topic: str) -> dict[str, Any]:
        """The final state on a topic, once it is told."""
        self.wait_until(lambda: {"successful", "failed"} & set(self.states(topic)[-1:]))
        final: dict[str, Any] = json.loads(self.retained[topic])
        return final


def delivery(
    topic: str,
    payload: bytes | str | dict[str, Any] = b"",
    *,
    retain: bool = False,
    mid: int = 1,
    connection: int = 1,
    received: float = 0.0,
    expiry_seconds: int | None = None,
) -> Delivery:
    """A message as the link hands it over."""
    body = json.dumps(payload) if isinstance(payload, dict) else payload
    content = body.encode() if isinstance(body, str) else body
    message = Incoming(topic, content, 1, retain, mid, None, None, expiry_seconds, None, None)
    return Delivery(message, connection, received)
