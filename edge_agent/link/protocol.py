"""The values that a connection and the link above it take and give, and who listens to them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from edge_agent.errors import SettingsError
from edge_agent.link.filters import filter_fault, share_fault

MQTT_5 = 5
MQTT_3_1_1 = 4
SHARE_PREFIX = "$share/"


class Retained(Enum):
    """When the broker sends what it has retained (MQTT 5.0 section 3.8.3.1, Retain Handling).

    On MQTT 3.1.1 it does so on every subscription.
    """

    ALWAYS = 0
    IF_NEW = 1
    NEVER = 2


@dataclass(frozen=True, slots=True)
class Subscription:
    """What to subscribe to.

    Args:
        filter: a topic filter, of a shared subscription (``$share/pool/…``) too.
        no_local: spare us what we published ourselves; MQTT 5 only.
        retained: when retained messages come.

    Raises:
        SettingsError: it is no filter, or one that is shared and not local (MQTT 5.0, 3.8.3-4).
    """

    filter: str
    no_local: bool = False
    retained: Retained = Retained.IF_NEW

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault is not None:
            raise SettingsError(f"cannot subscribe to {self.filter!r}: it {fault}")

    @property
    def is_shared(self) -> bool:
        """Whether several devices split what it brings."""
        return self.filter.startswith(SHARE_PREFIX)

    @property
    def has_wildcard(self) -> bool:
        """Whether it matches more than one topic."""
        return "+" in self.filter or "#" in self.filter


def _fault(subscription: Subscription) -> str | None:
    if not subscription.is_shared:
        return filter_fault(subscription.filter)
    if subscription.no_local:
        return "is shared, and cannot leave out our own messages"
    _, name, rest = [*subscription.filter.split("/", 2), ""][:3]
    return share_fault(name) or filter_fault(rest)


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
    """What the broker's CONNACK grants (MQTT 5.0 section 3.2.2.3).

    Attributes:
        session_resumed: the broker knew us and kept what came.
        max_packet_bytes: the largest packet that it takes.
        receive_maximum: messages of ours that may wait for its confirmation.
        keepalive_seconds: Server Keep Alive, which holds in place of ours; None where it takes ours.
        client_id: the id that it gave us, where we had none.
        has_qos_1: it takes messages at QoS 1.
        has_retain: it retains messages.
        has_wildcards: it knows wildcards in filters.
        has_shares: it knows shared subscriptions.
    """

    session_resumed: bool
    max_packet_bytes: int
    receive_maximum: int = 65_535
    keepalive_seconds: int | None = None
    client_id: str | None = None
    has_qos_1: bool = True
    has_retain: bool = True
    has_wildcards: bool = True
    has_shares: bool = True

    def lacks(self, subscription: Subscription) -> str | None:
        """What the broker lacks for this subscription, in words; None where it has all."""
        if subscription.is_shared and not self.has_shares:
            return "Shared subscriptions not supported"
        if subscription.has_wildcard and not self.has_wildcards:
            return "Wildcard subscriptions not supported"
        return None


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it arrived; the five from ``response_topic`` on are MQTT 5's and None on 3.1.1.

    ``dup``: the broker may have sent it before (section 3.3.1.1).
    """

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
    dup: bool = False


class Listener(Protocol):
    """Who is told; called with the connection's lock held, so return soon."""

    def on_accepted(self, accepted: Accepted) -> None:
        """The broker let us in."""

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        """The broker did not."""

    def on_subscribed(self, fault: str | None) -> None:
        """The broker confirmed all subscriptions, or refused one or more: ``fault`` is of the first."""

    def on_message(self, message: Incoming) -> None:
        """A message arrived; at QoS 1 it stays the broker's until :meth:`Connection.acknowledge`."""

    def on_confirmed(self, token: object, fault: str | None) -> None:
        """The broker took what was published with this token, or refused it for good."""

    def on_lost(self, reason: str) -> None:
        """The link is gone; comes once, and last."""


class Answerer(Protocol):
    """A link as who answers its requests sees it."""

    def answer(
        self,
        delivery: Delivery,
        topic: str,
        payload: bytes,
        *,
        user: tuple[tuple[str, str], ...] = (),
        expiry_seconds: int | None = None,
    ) -> None:
        """Sends the answer to a request."""

    def settle(self, delivery: Delivery) -> None:
        """Acknowledges a request that gets no answer."""

    def comes_again(self, delivery: Delivery) -> bool:
        """Whether the broker sends this request again anyway."""


@dataclass(slots=True, eq=False)
class Delivery:
    """A request in hand.

    Attributes:
        message: as it arrived.
        connection: number of the connection that brought it.
        received: monotonic clock, seconds.
        is_done: it was answered, or is to get no answer.
        settled: it may be acknowledged.
        link: the link that brought it and must answer it, where there are several.
    """

    message: Incoming
    connection: int
    received: float
    is_done: bool = False
    settled: bool = False
    link: Answerer | None = None


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How the link is, for ``health``.

    Attributes:
        connected_seconds: since it serves; None while it does not.
        connections: since the start.
        protocol: ``MQTT_5`` or ``MQTT_3_1_1`` while it serves.
        session_resumed: the broker kept what came while we were away.
        fault: why it does not serve, in words.
        refusals: one line for each kind of thing that the broker refuses while it serves; at most eleven.
        hint: what helps against the fault, where that is known.
    """

    connected_seconds: float | None
    connections: int
    protocol: int | None
    session_resumed: bool | None
    fault: str | None
    refusals: tuple[str, ...] = ()
    hint: str | None = None


class Receiver(Protocol):
    """Who takes requests; called in the network thread, so hand over and return."""

    def on_delivery(self, delivery: Delivery) -> None:
        """A request arrived; it ends with :meth:`Link.answer` or :meth:`Link.settle`."""

    def on_link_change(self) -> None:
        """The link came up or went down."""
