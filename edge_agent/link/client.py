"""The daemon's link to its broker: a chain of connections that keeps the promise of PROTOCOL §1.

A request stays the broker's until its answer is confirmed: only then it is acknowledged, in the order of
receipt (MQTT 5.0 section 4.6). What is in hand when a link breaks follows one rule. If the next connection
resumes the session, the broker sends the request again and the answer in hand is dropped; if the broker
forgot the session, or the request was QoS 0, nobody sends it again and the answer in hand is sent.

Retained state (``status``, ``health``, ``info``) is kept here, newest only, and published again on each
connection once all subscriptions are confirmed.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from threading import Condition, Event, RLock, Thread

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.backoff import failures_after, pause_seconds
from edge_agent.link.connection import Connection
from edge_agent.link.protocol import (
    MQTT_3_1_1,
    MQTT_5,
    Accepted,
    ConnectOptions,
    Delivery,
    Incoming,
    LinkStatus,
    Receiver,
)
from edge_agent.link.wire import pack_publish
from edge_agent.log import get_logger

_FIRST_PAUSE_SECONDS = 1.0
_HANDSHAKE_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 5.0
_PACKET_OVERHEAD_BYTES = 64
_NEARLY_IDLE = 6  # the worker takes up to four at a time: one group in its hands and the next at hand
_LONGEST_LULL_SECONDS = 0.02
_MOST_HELD = 7


class Outcome(Enum):
    """How a connection ended."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    WRONG_PROTOCOL = "wrong protocol"
    LOST = "lost"


@dataclass(slots=True)
class _Answer:
    topic: str
    payload: bytes
    properties: bytes | None


