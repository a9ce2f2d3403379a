"""The daemon's link to its broker: a chain of connections that keeps the promise of PROTOCOL §1.

A request stays the broker's until its answer is confirmed: only then it is acknowledged, in the order of
receipt (MQTT 5.0 section 4.6). What is in hand when a link breaks follows one rule. If the next connection
resumes the session, the broker sends the request again and the answer in hand is dropped; if the broker
forgot the session, or the request was QoS 0, nobody sends it again and the answer in hand is sent.

Retained state (``status``, ``health``, ``info``) is kept, newest only, and published again on each connection
once all subscriptions are answered. What the broker refuses for good does not stop the link: it is named in
:class:`~edge_agent.link.protocol.LinkStatus`. Nothing grows without bound: a broker that sends more than we
can hold is hung up on, and has to send it again.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from threading import Condition, Event, RLock, Thread

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.backoff import Outcome
from edge_agent.link.canary import Canary
from edge_agent.link.connection import Connection
from edge_agent.link.denials import Purpose
from edge_agent.link.ending import FLOODED, Dialect, Ending, next_protocol
from edge_agent.link.intake import Intake
from edge_agent.link.outbox import Answer, Outbox
from edge_agent.link.policy import LinkPolicy
from edge_agent.link.protocol import (
    MQTT_3_1_1,
    Accepted,
    ConnectOptions,
    Delivery,
    Incoming,
    LinkStatus,
    Receiver,
    Subscription,
)
from edge_agent.link.refusal import Kind, perhaps_taken_over, taken_over
from edge_agent.link.troubles import Troubles
from edge_agent.link.wire import pack_publish
from edge_agent.log import get_logger

_HANDSHAKE_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 5.0
_USUAL_PACKET_BYTES = 65_536


class Link:
    """Keeps one device connected.

    Args:
        address: the broker.
        options: what each CONNECT says; its protocol is chosen here.
        subscriptions: what to subscribe to; a plain filter brings retained messages once, when it is new.
        receiver: who takes requests.
        hold: requests at QoS 1 that may wait for their answer before the link stops reading. Receive Maximum
            bounds them as well, but Mosquitto 2.0.11 sends that many more after every acknowledgement.
        reconnect_max_seconds: longest pause after a lost link; None for that of the policy.
        tree: topic above all topics of this device; in words, no other topic is named.
        canary: topic by which the link proves that the broker delivers to it; None to believe it.
        given_up: filters that an earlier life subscribed to, to be taken back where the session is resumed.
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
        given_up: tuple[str, ...] = (),
        policy: LinkPolicy | None = None,
        name: str = "link",
        clock: Callable[[], float] = time.monotonic,
        fraction: Callable[[], float] | None = None,
    ) -> None:
        policy = policy or LinkPolicy()
        policy = replace(policy, most_owed=max(policy.most_owed, 2 * hold))
        wanted = (*subscriptions, canary) if canary is not None else subscriptions
        self.dropped: Counter[str] = Counter()
        self._address = address
        self._options = options
        self._subscriptions = tuple(Subscription(one) if isinstance(one, str) else one for one in wanted)
        self._given_up = given_up
        self._receiver = receiver
        self._pauses = policy.pauses
        if reconnect_max_seconds is not None:
            self._pauses = replace(policy.pauses, cap=reconnect_max_seconds)
        self._clock = clock
        self._fraction = fraction or random.SystemRandom().random
        self._log = get_logger(broker=str(address))
        self._lock = RLock()
        self._progress = Condition(self._lock)
        self._leaving = Event()
        self._canary = _make_canary(canary, policy)
        self._canary_sent = 0.0
        self._troubles = Troubles(tree, self._canary)
        self._intake = Intake(
            receiver,
            self,
            self._lock,
            hold=hold,
            policy=policy,
            dropped=self.dropped,
            troubles=self._troubles,
            canary=self._canary,
            clock=clock,
        )
        self._outbox = Outbox(
            policy, self.dropped, self._troubles, self._intake.settle, lambda: self._intake.is_loaded
        )
        self._connection: Connection | None = None
        self._number = 0
        self._session_began = 1
        self._accepted: Accepted | None = None
        self._since: float | None = None
        self._came_up = False
        self._dialect = Dialect()
        self._fault: str | None = "not connected yet"
        self._hint: str | None = None
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begins to connect; an absent broker is waited for."""
        self._thread.start()

    @property
    def protocol(self) -> int:
        """The protocol of this connection, ``MQTT_5`` or ``MQTT_3_1_1``."""
        return self._options.protocol

    @property
    def max_packet_bytes(self) -> int:
        """The largest packet that the broker takes; while there is none, what any takes."""
        accepted = self._accepted
        return _USUAL_PACKET_BYTES if accepted is None else accepted.max_packet_bytes

    def status(self) -> LinkStatus:
        """How the link is now."""
        with self._lock:
            since, accepted = self._since, self._accepted
            if since is None or accepted is None:
                return LinkStatus(None, self._number, None, None, self._fault, (), self._hint)
            return LinkStatus(
                connected_seconds=self._clock() - since,
                connections=self._number,
                protocol=self._options.protocol,
                session_resumed=accepted.session_resumed,
                fault=None,
                refusals=self._refusals(),
            )

    def announce(self, topic: str, payload: bytes) -> None:
        """Publishes retained state now and on every later connection, the newest only.

        An empty payload clears what the broker retained, and is forgotten once the broker confirmed it.
        """
        with self._lock:
            self._outbox.announce(topic, payload)

    def retract(self, topic: str) -> None:
        """Forgets retained state; what the broker has stays as it is."""
        with self._lock:
            self._outbox.retract(topic)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publishes a message at QoS 1 if that is possible now; it is counted when it is not.

        Returns:
            Whether it went out; the broker may refuse it still.
        """
        with self._lock:
            return self._outbox.publish(topic, payload, retain=retain, purpose=Purpose.REPORT)

    def publish_once(self, topic: str, payload: bytes) -> bool:
        """Publishes at QoS 0 what is worthless later: now, or never.

        Returns:
            Whether it went out; nobody says whether it arrived.
        """
        with self._lock:
            return self._outbox.publish_once(topic, payload)

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
            self._intake.note_done(delivery)
            if self.comes_again(delivery):
                self.dropped["redelivered"] += 1
            else:
                self._outbox.answer(delivery, Answer(topic, payload, properties))

    def settle(self, delivery: Delivery) -> None:
        """Acknowledges a request that gets no answer, in its turn."""
        with self._lock:
            self._intake.note_done(delivery)
            self._intake.settle(delivery)

    def comes_again(self, delivery: Delivery) -> bool:
        """Whether the broker sends this request again anyway, so that work on it is wasted."""
        return (
            delivery.message.qos > 0
            and self._accepted is not None
            and self._session_began <= delivery.connection < self._number
        )

    @property
    def unconfirmed(self) -> int:
        """Answers that the broker has not confirmed."""
        return self._outbox.unconfirmed

    def stop_taking(self) -> None:
        """Leaves what arrives from now on with the broker."""
        with self._lock:
            self._intake.is_taking = False

    def drain(self, timeout_seconds: float) -> bool:
        """Waits until the broker has confirmed every answer.

        Returns:
            False when it did not within the time, or the link is down.
        """
        with self._progress:
            return (
                self._progress.wait_for(lambda: self._since is None or not self.unconfirmed, timeout_seconds)
                and not self.unconfirmed
            )

    def leave(self, last_words: tuple[str, bytes] | None, timeout_seconds: float) -> None:
        """Publishes a last retained message, disconnects cleanly, and ends the thread."""
        deadline = self._clock() + timeout_seconds
        with self._progress:
            self._intake.is_taking = False
            self._leaving.set()
            connection = self._connection
            if connection is not None and self._since is not None and last_words is not None:
                self._outbox.say_last(*last_words)
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
        self._intake.begin(self._connection, self._number)
        self._troubles.begin()
        if accepted.session_resumed and self._given_up:
            self._connection.unsubscribe(self._given_up)
        lacking = {one: accepted.lacks(one) for one in self._subscriptions}
        for one, lack in lacking.items():
            if lack is not None:
                self._troubles.judge(Purpose.SUBSCRIPTION, one.filter, lack)
        wanted = tuple(one for one, lack in lacking.items() if lack is None)
        if wanted:
            self._connection.subscribe(wanted)
        else:
            self.on_subscribed(None)

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        """The broker did not let us in; the connection tells why when it has ended."""

    def on_subscribed(self, fault: str | None) -> None:  # noqa: ARG002  # each filter's own is told below
        """All is answered: tells the state, sends what is in hand, begins to serve."""
        connection, accepted = self._connection, self._accepted
        assert connection is not None
        assert accepted is not None
        for topic_filter, reason in connection.refused_filters.items():
            self._troubles.judge(Purpose.SUBSCRIPTION, topic_filter, reason)
        self._since, self._came_up, self._fault, self._hint = self._clock(), True, None, None
        protocol, resumed = self._options.protocol, accepted.session_resumed
        self._log.info("mqtt.connected", protocol=protocol, session_resumed=resumed)
        if self._canary is not None:
            self._canary.begin(self._since)
        self._outbox.begin(connection, accepted, self.comes_again)
        self._receiver.on_link_change()

    def on_message(self, message: Incoming) -> None:
        """Hands a message over."""
        self._intake.take(message)

    def on_confirmed(self, token: object, fault: str | None) -> None:
        """A message is the broker's now, or refused for good."""
        self._outbox.confirmed(token, fault)
        self._progress.notify_all()

    def on_lost(self, reason: str) -> None:
        """The link is gone: what was owed to it is owed to nobody."""
        was_up, connection = self._since is not None, self._connection
        self._since, self._accepted = None, None
        self._intake.end()
        if connection is not None:
            self._outbox.end(connection)
        self._progress.notify_all()
        if not was_up or connection is None:
            return
        refusal = connection.refusal
        self._fault, self._hint = reason, connection.hint
        if refusal is not None and refusal.kind is Kind.TAKEN_OVER:
            self._fault = taken_over(self._options.client_id)
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
            history = self._troubles.history.after(outcome, self._clock() - begun)
            self._troubles.history = history
            if history.is_suspicious:
                self._note_fault(perhaps_taken_over(self._options.client_id), None)
            self._leaving.wait(history.pause_seconds(outcome, self._pauses, self._fraction()))

    def _connect_and_serve(self) -> Outcome:
        connection = Connection(self._address, self._options, self, self._lock)
        with self._lock:
            self._connection, self._came_up = connection, False
        try:
            connection.open()
            self._serve(connection)
            ending = self._ending(connection)
            outcome = self._dialect.judge(ending)
            if outcome is not Outcome.WRONG_PROTOCOL and not self._came_up:
                self._note_fault(*ending.words)
        except BrokerError as error:
            self._note_fault(str(error), error.hint)
            outcome = Outcome.UNREACHABLE
        finally:
            with self._lock:
                connection.close()
                self._connection = None
        return outcome

    def _serve(self, connection: Connection) -> None:
        deadline = self._clock() + _HANDSHAKE_SECONDS
        while connection.pump(self._patience()):
            if self._since is not None:
                self._look_around(connection)
                self._intake.let_the_worker_work()
            elif self._leaving.is_set():
                return
            elif self._clock() > deadline:
                raise BrokerError("the broker did not answer the connection attempt")

    def _patience(self) -> float:
        """Seconds that the socket may be silent before something else is to be done."""
        accepted, keepalive = self._accepted, self._options.keepalive_seconds
        if accepted is not None and accepted.keepalive_seconds:
            keepalive = accepted.keepalive_seconds
        wait = min(_LONGEST_WAIT_SECONDS, keepalive / 4)
        if self._canary is not None and self._since is not None:
            wait = min(wait, self._canary.wait_seconds(self._clock()))
        return wait

    def _look_around(self, connection: Connection) -> None:
        """Sees to what no packet brings about: a flood, the canary, and news of refusals."""
        if self._intake.is_flooded:
            self.dropped["flooded"] += 1
            connection.drop(FLOODED)
            return
        if self._canary is not None:
            with self._lock:
                self._tend_canary(self._canary)
        if self._troubles.has_news:
            self._tell_news()

    def _tend_canary(self, canary: Canary) -> None:
        now, was_broken = self._clock(), canary.is_broken
        is_proven = self._intake.last_arrival > self._canary_sent
        canary.look(now, is_proven=is_proven, is_busy=self._intake.owes)
        nonce = canary.next_round(now) if self._since is not None else None
        if nonce is not None:
            self._canary_sent = now
            self._outbox.publish(canary.topic, nonce, retain=False, purpose=Purpose.CANARY)
        if canary.is_broken != was_broken:
            self._troubles.has_news = True

    def _tell_news(self) -> None:
        with self._lock:
            news = self._troubles.news(self._refusals(), self._clock())
        if news is not None:
            for line in news:
                self._log.warning("mqtt.refused", what=line)
            self._receiver.on_link_change()

    def _refusals(self) -> tuple[str, ...]:
        age = 0.0 if self._since is None else self._clock() - self._since
        return self._troubles.lines(self._options.client_id, age)

    def _note_fault(self, fault: str, hint: str | None) -> None:
        with self._lock:
            is_new = fault != self._fault
            self._fault, self._hint = fault, hint
        if is_new and not self._leaving.is_set():
            self._log.warning("mqtt.unreachable", reason=fault, hint=hint)
            self._receiver.on_link_change()

    def _ending(self, connection: Connection) -> Ending:
        return Ending(
            protocol=connection.options.protocol,
            came_up=self._came_up,
            was_answered=connection.was_answered,
            refusal=connection.refusal,
            loss=connection.loss,
            hint=connection.hint,
        )

    def _choose_protocol(self, outcome: Outcome) -> bool:
        """Sets the protocol of the next attempt; returns whether that is to follow at once."""
        chosen = next_protocol(self._options.protocol, outcome)
        self._options = replace(self._options, protocol=chosen)
        return chosen == MQTT_3_1_1


def _make_canary(topic: str | None, policy: LinkPolicy) -> Canary | None:
    if topic is None:
        return None
    return Canary(
        topic,
        period=policy.canary_seconds,
        broken_period=policy.canary_broken_seconds,
        patience=policy.canary_patience_seconds,
    )
