"""The daemon's link to its broker: a chain of connections that keeps the promise of PROTOCOL §1.

A request stays the broker's until its answer is confirmed: only then it is acknowledged, in the order of
receipt (MQTT 5.0 section 4.6). What is in hand when a link breaks follows one rule. If the next connection
resumes the session, the broker sends the request again and the answer in hand is dropped; if the broker
forgot the session, or the request was QoS 0, nobody sends it again and the answer in hand is sent.

Retained state (``status``, ``health``, ``info``) is kept here, newest only, and published again on each
connection once all subscriptions are answered. What the broker refuses for good does not stop the link: it
is named in :class:`~edge_agent.link.protocol.LinkStatus`. Nothing here grows without bound: a broker that
sends more than we can hold is hung up on, and has to send it again.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Condition, Event, RLock, Thread

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.backoff import PEACE_SECONDS, STABLE_SECONDS, History, Outcome
from edge_agent.link.canary import Canary
from edge_agent.link.connection import Connection
from edge_agent.link.denials import Denials, Purpose
from edge_agent.link.owed import Owed
from edge_agent.link.policy import LinkPolicy
from edge_agent.link.protocol import (
    MQTT_3_1_1,
    MQTT_5,
    Accepted,
    ConnectOptions,
    Delivery,
    Incoming,
    LinkStatus,
    Receiver,
    Subscription,
)
from edge_agent.link.refusal import Kind, Refusal, perhaps_taken_over, taken_over
from edge_agent.link.state import StateBook, StateToken
from edge_agent.link.wire import pack_publish
from edge_agent.log import get_logger

_HANDSHAKE_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 5.0
_PACKET_OVERHEAD_BYTES = 64
_NEARLY_IDLE = 6  # the worker takes up to four at a time: one group in its hands and the next at hand
_LONGEST_LULL_SECONDS = 0.02
_MOST_HELD = 7
_NEWS_SECONDS = 1.0
_TOO_LARGE = "larger than the broker takes"
_NO_WAY_IN = "the broker does not deliver to us what is published to our topics (access list?)"
_FLOODED = "the broker sends more than we can hold"


@dataclass(slots=True)
class _Answer:
    topic: str
    payload: bytes
    properties: bytes | None


@dataclass(frozen=True, slots=True)
class _Report:
    topic: str


_CANARY = object()


class Link:
    """Keeps one device connected.

    Args:
        address: the broker.
        options: what each CONNECT says; its protocol and window are chosen here.
        subscriptions: what to subscribe to; a plain filter brings retained messages once, when it is new.
        receiver: who takes requests.
        hold: requests at QoS 1 that may wait for their answer before the link stops reading. Receive Maximum
            bounds them as well, but Mosquitto 2.0.11 sends that many more after every acknowledgement.
        reconnect_max_seconds: longest pause after a lost link; None for that of the policy.
        tree: topic above all topics of this device; in words, no other topic is named.
        canary: topic by which the link proves that the broker delivers to it; None to believe it.
        policy: pauses and bounds.
        name: of the thread.
        clock: monotonic seconds.
        fraction: random numbers in [0, 1) for the pauses.

    Attributes:
        dropped: what was not handed on, by reason.
    """

    def __init__(  # noqa: PLR0913
        self,
        address: BrokerAddress,
        options: ConnectOptions,
        subscriptions: tuple[str | Subscription, ...],
        receiver: Receiver,
        *,
        hold: int = 64,
        reconnect_max_seconds: float | None = None,
        tree: str = "",
        canary: str | None = None,
        policy: LinkPolicy | None = None,
        name: str = "link",
        clock: Callable[[], float] = time.monotonic,
        fraction: Callable[[], float] | None = None,
    ) -> None:
        policy = policy or LinkPolicy()
        self.dropped: Counter[str] = Counter()
        self._address = address
        self._options = options
        self._subscriptions = tuple(
            Subscription(one) if isinstance(one, str) else one for one in subscriptions
        )
        self._receiver = receiver
        self._policy = policy
        self._pauses = policy.pauses
        if reconnect_max_seconds is not None:
            self._pauses = replace(policy.pauses, cap=reconnect_max_seconds)
        self._hold = hold
        self._in_hand = 0
        self._held = 0
        self._in_lull = False
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
        self._came_up = False
        self._is_flooded = False
        self._history = History()
        self._fault: str | None = "not connected yet"
        self._hint: str | None = None
        self._largest = 0
        self._owed = Owed(max(policy.most_owed, 2 * hold), policy.most_owed_bytes)
        self._answers: dict[Delivery, _Answer] = {}
        self._state = StateBook()
        self._canary = _make_canary(canary, policy)
        self._canary_topic = canary
        self._canary_sent = 0.0
        self._last_arrival = 0.0
        self._denials = Denials(tree)
        self._has_news = False
        self._told: tuple[str, ...] = ()
        self._told_at = -_NEWS_SECONDS
        self._thread = Thread(target=self._run, name=name, daemon=True)

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
                refusals=self._refusals() if up else (),
                hint=None if up else self._hint,
            )

    def announce(self, topic: str, payload: bytes) -> None:
        """Publishes retained state now and on every later connection, the newest only.

        An empty payload clears what the broker retained, and is forgotten once the broker confirmed it.
        """
        with self._lock:
            self._state.note(topic, payload)
            if self._ready:
                self._publish_state(topic)

    def retract(self, topic: str) -> None:
        """Forgets retained state; what the broker has stays as it is."""
        with self._lock:
            self._state.forget(topic)
            self._denials.clear(Purpose.STATE, topic)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publishes a message at QoS 1 if that is possible now; it is counted when it is not.

        Returns:
            Whether it went out; the broker may refuse it still.
        """
        with self._lock:
            connection = self._connection
            if not self._ready or connection is None or connection.unconfirmed >= self._policy.most_answers:
                self.dropped["unsent_report"] += 1
                return False
            token = _Report(topic)
            fault = self._put(topic, payload, None, token, retain=retain)
            if fault is not None:
                self.on_confirmed(token, fault)
            return fault is None

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
            if len(self._answers) >= (
                self._policy.most_owed if delivery.message.qos else self._policy.most_answers
            ):
                self.dropped["unsent_answer"] += 1
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
                self._put_state(self._state.only(*last_words))
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
        if accepted.client_id is not None and not self._options.client_id:
            self._options = replace(self._options, client_id=accepted.client_id)
        self._denials.forget(Purpose.ANSWER, Purpose.REPORT, Purpose.SUBSCRIPTION)
        wanted: list[Subscription] = []
        for one in self._all_subscriptions():
            lack = accepted.lacks(one)
            if lack is None:
                wanted.append(one)
            else:
                self._denials.note(Purpose.SUBSCRIPTION, one.filter, lack)
        if wanted:
            self._connection.subscribe(tuple(wanted))
        else:
            self.on_subscribed(None)

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        """The broker did not let us in; :attr:`Connection.refusal` tells why."""

    def on_subscribed(self, fault: str | None) -> None:  # noqa: ARG002  # the filters' own faults are named
        """All is answered: tells the state, sends what is in hand, begins to serve."""
        assert self._connection is not None
        assert self._accepted is not None
        for topic_filter, reason in self._connection.refused_filters.items():
            self._denials.note(Purpose.SUBSCRIPTION, topic_filter, reason)
        now = self._clock()
        self._ready, self._since, self._fault, self._hint = True, now, None, None
        self._came_up, self._has_news = True, True
        protocol, resumed = self._options.protocol, self._accepted.session_resumed
        self._log.info("mqtt.connected", protocol=protocol, session_resumed=resumed)
        if self._canary is not None:
            self._canary.begin(now)
        for topic in self._state.topics():
            self._publish_state(topic)
        for delivery in [delivery for delivery in self._answers if self._comes_again(delivery)]:
            del self._answers[delivery]
            self.dropped["redelivered"] += 1
        for delivery, answer in list(self._answers.items()):
            self._send(delivery, answer)
        self._receiver.on_link_change()

    def on_message(self, message: Incoming) -> None:
        """Hands a request over."""
        if message.topic == self._canary_topic:
            self._hear_canary(message)
            return
        if not self._taking:
            if message.qos == 0:
                self.dropped["stopping"] += 1
            return
        now = self._clock()
        delivery = Delivery(message, self._number, now, link=self)
        self._last_arrival = now
        if message.qos and not self._owed.add(delivery):
            self._is_flooded = True
            return
        if message.topic.count("/") >= self._policy.max_topic_levels:
            self.dropped["topic_levels"] += 1
            self._pass_over(delivery)
            return
        if message.qos:
            self._in_hand += 1
            if self._in_hand >= self._hold and self._options.protocol == MQTT_5 and self._connection:
                self._connection.is_reading = False
        self._receiver.on_delivery(delivery)

    def on_confirmed(self, token: object, fault: str | None) -> None:
        """The broker took what was published, or refused it for good: either way it is done with."""
        if isinstance(token, Delivery):
            answer = self._answers.pop(token, None)
            if fault is not None:
                self.dropped["refused_answer"] += 1
            if answer is not None and (fault is not None or self._denials):
                self._judge(Purpose.ANSWER, answer.topic, fault)
            token.settled = True
            self._acknowledge()
        elif isinstance(token, StateToken):
            self._judge(Purpose.STATE, token.topic, fault)
            if self._state.ended(token) and fault is None:
                self._publish_state(token.topic)
        elif isinstance(token, _Report):
            self.dropped["refused_report"] += fault is not None
            self._judge(Purpose.REPORT, token.topic, fault)
        elif token is _CANARY and fault is not None and self._canary_topic is not None:
            self._judge(Purpose.CANARY, self._canary_topic, fault)
        self._progress.notify_all()

    def on_lost(self, reason: str) -> None:
        """The link is gone: what was owed to it is owed to nobody."""
        was_ready, connection = self._ready, self._connection
        self._ready, self._since, self._accepted = False, None, None
        self._is_flooded = False
        self._owed.clear()
        self._state.lost()
        self._progress.notify_all()
        if not was_ready or connection is None:
            return
        refusal = connection.refusal
        self._fault, self._hint = reason, connection.hint
        if refusal is not None and refusal.kind is Kind.TAKEN_OVER:
            self._fault = taken_over(self._options.client_id)
        if refusal is not None and refusal.kind is Kind.TOO_LARGE and self._answers:
            # It does not say what was too large; that is sent once more, and then no more.
            self._largest = max(len(answer.payload) for answer in self._answers.values()) - 1
        if not self._leaving.is_set():
            self._log.warning("mqtt.lost", reason=self._fault)
        self._receiver.on_link_change()

    # The network thread

    def _run(self) -> None:
        while not self._leaving.is_set():
            begun = self._clock()
            try:
                outcome = self._connect_and_serve()
            except Exception:
                self._log.exception("mqtt.internal")
                outcome = Outcome.UNREACHABLE
            if self._choose_protocol(outcome):
                continue
            history = self._history.after(outcome, self._clock() - begun)
            self._history = history
            if history.is_suspicious:
                self._note_fault(perhaps_taken_over(self._options.client_id, history.quick_losses), None)
            self._leaving.wait(history.pause_seconds(outcome, self._pauses, self._fraction()))

    def _connect_and_serve(self) -> Outcome:
        connection = Connection(self._address, self._options, self, self._lock)
        with self._lock:
            self._connection, self._came_up = connection, False
        try:
            connection.open()
            self._serve(connection)
            outcome = self._outcome(connection)
            if outcome is not Outcome.WRONG_PROTOCOL and not self._came_up:
                self._note_fault(_why_not(connection), connection.hint)
        except BrokerError as error:
            self._note_fault(str(error), error.hint)
            outcome = Outcome.LOST if self._came_up else Outcome.UNREACHABLE
        finally:
            with self._lock:
                connection.close()
                self._connection = None
        return outcome

    def _serve(self, connection: Connection) -> None:
        deadline = self._clock() + _HANDSHAKE_SECONDS
        while connection.pump(self._patience()):
            if self._ready:
                self._look_around(connection)
                self._let_the_worker_work()
            elif self._clock() > deadline or self._leaving.is_set():
                raise BrokerError("the broker did not answer the connection attempt")

    def _outcome(self, connection: Connection) -> Outcome:
        """How the connection that has just ended is to be counted."""
        refusal, protocol = connection.refusal, self._options.protocol
        if refusal is None:
            if self._came_up:
                return Outcome.LOST
            is_mute = not connection.was_answered and connection.hint is None
            return Outcome.WRONG_PROTOCOL if is_mute and protocol == MQTT_5 else Outcome.UNREACHABLE
        if refusal.kind is Kind.WRONG_PROTOCOL and protocol == MQTT_5 and not self._came_up:
            return Outcome.WRONG_PROTOCOL
        if refusal.kind is Kind.TAKEN_OVER:
            return Outcome.TAKEN_OVER
        if refusal.kind.is_lasting and not (self._came_up and refusal.kind is Kind.TOO_LARGE):
            return Outcome.DENIED
        return Outcome.LOST if self._came_up else Outcome.REFUSED

    def _patience(self) -> float:
        """Seconds that the socket may be silent before something else is to be done."""
        accepted, keepalive = self._accepted, self._options.keepalive_seconds
        if accepted is not None and accepted.keepalive_seconds:
            keepalive = accepted.keepalive_seconds
        wait = min(_LONGEST_WAIT_SECONDS, keepalive / 4)
        if self._canary is not None and self._ready:
            wait = min(wait, self._canary.wait_seconds(self._clock()))
        return wait

    def _look_around(self, connection: Connection) -> None:
        """Sees to what no packet brings about: a flood, the canary, and news of refusals."""
        if self._is_flooded:
            self.dropped["flooded"] += 1
            connection.drop(_FLOODED)
            return
        if self._canary is not None:
            with self._lock:
                self._tend_canary(self._canary, connection)
        if self._has_news:
            self._tell_news()

    def _let_the_worker_work(self) -> None:
        """Under load, reads again when the worker is about to run out of requests, and then all at once.

        Two threads that take turns at every packet spend a quarter of one core on taking turns.
        """
        if self._in_hand > _NEARLY_IDLE:
            with self._lull:
                self._in_lull = True
                self._lull.wait_for(lambda: self._in_hand <= _NEARLY_IDLE, _LONGEST_LULL_SECONDS)
                self._in_lull = False

    def _note_fault(self, fault: str, hint: str | None) -> None:
        with self._lock:
            is_new = fault != self._fault
            self._fault, self._hint = fault, hint
        if is_new and not self._leaving.is_set():
            self._log.warning("mqtt.unreachable", reason=fault, hint=hint)
            self._receiver.on_link_change()

    def _tell_news(self) -> None:
        """Wakes the owner when the refusals changed, once a second at most."""
        now = self._clock()
        if now - self._told_at < _NEWS_SECONDS:
            return
        with self._lock:
            self._has_news, lines = False, self._refusals()
        if lines != self._told:
            for line in set(lines).difference(self._told):
                self._log.warning("mqtt.refused", what=line)
            self._told, self._told_at = lines, now
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
        may_wait = self._in_lull and self._in_hand > _NEARLY_IDLE and self._held < _MOST_HELD
        self._held = self._held + 1 if may_wait else 0
        fault = self._put(answer.topic, answer.payload, answer.properties, delivery, may_wait=may_wait)
        if fault is not None:
            self.on_confirmed(delivery, fault)

    def _publish_state(self, topic: str) -> None:
        token = self._state.next(topic)
        if token is not None:
            self._put_state(token)

    def _put_state(self, token: StateToken) -> None:
        fault = self._put(token.topic, token.payload, None, token, retain=True)
        if fault is not None:
            self.on_confirmed(token, fault)

    def _put(
        self,
        topic: str,
        payload: bytes,
        properties: bytes | None,
        token: object,
        *,
        retain: bool = False,
        may_wait: bool = False,
    ) -> str | None:
        """Publishes; why the broker cannot take it, in words, or None, also where the link is gone."""
        connection, accepted = self._connection, self._accepted
        if connection is None or accepted is None:
            return None
        size = len(topic) * 4 + len(payload) + len(properties or b"")
        if size + _PACKET_OVERHEAD_BYTES > accepted.max_packet_bytes:
            return _TOO_LARGE
        if self._largest and len(payload) > self._largest:
            return _TOO_LARGE
        try:
            connection.publish(
                topic,
                payload,
                retain=retain and accepted.has_retain,
                properties=properties,
                token=token,
                may_wait=may_wait,
            )
        except BrokerError as error:
            return str(error) if connection.is_open else None
        return None

    def _acknowledge(self) -> None:
        connection = self._connection
        if connection is not None:
            for mid in self._owed.settled():
                connection.acknowledge(mid)

    def _pass_over(self, delivery: Delivery) -> None:
        """Acknowledges in its turn what nobody is to see."""
        delivery.is_done = delivery.settled = True
        self._acknowledge()

    def _judge(self, purpose: Purpose, topic: str, fault: str | None) -> None:
        """Notes that the broker refuses something, or takes it again."""
        accepted = self._accepted
        if fault is None and purpose is Purpose.STATE and accepted is not None and not accepted.has_retain:
            fault = "Retain not supported"
        if fault is None:
            self._denials.clear(purpose, topic)
        else:
            self._denials.note(purpose, topic, fault)
        self._has_news = True

    def _refusals(self) -> tuple[str, ...]:
        """What is wrong although the link is up."""
        lines = self._denials.lines()
        if self._canary is not None and self._canary.is_broken:
            lines = (_NO_WAY_IN, *lines)
        age = self._clock() - (self._since or 0.0)
        history, name = self._history, self._options.client_id
        if history.evictions and age < PEACE_SECONDS:
            lines = (taken_over(name), *lines)
        elif history.is_suspicious and age < STABLE_SECONDS:
            lines = (perhaps_taken_over(name, history.quick_losses), *lines)
        return lines

    def _all_subscriptions(self) -> tuple[Subscription, ...]:
        if self._canary is None:
            return self._subscriptions
        return (*self._subscriptions, Subscription(self._canary.topic))

    # The canary

    def _tend_canary(self, canary: Canary, connection: Connection) -> None:
        now = self._clock()
        was_broken = canary.is_broken
        is_proven = self._last_arrival > self._canary_sent
        canary.look(now, is_proven=is_proven, is_busy=len(self._owed) > 0)
        nonce = canary.next_round(now) if connection.is_open else None
        if nonce is not None:
            self._canary_sent = now
            fault = self._put(canary.topic, nonce, None, _CANARY)
            if fault is not None:
                self.on_confirmed(_CANARY, fault)
        self._has_news = self._has_news or canary.is_broken != was_broken

    def _hear_canary(self, message: Incoming) -> None:
        canary = self._canary
        assert canary is not None
        delivery = Delivery(message, self._number, self._clock(), link=self)
        if message.qos and not self._owed.add(delivery):
            self._is_flooded = True
            return
        self._pass_over(delivery)
        if not canary.heard(message.payload, delivery.received):
            self.dropped["foreign_canary"] += 1
            return
        self._denials.clear(Purpose.CANARY, canary.topic)
        self._has_news = True


def _make_canary(topic: str | None, policy: LinkPolicy) -> Canary | None:
    if topic is None:
        return None
    return Canary(
        topic,
        period=policy.canary_seconds,
        broken_period=policy.canary_broken_seconds,
        patience=policy.canary_patience_seconds,
    )


def _why_not(connection: Connection) -> str:
    """Why a connection did not come up, in words."""
    refusal: Refusal | None = connection.refusal
    if refusal is not None:
        return f"the broker refused the connection: {refusal.words}"
    return f"the broker hung up without an answer: {connection.loss}"
