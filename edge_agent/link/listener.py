"""Hears what devices tell about themselves, and comes back when the link to the broker breaks.

What ``edge-agent watch`` uses, and any program that follows a few topics. No thread: the socket is served
while one waits in :meth:`TopicListener.hear`. Nothing is kept: a message that was handed out is forgotten.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from secrets import token_hex
from types import TracebackType

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.backoff import pause_seconds
from edge_agent.link.connection import Connection
from edge_agent.link.protocol import MQTT_3_1_1, MQTT_5, Accepted, ConnectOptions, Incoming, Subscription

_BASE_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 10.0
_LEAST_PAUSE_SECONDS = 0.2
_LARGEST_PACKET_BYTES = 65_536
"""No document of a device is nearly as large; on MQTT 5 the broker keeps larger ones to itself."""


class TopicListener:
    """Follows topics; made by :meth:`connect`, a context manager.

    Args:
        address: the broker.
        filters: what to subscribe to, at QoS 1.
        timeout: seconds that the broker has for each answer.

    Attributes:
        fault: why the link is away, in words; None while it is there.
    """

    def __init__(self, address: BrokerAddress, filters: Sequence[str], timeout: float) -> None:
        self.fault: str | None = None
        self._address = address
        self._filters = tuple(map(Subscription, filters))
        self._timeout = timeout
        self._protocol = MQTT_5
        self._ear = _Ear()
        self._connection: Connection | None = None
        self._failures = 0
        self._next_attempt = 0.0

    @classmethod
    def connect(
        cls, broker: str | BrokerAddress, filters: Sequence[str], *, timeout: float = 5.0
    ) -> TopicListener:
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
        return self._ear.take()

    def close(self) -> None:
        """Says goodbye and frees the socket."""
        if self._connection is not None:
            with suppress(BrokerError):
                self._connection.disconnect()
                self._connection.pump(0.1)
        self._forget_connection()

    def __enter__(self) -> TopicListener:
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

    def _enter(self) -> None:
        self._ear = ear = _Ear()
        options = ConnectOptions(
            client_id=f"edge-agent-watch-{token_hex(4)}",
            protocol=self._protocol,
            connect_timeout_seconds=self._timeout,
            max_packet_bytes=_LARGEST_PACKET_BYTES,
        )
        self._connection = ear.connection = connection = Connection(self._address, options, ear)
        connection.open()
        self._wait(connection, lambda: ear.is_accepted)
        connection.subscribe(self._filters)
        self._wait(connection, lambda: ear.is_subscribed)
        if len(connection.refused_filters) == len(self._filters):
            raise BrokerError(
                f"the broker at {self._address} refused the subscriptions: {ear.fault}",
                hint="its access list must let this user read the devices' topics",
            )

    def _wait(self, connection: Connection, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._timeout
        ear = self._ear
        while not is_done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise BrokerError(f"the broker at {self._address} does not answer within {self._timeout:g} s")
            if not connection.pump(left) and not is_done():
                kind = _WrongProtocolError if ear.may_be_protocol else BrokerError
                raise kind(
                    f"the broker at {self._address} refused the connection: {ear.fault or 'no answer'}"
                )

    def _forget_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _note_away(self, fault: str) -> None:
        self._forget_connection()
        self.fault = fault
        pause = pause_seconds(
            self._failures, base=_BASE_PAUSE_SECONDS, cap=_LONGEST_PAUSE_SECONDS, fraction=random.random()
        )
        self._failures += 1
        self._next_attempt = time.monotonic() + max(_LEAST_PAUSE_SECONDS, pause)


class _WrongProtocolError(BrokerError):
    """The broker does not speak the protocol that was tried, or hangs up on it without a word."""


class _Ear:
    """Keeps what one connection tells until somebody looks; what it brings is acknowledged at once."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.is_accepted = False
        self.is_subscribed = False
        self.may_be_protocol = False
        self.fault: str | None = None
        self._messages: list[Incoming] = []

    def take(self) -> list[Incoming]:
        taken, self._messages = self._messages, []
        return taken

    def on_accepted(self, accepted: Accepted) -> None:  # noqa: ARG002
        self.is_accepted = True

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        self.fault, self.may_be_protocol = reason, wrong_protocol

    def on_subscribed(self, fault: str | None) -> None:
        self.is_subscribed = True
        self.fault = fault

    def on_message(self, message: Incoming) -> None:
        self._messages.append(message)
        if message.qos and self.connection is not None:
            self.connection.acknowledge(message.mid)

    def on_confirmed(self, token: object, fault: str | None) -> None:
        """Nothing is published."""

    def on_lost(self, reason: str) -> None:
        if not self.is_accepted and self.fault is None:
            self.may_be_protocol = True
        self.fault = self.fault or reason
