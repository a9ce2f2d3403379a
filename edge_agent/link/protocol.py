"""The values that a connection and the link above it take and give, and who listens to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

MQTT_5 = 5
MQTT_3_1_1 = 4


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes for us, retained, when the link breaks."""

    topic: str
    payload: bytes
    delay_seconds: int = 0


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """What a CONNECT says; times in seconds.

    Attributes:
        protocol: ``MQTT_5`` or ``MQTT_3_1_1``.
        session_expiry_seconds: 0 asks for a clean session, on 3.1.1 too.
        inflight: messages of ours that may wait for the broker's confirmation; fewer where it says so.
        quick_acknowledge: spare a slow broker's Nagle delay by acknowledging each packet at once; ``check``
            turns it off to find such a broker.
    """

    client_id: str
    protocol: int = MQTT_5
    keepalive_seconds: int = 30
    session_expiry_seconds: int = 0
    receive_maximum: int = 65_535
    max_packet_bytes: int = 1_048_576
    inflight: int = 20
    connect_timeout_seconds: float = 10.0
    quick_acknowledge: bool = True
    will: Will | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the broker's CONNACK grants."""

    session_resumed: bool
    max_packet_bytes: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it arrived; the last five are MQTT 5's and None on 3.1.1."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    mid: int
    response_topic: str | None
    correlation: bytes | None
    expiry_seconds: int | None
    traceparent: str | None
    tracestate: str | None


class Listener(Protocol):
    """Who is told; called with the connection's lock held, so return soon."""

    def on_accepted(self, accepted: Accepted) -> None:
        """The broker let us in."""

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        """The broker did not."""

    def on_subscribed(self, fault: str | None) -> None:
        """The broker confirmed all subscriptions, or refused one."""

    def on_message(self, message: Incoming) -> None:
        """A message arrived; at QoS 1 it stays the broker's until :meth:`Connection.acknowledge`."""

    def on_confirmed(self, token: object, fault: str | None) -> None:
        """The broker took what was published with this token, or refused it for good."""

    def on_lost(self, reason: str) -> None:
        """The link is gone; comes once, and last."""


@dataclass(slots=True, eq=False)
class Delivery:
    """A request in hand.

    Attributes:
        message: as it arrived.
        connection: number of the connection that brought it.
        received: monotonic clock, seconds.
        is_done: it was answered, or is to get no answer.
        settled: it may be acknowledged.
    """

    message: Incoming
    connection: int
    received: float
    is_done: bool = False
    settled: bool = False


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How the link is, for ``health``."""

    connected_seconds: float | None
    connections: int
    protocol: int | None
    session_resumed: bool | None
    fault: str | None


class Receiver(Protocol):
    """Who takes requests; called in the network thread, so hand over and return."""

    def on_delivery(self, delivery: Delivery) -> None:
        """A request arrived; it ends with :meth:`Link.answer` or :meth:`Link.settle`."""

    def on_link_change(self) -> None:
        """The link came up or went down."""
