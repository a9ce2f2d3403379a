"""Who takes requests, for tests of the link: keeps them, and answers when told to."""

from __future__ import annotations

from threading import Condition

from edge_agent.link.protocol import Delivery


class KeepingReceiver:
    """A :class:`~edge_agent.link.protocol.Receiver` that keeps what it is handed."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.link_changes = 0
        self._news = Condition()

    def on_delivery(self, delivery: Delivery) -> None:
        with self._news:
            self.deliveries.append(delivery)
            self._news.notify_all()

    def on_link_change(self) -> None:
        with self._news:
            self.link_changes += 1
            self._news.notify_all()

    def wait_for(self, count: int, within_seconds: float = 10.0) -> list[Delivery]:
        """The deliveries, once there are so many."""
        with self._news:
            arrived = self._news.wait_for(lambda: len(self.deliveries) >= count, within_seconds)
            assert arrived, f"{len(self.deliveries)} of {count} deliveries"
            return list(self.deliveries)

    def wait_for_change(self, count: int, within_seconds: float = 10.0) -> None:
        """Until the link has come up or gone down so often."""
        with self._news:
            assert self._news.wait_for(lambda: self.link_changes >= count, within_seconds)
