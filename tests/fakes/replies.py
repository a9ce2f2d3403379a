"""The link as the worker sees it: keeps the answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from threading import Condition
from typing import Any

from edge_agent.link.protocol import Delivery


@dataclass(frozen=True)
class Reply:
    """One answer."""

    delivery: Delivery
    topic: str
    document: dict[str, Any]
    user: tuple[tuple[str, str], ...]
    expiry_seconds: int | None


class RecordingReplies:
    """A :class:`~edge_agent.service.worker.Replies`; deliveries in ``stale`` come again."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.settled: list[Delivery] = []
        self.stale: list[Delivery] = []
        self.unconfirmed = 0
        self._news = Condition()

    def answer(
        self,
        delivery: Delivery,
        topic: str,
        payload: bytes,
        *,
        user: tuple[tuple[str, str], ...] = (),
        expiry_seconds: int | None = None,
    ) -> None:
        with self._news:
            self.replies.append(Reply(delivery, topic, json.loads(payload), user, expiry_seconds))
            self._news.notify_all()

    def settle(self, delivery: Delivery) -> None:
        with self._news:
            self.settled.append(delivery)
            self._news.notify_all()

    def comes_again(self, delivery: Delivery) -> bool:
        return any(delivery is one for one in self.stale)

    def wait_for(self, count: int, within_seconds: float = 10.0) -> list[Reply]:
        """The answers, once there are so many."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.replies) >= count, within_seconds)
            return list(self.replies)
