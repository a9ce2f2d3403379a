"""Hears what devices tell about themselves, and comes back when the link to the broker breaks.

What ``edge-agent watch`` uses, and any program that follows a few topics; the fleet's operator publishes with
it, too. No thread: the socket is served while one waits in :meth:`TopicListener.hear`. Nothing is kept: a
message that was handed out is forgotten.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from types import TracebackType
from typing import Final, TypeVar

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.backoff import pause_seconds
from edge_agent.link.connection import Connection
from edge_agent.link.mailbox import Mailbox
from edge_agent.link.protocol import MQTT_3_1_1, MQTT_5, ConnectOptions, Incoming, Subscription

_LONGEST_PAUSE_SECONDS: Final = 10.0
_LEAST_PAUSE_SECONDS: Final = 0.2
_SelfT = TypeVar("_SelfT", bound="TopicListener")


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """How a listener is at the broker.

    Attributes:
        role: a word of its client id.
        largest_packet_bytes: no document of a device is nearly as large; on MQTT 5 the broker keeps larger
            ones to itself.
        base_pause_seconds: before the second attempt to come back; later ones wait longer.
        inflight: messages of ours that may wait for the broker's confirmation.
    """

    role: str = "watch"
    largest_packet_bytes: int = 65_536
    base_pause_seconds: float = 1.0
    inflight: int = 20


_WATCH: Final = ListenerOptions()


class TopicListener:
    """Follows topics; made by :meth:`connect`, a context manager.

    Args:
        address: the broker.
        filters: what to subscribe to, at QoS 1.
        timeout: seconds that the broker has for each answer.
        options: how it is at the broker.

    Attributes:
        fault: why the link is away, in words; None while it is there.
        connections: how many there have been; another number means that all is told anew.
        refused_filters: what the broker does not let us hear, where it says so.
    """

    def __init__(
        self,
        address: BrokerAddress,
        filters: Sequence[str],
        timeout: float,
        options: ListenerOptions = _WATCH,
    ) -> None:
        self.fault: str | None = None
        self.connections = 0
        self.refused_filters: tuple[str, ...] = ()
        self._options = options
        self._address = address
        self._filters = tuple(map(Subscription, filters))
        self._timeout = timeout
        self._protocol = MQTT_5
        self._mailbox = Mailbox()
        self._connection: Connection | None = None
        self._failures = 0
        self._next_attempt = 0.0

    @classmethod
    def connect(
        cls: type[_SelfT], broker: str | BrokerAddress, filters: Sequence[str], *, timeout: float = 5.0
    ) -> _SelfT:
        """Connects with MQTT 5, or 3.1.1 where the broker refuses that, and subscribes.

        Args:
            broker: an address, or a URL as ``BrokerAddress.from_url`` takes it.
            filters: topic filters.
            timeout: seconds for each attempt.

        Raises:
            BrokerError: the broker cannot be reached, refuses us, or every one of the filters.
            SettingsError: ``broker`` is not an address, or a filter is none.
        """
        address = BrokerAddress.from_url(broker) if isinstance(broker, str) else broker
        listener = cls(address, filters, timeout)
        listener._attempt()
        return listener

    def hear(self, seconds: float) -> list[Incoming]:
        """What arrives next, after at most so many seconds; while the link is away, tries to make it anew.

        Never raises for the broker's sake: :attr:`fault` says how the link is.
        """
        if self._connection is None:
            left = self._next_attempt - time.monotonic()
            if left > 0:
                time.sleep(min(left, seconds))
                return []
            with suppress(BrokerError):
                self._attempt()
        elif not self._connection.pump(seconds):
            self._note_away(self._connection.loss or "the link was lost")
        return self._mailbox.take()

    def close(self) -> None:
        """Says goodbye and frees the socket."""
        if self._connection is not None:
            with suppress(BrokerError):
                self._connection.disconnect()
                self._connection.pump(0.1)
        self._forget_connection()

    def __enter__(self: _SelfT) -> _SelfT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self) -> None:
        """One try to be let in and subscribed, with the older protocol too where the newer is not understood.

        Raises:
            BrokerError: it failed; the pause before the next is set.
        """
        try:
            try:
                self._enter()
            except _WrongProtocolError:
                self._protocol = MQTT_3_1_1 if self._protocol == MQTT_5 else MQTT_5
                self._forget_connection()
                self._enter()
        except BrokerError as error:
            self._note_away(str(error))
            raise
        self.fault = None
        self._failures = 0
        self.connections += 1

    def _enter(self) -> None:
        self._mailbox = box = Mailbox()
        options = ConnectOptions(
            client_id=f"edge-agent-{self._options.role}-{token_hex(4)}",
            protocol=self._protocol,
            connect_timeout_seconds=self._timeout,
            max_packet_bytes=self._options.largest_packet_bytes,
            inflight=self._options.inflight,
        )
        self._connection = box.connection = connection = Connection(self._address, options, box)
        connection.open()
        self._wait(connection, lambda: box.accepted is not None)
        connection.subscribe(self._filters)
        self._wait(connection, lambda: box.subscribed > 0)
        self.refused_filters = tuple(connection.refused_filters)
        if len(self.refused_filters) == len(self._filters):
            raise BrokerError(
                f"the broker at {self._address} refused the subscriptions: {box.fault}",
                hint="its access list must let this user read the devices' topics",
            )

    def _wait(self, connection: Connection, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._timeout
        while not is_done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise BrokerError(f"the broker at {self._address} does not answer within {self._timeout:g} s")
            if not connection.pump(left) and not is_done():
                kind = _WrongProtocolError if self._mailbox.may_be_protocol else BrokerError
                fault = self._mailbox.fault or "no answer"
                raise kind(f"the broker at {self._address} refused the connection: {fault}")

    def _forget_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _note_away(self, fault: str) -> None:
        self._forget_connection()
        self.fault = fault
        pause = pause_seconds(
            self._failures,
            base=self._options.base_pause_seconds,
            cap=_LONGEST_PAUSE_SECONDS,
            fraction=random.random(),
        )
        self._failures += 1
        self._next_attempt = time.monotonic() + max(_LEAST_PAUSE_SECONDS, pause)


class _WrongProtocolError(BrokerError):
    """The broker does not speak the protocol that was tried, or hangs up on it without a word."""
