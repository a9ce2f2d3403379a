"""The operator's one connection to the broker: hears topics, publishes retained commands, comes back.

It is a listener that also publishes, and knows when the broker has told what it retains. What was not
confirmed when the link broke is forgotten; whoever published it finds in the topics whether the broker has
it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.listener import ListenerOptions, TopicListener
from edge_agent.link.protocol import Incoming

QUIET_SECONDS: Final = 1.0
"""Nothing marks the end of what a broker retains (MQTT 5.0 section 3.3.1.3), so a pause must do: in which no
topic is heard of for the first time. What is published meanwhile bears the same mark."""
_LONGEST_SETTLING_SECONDS: Final = 60.0
_GOODBYE_SECONDS: Final = 5.0
_OPTIONS: Final = ListenerOptions("fleet", largest_packet_bytes=131_072, base_pause_seconds=0.5, inflight=50)


class OperatorLink(TopicListener):
    """A link that is made anew when it breaks; made by :meth:`connect`, a context manager.

    Args:
        address: of the broker.
        filters: topic filters.
        timeout: seconds that the broker has for each answer.
        quiet_seconds: the pause that ends what the broker retains.
    """

    def __init__(
        self,
        address: BrokerAddress,
        filters: Sequence[str],
        timeout: float,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        super().__init__(address, filters, timeout, _OPTIONS)
        self._quiet_seconds = quiet_seconds
        self._quiet_at = 0.0
        self._settled_by = 0.0
        self._topics: set[str] = set()
        self._is_settled = False

    @classmethod
    def connect(
        cls,
        broker: str | BrokerAddress,
        filters: Sequence[str],
        *,
        timeout: float = 5.0,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> OperatorLink:
        """Connects as a listener does.

        Args:
            broker: an address, or a URL as ``BrokerAddress.from_url`` takes it.
            filters: topic filters.
            timeout: seconds that the broker has for each answer.
            quiet_seconds: the pause that ends what it retains.

        Raises:
            BrokerError: the broker cannot be reached, refuses us, or every one of the filters.
            SettingsError: ``broker`` is not an address, or a filter is none.
        """
        address = BrokerAddress.from_url(broker) if isinstance(broker, str) else broker
        link = cls(address, filters, timeout, quiet_seconds)
        link._attempt()
        return link

    @property
    def is_settled(self) -> bool:
        """Whether the broker has told what it retains, on this connection."""
        if self._connection is None:
            return False
        if not self._is_settled and time.monotonic() >= min(self._quiet_at, self._settled_by):
            self._is_settled = True
            self._topics.clear()
        return self._is_settled

    def hear(self, seconds: float) -> list[Incoming]:
        """What arrives next, after at most so many seconds; while the link is away, tries to make it anew.

        Never raises for the broker's sake: ``fault`` says how the link is.
        """
        messages = super().hear(seconds)
        if not self._is_settled:
            known = len(self._topics)
            self._topics.update(message.topic for message in messages if message.retain)
            if len(self._topics) > known:
                self._quiet_at = time.monotonic() + self._quiet_seconds
        return messages

    def hear_retained(self) -> list[Incoming]:
        """All that the broker retains, and what else comes meanwhile.

        Raises:
            BrokerError: the link broke.
        """
        heard: list[Incoming] = []
        while not self.is_settled:
            heard += self.hear(max(0.0, min(self._quiet_at, self._settled_by) - time.monotonic()))
            if self.fault is not None:
                raise BrokerError(f"the link to the broker was lost: {self.fault}")
        return heard

    def publish(self, topic: str, payload: bytes, token: object) -> None:
        """Publishes at QoS 1, retained; :meth:`confirmed` tells of it by its token.

        Raises:
            BrokerError: the link is gone.
        """
        if self._connection is None:
            raise BrokerError("the link to the broker is gone")
        self._connection.publish(topic, payload, retain=True, token=token, may_wait=True)

    def confirmed(self) -> list[tuple[object, str | None]]:
        """Tokens of what the broker has confirmed since this was asked last, each with why it refused it."""
        return self._mailbox.take_confirmed()

    def close(self) -> None:
        """Waits a little for what is not confirmed, says goodbye and frees the socket."""
        connection = self._connection
        if connection is not None:
            with suppress(BrokerError):
                end = time.monotonic() + _GOODBYE_SECONDS
                while connection.unconfirmed and time.monotonic() < end and connection.pump(0.1):
                    pass
        super().close()

    def _attempt(self) -> None:
        super()._attempt()
        now = time.monotonic()
        self._quiet_at, self._settled_by = now + self._quiet_seconds, now + _LONGEST_SETTLING_SECONDS
        self._is_settled = False
        self._topics.clear()