class Link:
    """Keeps one device connected.

    Args:
        address: the broker.
        options: what each CONNECT says; its protocol and window are chosen here.
        filters: what to subscribe to.
        receiver: who takes requests.
        hold: requests at QoS 1 that may wait for their answer before the link stops reading. Receive Maximum
            bounds them as well, but Mosquitto 2.0.11 sends that many more after every acknowledgement.
        reconnect_max_seconds: longest pause between attempts.
        clock: monotonic seconds.
        fraction: random numbers in [0, 1) for the pauses.
    """

    def __init__(
        self,
        address: BrokerAddress,
        options: ConnectOptions,
        filters: tuple[str, ...],
        receiver: Receiver,
        *,
        hold: int = 64,
        reconnect_max_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        fraction: Callable[[], float] | None = None,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._address = address
        self._options = options
        self._filters = filters
        self._receiver = receiver
        self._hold = hold
        self._in_hand = 0
        self._held = 0
        self._in_lull = False
        self._cap = reconnect_max_seconds
        self._clock = clock
        self._fraction = fraction or random.SystemRandom().random
        self._log = get_logger(broker=str(address))
        self._lock = RLock()
        self._progress = Condition(self._lock)
        self._lull = Condition(self._lock)
        self._leaving = Event()
        self._taking = True
        self._connection: Connection | None = None
        self._number = 0
        self._session_began = 1
        self._accepted: Accepted | None = None
        self._since: float | None = None
        self._ready = False
        self._outcome = Outcome.UNREACHABLE
        self._fault: str | None = "not connected yet"
        self._refusal = ""
        self._owed: deque[Delivery] = deque()
        self._answers: dict[Delivery, _Answer] = {}
        self._state: dict[str, bytes] = {}
        self._thread = Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        """Begins to connect; an absent broker is waited for."""
        self._thread.start()

    @property
    def protocol(self) -> int:
        """The protocol of this connection, ``MQTT_5`` or ``MQTT_3_1_1``."""
        return self._options.protocol

    def status(self) -> LinkStatus:
        """How the link is now."""
        with self._lock:
            up = self._ready and self._since is not None
            return LinkStatus(
                connected_seconds=self._clock() - self._since if up and self._since else None,
                connections=self._number,
                protocol=self._options.protocol if up else None,
                session_resumed=self._accepted.session_resumed if up and self._accepted else None,
                fault=None if up else self._fault,
            )

    def announce(self, topic: str, payload: bytes) -> None:
        """Publishes retained state now and on every later connection, the newest only."""
        with self._lock:
            self._state[topic] = payload
            if self._ready:
                self._publish_state(topic)

    def answer(
        self,
        delivery: Delivery,
        topic: str,
        payload: bytes,
        *,
        user: tuple[tuple[str, str], ...] = (),
        expiry_seconds: int | None = None,
    ) -> None:
        """Sends the answer to a request; the request is acknowledged when the broker has confirmed it."""
        correlation = delivery.message.correlation
        properties = None
        if correlation is not None or user or expiry_seconds is not None:
            properties = pack_publish(correlation=correlation, user=user, expiry_seconds=expiry_seconds)
        with self._lock:
            self._note_done(delivery)
            if self._comes_again(delivery):
                self.dropped["redelivered"] += 1
                return
            answer = _Answer(topic, payload, properties)
            self._answers[delivery] = answer
            if self._ready:
                self._send(delivery, answer)

    def settle(self, delivery: Delivery) -> None:
        """Acknowledges a request that gets no answer, in its turn."""
        with self._lock:
            self._note_done(delivery)
            delivery.settled = True
            self._acknowledge()

    def comes_again(self, delivery: Delivery) -> bool:
        """Whether the broker sends this request again anyway, so that work on it is wasted."""
        return self._comes_again(delivery)

    @property
    def unconfirmed(self) -> int:
        """Answers that the broker has not confirmed."""
        return len(self._answers)

    def stop_taking(self) -> None:
        """Leaves what arrives from now on with the broker."""
        with self._lock:
            self._taking = False

    def drain(self, timeout_seconds: float) -> bool:
        """Waits until the broker has confirmed every answer.

        Returns:
            False when it did not within the time, or the link is down.
        """
        with self._progress:
            return (
                self._progress.wait_for(lambda: not self._ready or not self._answers, timeout_seconds)
                and not self._answers
            )

    def leave(self, last_words: tuple[str, bytes] | None, timeout_seconds: float) -> None:
        """Publishes a last retained message, disconnects cleanly, and ends the thread."""
        deadline = self._clock() + timeout_seconds
        with self._progress:
            self._taking = False
            self._leaving.set()
            connection = self._connection
            if connection is not None and self._ready and last_words is not None:
                self._state = dict([last_words])
                self._publish_state(last_words[0])
                self._progress.wait_for(
                    lambda: not connection.is_open or connection.unconfirmed == 0, timeout_seconds
                )
            if connection is not None:
                connection.disconnect()
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - self._clock()))

    # What a connection tells, in the network thread, with the lock held

    def on_accepted(self, accepted: Accepted) -> None:
        """Learns what the broker grants, and subscribes."""
        assert self._connection is not None
        self._number += 1
        self._accepted = accepted
        if not accepted.session_resumed:
            self._session_began = self._number
        self._connection.subscribe(self._filters)

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        """Notes why the broker did not let us in."""
        self._outcome = Outcome.WRONG_PROTOCOL if wrong_protocol else Outcome.REFUSED
        self._refusal = f"the broker refused the connection: {reason}"

    def on_subscribed(self, fault: str | None) -> None:
        """All is confirmed: tells the state, sends what is in hand, begins to serve."""
        assert self._connection is not None
        assert self._accepted is not None
        if fault is not None:
            self._outcome, self._refusal = Outcome.REFUSED, f"the broker refused a subscription: {fault}"
            self._connection.disconnect()
            return
        self._ready, self._since, self._fault = True, self._clock(), None
        self._outcome = Outcome.LOST
        protocol, resumed = self._options.protocol, self._accepted.session_resumed
        self._log.info("mqtt.connected", protocol=protocol, session_resumed=resumed)
        for topic in self._state:
            self._publish_state(topic)
        for delivery in [delivery for delivery in self._answers if self._comes_again(delivery)]:
            del self._answers[delivery]
            self.dropped["redelivered"] += 1
        for delivery, answer in list(self._answers.items()):
            self._send(delivery, answer)
        self._receiver.on_link_change()

    def on_message(self, message: Incoming) -> None:
        """Hands a request over."""
        if not self._taking:
            if message.qos == 0:
                self.dropped["stopping"] += 1
            return
        delivery = Delivery(message, self._number, self._clock())
        if message.qos:
            self._owed.append(delivery)
            self._in_hand += 1
            if self._in_hand >= self._hold and self._options.protocol == MQTT_5 and self._connection:
                self._connection.is_reading = False
        self._receiver.on_delivery(delivery)

    def on_confirmed(self, token: object, fault: str | None) -> None:
        """An answer is the broker's now, or refused for good: either way the request is done."""
        if isinstance(token, Delivery):
            self._answers.pop(token, None)
            if fault is not None:
                self.dropped["refused_answer"] += 1
                self._log.warning("mqtt.answer_refused", reason=fault)
            token.settled = True
            self._acknowledge()
        self._progress.notify_all()

    def on_lost(self, reason: str) -> None:
        """The link is gone: what was owed to it is owed to nobody."""
        was_ready = self._ready
        self._ready, self._since, self._accepted = False, None, None
        self._owed.clear()
        self._progress.notify_all()
        if was_ready:
            self._fault = reason
            if not self._leaving.is_set():
                self._log.warning("mqtt.lost", reason=reason)
            self._receiver.on_link_change()

    # The network thread

    def _run(self) -> None:
        failures = 0
        while not self._leaving.is_set():
            begun = self._clock()
            try:
                self._outcome = Outcome.UNREACHABLE
                self._connect_and_serve()
            except BrokerError as error:
                self._note_fault(str(error))
            except Exception:
                self._log.exception("mqtt.internal")
            outcome = self._outcome
            retry_now = self._choose_protocol(outcome)
            failures = failures_after(failures, self._clock() - begun if outcome is Outcome.LOST else 0.0)
            if retry_now:
                continue
            pause = pause_seconds(
                failures - 1 if failures else 0,
                base=_FIRST_PAUSE_SECONDS,
                cap=self._cap,
                fraction=self._fraction(),
            )
            self._leaving.wait(pause)

    def _connect_and_serve(self) -> None:
        connection = Connection(self._address, self._options, self, self._lock)
        with self._lock:
            self._connection = connection
        try:
            connection.open()
            deadline = self._clock() + _HANDSHAKE_SECONDS
            wait = min(_LONGEST_WAIT_SECONDS, self._options.keepalive_seconds / 4)
            while connection.pump(wait):
                if not self._ready and (self._clock() > deadline or self._leaving.is_set()):
                    raise BrokerError("the broker did not answer the connection attempt")
                self._let_the_worker_work()
            if not connection.was_answered and self._options.protocol == MQTT_5:
                self._outcome = Outcome.WRONG_PROTOCOL
        finally:
            with self._lock:
                connection.close()
                self._connection = None
        if self._outcome is Outcome.REFUSED:
            raise BrokerError(self._refusal)

    def _let_the_worker_work(self) -> None:
        """Under load, reads again when the worker is about to run out of requests, and then all at once.

        Two threads that take turns at every packet spend a quarter of one core on taking turns.
        """
        if self._in_hand > _NEARLY_IDLE:
            with self._lull:
                self._in_lull = True
                self._lull.wait_for(lambda: self._in_hand <= _NEARLY_IDLE, _LONGEST_LULL_SECONDS)
                self._in_lull = False

    def _note_fault(self, fault: str) -> None:
        with self._lock:
            is_new = fault != self._fault
            self._fault = fault
        if is_new:
            self._log.warning("mqtt.unreachable", reason=fault)
            self._receiver.on_link_change()

    def _choose_protocol(self, outcome: Outcome) -> bool:
        """Sets the protocol of the next attempt; returns whether that is to follow at once.

        MQTT 5 first, on every new attempt; 3.1.1 only right after the broker refused 5.
        """
        was = self._options.protocol
        refused_5 = was == MQTT_5 and outcome is Outcome.WRONG_PROTOCOL
        self._options = replace(self._options, protocol=MQTT_3_1_1 if refused_5 else MQTT_5)
        return refused_5

    # With the lock held

    def _note_done(self, delivery: Delivery) -> None:
        if delivery.is_done or not delivery.message.qos:
            return
        delivery.is_done = True
        self._in_hand -= 1
        if self._in_hand == _NEARLY_IDLE:
            self._lull.notify()
        connection = self._connection
        if connection is not None and not connection.is_reading and self._in_hand <= self._hold // 2:
            connection.is_reading = True
            connection.wake()

    def _comes_again(self, delivery: Delivery) -> bool:
        return (
            delivery.message.qos > 0
            and self._accepted is not None
            and self._session_began <= delivery.connection < self._number
        )

    def _send(self, delivery: Delivery, answer: _Answer) -> None:
        connection, accepted = self._connection, self._accepted
        assert connection is not None
        assert accepted is not None
        size = len(answer.topic) * 4 + len(answer.payload) + len(answer.properties or b"")
        fault: str | None = None
        if size + _PACKET_OVERHEAD_BYTES > accepted.max_packet_bytes:
            fault = "larger than the broker takes"
        else:
            may_wait = self._in_lull and self._in_hand > _NEARLY_IDLE and self._held < _MOST_HELD
            self._held = self._held + 1 if may_wait else 0
            try:
                connection.publish(
                    answer.topic,
                    answer.payload,
                    properties=answer.properties,
                    token=delivery,
                    may_wait=may_wait,
                )
            except BrokerError as error:
                if not connection.is_open:
                    return
                fault = str(error)
        if fault is not None:
            self.on_confirmed(delivery, fault)

    def _publish_state(self, topic: str) -> None:
        if self._connection is not None:
            with suppress(BrokerError):
                self._connection.publish(topic, self._state[topic], retain=True)

    def _acknowledge(self) -> None:
        connection = self._connection
        if connection is None:
            return
        while self._owed and self._owed[0].settled:
            connection.acknowledge(self._owed.popleft().message.mid)
