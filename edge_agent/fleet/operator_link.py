"""The operator's one connection to the broker: hears topics, publishes retained commands, comes back.

No thread: the socket is served while one waits in :meth:`OperatorLink.hear`. What was not confirmed when the
link broke is forgotten; whoever published it finds in the topics whether the broker has it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from secrets import token_hex
from types import TracebackType
from typing import Final

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.backoff import pause_seconds
from edge_agent.link.connection import Connection
from edge_agent.link.protocol import MQTT_3_1_1, MQTT_5, Accepted, ConnectOptions, Incoming, Subscription

QUIET_SECONDS: Final = 1.0
"""Nothing marks the end of what a broker retains (MQTT 5.0 section 3.3.1.3), so a pause must do: in which no
topic is heard of for the first time. What is published meanwhile bears the same mark."""
_LONGEST_SETTLING_SECONDS: Final = 60.0
_INFLIGHT: Final = 50
_LARGEST_PACKET_BYTES: Final = 131_072
_BASE_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 10.0
_LEAST_PAUSE_SECONDS: Final = 0.2
_GOODBYE_SECONDS: Final = 5.0


class OperatorLink:
    """A link that is made anew when it breaks; made by :meth:`connect`, a context manager.

    Attributes:
        fault: why the link is away, in words; None while it is there.
        connections: how many there have been; another number means that all must be told anew.
        refused_filters: what the broker does not let us hear, where it says so.
    """

    def __init__(
        self, address: BrokerAddress, filters: Sequence[str], timeout: float, quiet_seconds: float
    ) -> None:
        self.fault: str | None = None
        self.connections = 0
        self.refused_filters: tuple[str, ...] = ()
        self._address = address
        self._filters = tuple(map(Subscription, filters))
        self._timeout = timeout
        self._quiet_seconds = quiet_seconds
        self._protocol = MQTT_5
        self._ear = _Ear()
        self._connection: Connection | None = None
        self._failures = 0
        self._next_attempt = 0.0
        self._quiet_at = 0.0
        self._settled_by = 0.0
        self._topics: set[str] = set()
        self._is_settled = False

    @classmethod
    def connect(
        cls,
        address: BrokerAddress,
        filters: Sequence[str],
        *,
        timeout: float = 5.0,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> OperatorLink:
        """Connects with MQTT 5, or 3.1.1 where the broker refuses that, and subscribes.

        Args:
            address: of the broker.
            filters: topic filters.
            timeout: seconds that the broker has for each answer.
            quiet_seconds: the pause that ends what it retains.

        Raises:
            BrokerError: the broker cannot be reached, refuses us, or every one of the filters.
        """
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
        messages = self._ear.take()
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
        return self._ear.take_confirmed()

    def close(self) -> None:
        """Says goodbye and frees the socket."""
        if self._connection is not None:
            with suppress(BrokerError):
                end = time.monotonic() + _GOODBYE_SECONDS
                while self._connection.unconfirmed and time.monotonic() < end and self._connection.pump(0.1):
                    pass
                self._connection.disconnect()
                self._connection.pump(0.1)
        self._forget_connection()

    def __enter__(self) -> OperatorLink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self) -> None:
        """One try to be let in and subscribed, with the older protocol too where the newer is not known.

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
        self._quiet_at = time.monotonic() + self._quiet_seconds
        self._settled_by = time.monotonic() + _LONGEST_SETTLING_SECONDS
        self._is_settled = False
        self._topics.clear()

    def _enter(self) -> None:
        self._ear = ear = _Ear()
        options = ConnectOptions(
            client_id=f"edge-agent-fleet-{token_hex(4)}",
            protocol=self._protocol,
            connect_timeout_seconds=self._timeout,
            max_packet_bytes=_LARGEST_PACKET_BYTES,
            inflight=_INFLIGHT,
        )
        self._connection = ear.connection = connection = Connection(self._address, options, ear)
        connection.open()
        self._wait(connection, lambda: ear.is_accepted)
        connection.subscribe(self._filters)
        self._wait(connection, lambda: ear.is_subscribed)
        self.refused_filters = tuple(connection.refused_filters)
        if len(self.refused_filters) == len(self._filters):
            raise BrokerError(
                f"the broker at {self._address} refused the subscriptions: {ear.fault}",
                hint="its access list must let this user read the devices' topics",
            )

    def _wait(self, connection: Connection, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._timeout
        while not is_done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise BrokerError(f"the broker at {self._address} does not answer within {self._timeout:g} s")
            if not connection.pump(left) and not is_done():
                kind = _WrongProtocolError if self._ear.may_be_protocol else BrokerError
                fault = self._ear.fault or "no answer"
                raise kind(f"the broker at {self._address} refused the connection: {fault}")

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
        self._confirmed: list[tuple[object, str | None]] = []

    def take(self) -> list[Incoming]:
        taken, self._messages = self._messages, []
        return taken

    def take_confirmed(self) -> list[tuple[object, str | None]]:
        taken, self._confirmed = self._confirmed, []
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
        self._confirmed.append((token, fault))

    def on_lost(self, reason: str) -> None:
        if not self.is_accepted and self.fault is None:
            self.may_be_protocol = True
        self.fault = self.fault or reason
