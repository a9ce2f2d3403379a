"""Acknowledgements that are owed to one connection. Pure.

PUBACKs leave in the order in which the messages came (MQTT 5.0 section 4.6, 4.6.0-2), so one waits for those
before it. Packet identifiers start anew with each connection: what was owed to the last is owed to nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from edge_agent.link.protocol import Delivery


class Owed:
    """Messages at QoS 1 in the order of receipt.

    Args:
        most: how many are held.
        most_bytes: of their payloads.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._deliveries: deque[Delivery] = deque()

    def __len__(self) -> int:
        return len(self._deliveries)

    def add(self, delivery: Delivery) -> bool:
        """Takes one; False where there is no room."""
        if len(self._deliveries) >= self._most or self._bytes >= self._most_bytes:
            return False
        self._deliveries.append(delivery)
        self._bytes += len(delivery.message.payload)
        return True

    def settled(self) -> Iterator[int]:
        """Packet identifiers to acknowledge now, in order; they are owed no longer."""
        while self._deliveries and self._deliveries[0].settled:
            message = self._deliveries.popleft().message
            self._bytes -= len(message.payload)
            yield message.mid

    def clear(self) -> None:
        """The connection is gone."""
        self._deliveries.clear()
        self._bytes = 0
