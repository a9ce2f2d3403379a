"""One MQTT connection, from CONNECT to the loss of the link.

It never reconnects; who holds it makes a new one, so that nothing of an old connection (message ids,
half-read packets, acknowledgements) can leak into the next. The client is driven by an external loop:
:meth:`Connection.pump` in one thread, :meth:`Connection.publish` from any, under one lock. An answer is thus
written to the socket by the thread that made it, without waking another.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from threading import RLock
from typing import Any

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.paho_client import PahoClient, error_in_words
from edge_agent.link.protocol import (
    MQTT_5,
    Accepted,
    ConnectOptions,
    Incoming,
    Listener,
    Subscription,
)
from edge_agent.link.refusal import FAILURE, Kind, Refusal, refusal_of
from edge_agent.link.wire import pack_publish

_LOOK_SECONDS = 1.0
_LONGEST_TOPIC_BYTES = 65_535
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
_ORDINARY = pack_publish()


@dataclass(frozen=True, slots=True)
class _Outgoing:
    topic: bytes
    payload: bytes
    retain: bool
    properties: bytes | None
    token: object


class Connection:
    """One connection. :meth:`open`, then :meth:`pump` until it says that the link is gone.

    Args:
        address: the broker.
        options: what to tell it.
        listener: who is told what happens.
        lock: held while paho's state changes; shared with the owner, whose state goes with it.

    Attributes:
        was_answered: the broker said yes or no; one that hangs up instead may not know MQTT 5.
        is_reading: False leaves what the broker sends in the socket, so that TCP holds the broker back.
        refusal: why the broker did not let us in, or hung up, as far as it said so.
        refused_filters: filter → why the broker refused to subscribe us to it.
        hint: what helps against the loss, where that is known.
    """

    def __init__(
        self, address: BrokerAddress, options: ConnectOptions, listener: Listener, lock: RLock | None = None
    ) -> None:
        self.options = options
        self._address = address
        self._listener = listener
        self._lock = lock or RLock()
        self._tokens: dict[int, object] = {}
        self._waiting: deque[_Outgoing] = deque()
        self._window = options.inflight
        self._asked: dict[int, tuple[Subscription, ...]] = {}
        self._look_seconds = _LOOK_SECONDS
        self._closing = False
        self._is_made = False  # until then only the thread that opens may write: it does so without the lock
        self._next_look = 0.0
        self.refusal: Refusal | None = None
        self.refused_filters: dict[str, str] = {}
        self.hint: str | None = None
        self.was_answered = False
        self.is_reading = True
        self._lost: str | None = None
        self._is_tcp = address.transport == "tcp" and not address.tls
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._client = PahoClient(address, options, self)

    @property
    def is_open(self) -> bool:
        """Whether the link has not been lost yet."""
        return self._lost is None

    @property
    def loss(self) -> str | None:
        """Why the link was lost, in words."""
        return self._lost

    @property
    def unconfirmed(self) -> int:
        """Messages that the broker has not confirmed."""
        return len(self._tokens) + len(self._waiting)

    @property
    def in_flight(self) -> list[object]:
        """Tokens of what was sent and is not confirmed."""
        return list(self._tokens.values())

    def narrow(self) -> None:
        """From now on, sends a message only when the one before it is confirmed."""
        self._window = 1

    def open(self) -> None:
        """Connects the socket and sends CONNECT; the broker's word comes by :meth:`pump`.

        Raises:
            BrokerError: the broker cannot be reached, or TLS fails.
        """
        try:
            self._client.open()
        except BrokerError as error:
            self._lost = str(error)
            raise
        except (OSError, ValueError) as error:
            self._lost, hint = error_in_words(error)
            message = f"cannot reach the broker at {self._address}: {self._lost}"
            raise BrokerError(message, hint=hint) from error
        with self._lock:
            self._is_made = True

    def pump(self, timeout_seconds: float) -> bool:
        """Waits for the socket and handles what comes, once.

        Returns:
            False when the link is gone.
        """
        with self._lock:
            sock = self._client.socket()
            if sock is None or self._lost is not None:
                self._lose("the connection was closed")
                return False
            writers = [sock] if self._client.want_write() else []
            readers = [sock, self._wake_read] if self.is_reading else [self._wake_read]
            pending = self.is_reading and (self._client.has_packet or _has_pending(sock))
        try:
            readable, _, _ = select.select(readers, writers, [], 0 if pending else timeout_seconds)
        except (OSError, ValueError):
            readable = []
        if self._wake_read in readable:
            with suppress(BlockingIOError):
                self._wake_read.recv(4096)
        with self._lock:
            self._client.is_corked = True
            try:
                if pending or sock in readable:
                    self._read(sock)
                self._look_at_the_clock()
            finally:
                self._client.is_corked = False
            if self._client.want_write():
                self._client.loop_write()
            if self._client.socket() is None or (self._closing and not self._client.want_write()):
                self._lose("the connection was closed")
            return self._lost is None

    def subscribe(self, filters: tuple[str | Subscription, ...]) -> None:
        """Asks for these topics at QoS 1; the listener hears the answer.

        Raises:
            SettingsError: one is no filter.
        """
        asked = tuple(Subscription(one) if isinstance(one, str) else one for one in filters)
        with self._lock:
            self._asked[self._client.ask_for(asked)] = asked

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """Takes back what an earlier life asked for."""
        with self._lock:
            self._client.give_up(filters)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        properties: bytes | None = None,
        token: object = None,
        may_wait: bool = False,
    ) -> None:
        """Sends a message at QoS 1, in its turn when the broker wants to confirm others first.

        Args:
            topic: where to.
            payload: JSON in UTF-8, unless there are other ``properties``.
            retain: whether the broker keeps it.
            properties: packed MQTT 5 properties, None for the ordinary ones of JSON.
            token: comes back in ``on_confirmed``.
            may_wait: the next message or :meth:`pump` may take it along, to save a system call.

        Raises:
            BrokerError: the link is gone, or the topic is none.
        """
        name = _name_of(topic)
        packed: bytes | None = None
        if self.options.protocol == MQTT_5:
            packed = _ORDINARY if properties is None else properties
        with self._lock:
            self._refuse_where_gone()
            if len(self._tokens) >= self._window:
                self._waiting.append(_Outgoing(name, payload, retain, packed, token))
                return
            mid = self._client.send_publish(name, payload, retain, packed, may_wait)
            self._tokens[mid] = token
            if not may_wait:
                self._wake_if_blocked()

    def publish_once(self, topic: str, payload: bytes) -> None:
        """Sends JSON at QoS 0: now or never.

        Raises:
            BrokerError: the link is gone, or the topic is none.
        """
        name = _name_of(topic)
        with self._lock:
            self._refuse_where_gone()
            self._client.send_once(name, payload, _ORDINARY if self.options.protocol == MQTT_5 else None)
            self._wake_if_blocked()

    def acknowledge(self, mid: int) -> None:
        """Tells the broker that a message at QoS 1 is done with."""
        with self._lock:
            self._client.ack(mid, 1)
            self._wake_if_blocked()

    def wake(self) -> None:
        """Ends a :meth:`pump` that waits."""
        with suppress(OSError):
            self._wake_write.send(b"\0")

    def drop(self, reason: str) -> None:
        """Hangs up without a word: what is not acknowledged comes again, and the will is published."""
        with self._lock:
            self._client.drop()
            self._lose(reason)

    def disconnect(self) -> None:
        """Says goodbye, so that the broker forgets the will; the link is lost after it.

        While it is being opened there is nothing to take leave of: it is lost as soon as it is open.
        """
        with self._lock:
            self._closing = True
            if self._is_made and self._client.socket() is not None:
                self._client.disconnect()
        self.wake()

    def close(self) -> None:
        """Frees the sockets."""
        with self._lock:
            sock = self._client.socket()
            if sock is not None:
                sock.close()
            self._lose("closed")
            self._wake_read.close()
            self._wake_write.close()

    # What the client tells, in the thread that pumps, with the lock held

    def on_accepted(self, accepted: Accepted) -> None:
        """The broker let us in; it confirms so many messages at a time."""
        self.was_answered = True
        self._window = min(self._window, accepted.receive_maximum)
        if accepted.keepalive_seconds:
            self._look_seconds = min(_LOOK_SECONDS, accepted.keepalive_seconds / 4)
        self._listener.on_accepted(accepted)

    def on_refused(self, refusal: Refusal) -> None:
        """The broker did not let us in."""
        self.was_answered = True
        self.refusal, self.hint = refusal, refusal.hint
        self._listener.on_refused(refusal.words, refusal.kind is Kind.WRONG_PROTOCOL)

    def on_suback(self, mid: int, codes: tuple[int, ...]) -> None:
        """The broker answered a subscription, filter by filter."""
        asked = self._asked.pop(mid, None)
        if asked is None:
            return
        first: str | None = None
        for position, one in enumerate(asked):
            refusal = refusal_of(codes[position] if position < len(codes) else FAILURE)
            if refusal is None:
                self.refused_filters.pop(one.filter, None)
            else:
                self.refused_filters[one.filter] = refusal.words
                first = first or refusal.words
        self._listener.on_subscribed(first)

    def on_message(self, message: Incoming) -> None:
        """A message arrived."""
        self._listener.on_message(message)

    def on_puback(self, mid: int, code: int) -> None:
        """The broker took one of our messages, or refused it; the next may go."""
        if mid not in self._tokens:
            return
        token = self._tokens.pop(mid)
        if self._waiting:
            one = self._waiting.popleft()
            mid = self._client.send_publish(one.topic, one.payload, one.retain, one.properties, False)
            self._tokens[mid] = one.token
        refusal = refusal_of(code)
        self._listener.on_confirmed(token, None if refusal is None else refusal.words)

    def on_goodbye(self, refusal: Refusal | None) -> None:
        """The broker says why it hangs up."""
        self.refusal = refusal

    def on_disconnected(self, reason: str, hint: str | None) -> None:
        """The socket is closed."""
        if self.was_answered and self.refusal is not None:
            reason, hint = f"the broker closed the link: {self.refusal.words}", self.refusal.hint
        self.hint = hint
        self._lose(reason)

    def _refuse_where_gone(self) -> None:
        if self._lost is not None or self._client.socket() is None:
            raise BrokerError("cannot publish: the link is gone")

    def _wake_if_blocked(self) -> None:
        """The socket took less than all: the pump has to wait for it to take more."""
        if not self._client.is_corked and self._client.want_write():
            self.wake()

    def _read(self, sock: Any) -> None:
        self._client.loop_read()
        if not self._client.want_write():
            self._acknowledge_quickly(sock)

    def _look_at_the_clock(self) -> None:
        """Pings a silent broker and notices a dead one; once a second is often enough."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + self._look_seconds
            if not self.is_reading:
                self._client.excuse()
            self._client.loop_misc()

    def _acknowledge_quickly(self, sock: Any) -> None:
        """Re-arms TCP_QUICKACK, which the kernel clears by itself.

        A broker without ``set_tcp_nodelay`` holds a small packet back until the one before it is
        acknowledged, and the kernel delays that by 40 ms, unless something goes out that carries it.
        """
        if self._is_tcp and self.options.quick_acknowledge and _QUICKACK is not None:
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _lose(self, reason: str) -> None:
        with self._lock:
            if self._lost is None:
                self._lost = "closed" if self._closing else reason
                self.wake()
                self._listener.on_lost(self._lost)


def _has_pending(sock: Any) -> bool:
    """Whether TLS or the websocket has read more than was asked for; ``select`` does not know of that."""
    return hasattr(sock, "pending") and sock.pending() > 0


def _name_of(topic: str) -> bytes:
    """A topic as it goes over the wire.

    Raises:
        BrokerError: it is none.
    """
    name = topic.encode("utf-8")
    if not 0 < len(name) <= _LONGEST_TOPIC_BYTES or b"+" in name or b"#" in name:
        raise BrokerError("cannot publish: that is no topic")
    return name
