"""Reads what is retained on a few topics, and goes.

The broker sends retained messages after it confirmed the subscription (MQTT 5.0 section 3.3.1.3) and does not
say when it has sent all. So the look ends when every topic has come, or with its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from uuid import uuid4

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.connection import Connection
from edge_agent.link.protocol import (
    MQTT_3_1_1,
    MQTT_5,
    Accepted,
    ConnectOptions,
    Incoming,
    Retained,
    Subscription,
)

_PUMP_SECONDS = 0.05
_QUIET_SECONDS = 0.5
"""So long after the confirmation, or after the last message, nothing more is expected."""


class _WrongProtocolError(BrokerError):
    """The broker does not speak the protocol that was tried."""


class _Reader:
    def __init__(self) -> None:
        self.accepted = False
        self.subscribed = False
        self.heard_at = 0.0
        self.seen: dict[str, bytes] = {}
        self.unsettled: list[int] = []
        self.fault: BrokerError | None = None

    def on_accepted(self, accepted: Accepted) -> None:  # noqa: ARG002
        self.accepted = True

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        self.fault = (_WrongProtocolError if wrong_protocol else BrokerError)(f"refused: {reason}")

    def on_subscribed(self, fault: str | None) -> None:  # noqa: ARG002  # what is refused is not seen
        self.subscribed, self.heard_at = True, monotonic()

    def on_message(self, message: Incoming) -> None:
        self.heard_at = monotonic()
        if message.retain:
            self.seen[message.topic] = message.payload
        if message.qos:
            self.unsettled.append(message.mid)

    def on_confirmed(self, token: object, fault: str | None) -> None:
        """Nothing is published."""

    def on_lost(self, reason: str) -> None:
        self.fault = self.fault or BrokerError(f"the broker closed the connection: {reason}")


def look_at_retained(
    address: BrokerAddress, topics: Sequence[str], timeout_seconds: float
) -> dict[str, bytes]:
    """The retained payloads by topic; a topic that is empty, refused or hidden is left out.

    Raises:
        BrokerError: the broker cannot be reached, refuses us, or does not answer in time.
    """
    try:
        return _look(address, topics, timeout_seconds, MQTT_5)
    except _WrongProtocolError:
        return _look(address, topics, timeout_seconds, MQTT_3_1_1)


def _look(
    address: BrokerAddress, topics: Sequence[str], timeout_seconds: float, protocol: int
) -> dict[str, bytes]:
    reader = _Reader()
    options = ConnectOptions(
        client_id=f"edge-agent-check-{uuid4().hex[:8]}",
        protocol=protocol,
        connect_timeout_seconds=timeout_seconds,
    )
    connection = Connection(address, options, reader)
    ends = monotonic() + timeout_seconds
    try:
        connection.open()
        asked = False
        while not _is_complete(reader, topics):
            if monotonic() > ends:
                if reader.subscribed:
                    break
                raise BrokerError(f"the broker at {address} does not answer within {timeout_seconds:g} s")
            connection.pump(_PUMP_SECONDS)
            if reader.fault is not None:
                raise reader.fault
            if reader.accepted and not asked:
                connection.subscribe(tuple(Subscription(one, retained=Retained.ALWAYS) for one in topics))
                asked = True
            while reader.unsettled:
                connection.acknowledge(reader.unsettled.pop())
        return reader.seen
    finally:
        with suppress(BrokerError):
            connection.disconnect()
        connection.close()


def _is_complete(reader: _Reader, topics: Sequence[str]) -> bool:
    if not reader.subscribed:
        return False
    return reader.seen.keys() >= set(topics) or monotonic() - reader.heard_at > _QUIET_SECONDS
