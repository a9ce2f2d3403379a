"""What goes to the broker: answers, retained state, reports and the canary, until they are confirmed.

Called with the link's lock held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.errors import BrokerError
from edge_agent.link.connection import Connection
from edge_agent.link.denials import Purpose
from edge_agent.link.policy import LinkPolicy
from edge_agent.link.protocol import Accepted, Delivery
from edge_agent.link.refusal import Kind, Refusal
from edge_agent.link.state import StateBook, StateToken
from edge_agent.link.troubles import Troubles

_PACKET_OVERHEAD_BYTES = 64
_MOST_HELD = 7
_TOO_LARGE = "larger than the broker takes"
_NOT_RETAINED = "Retain not supported"
_FOR_A_TOPIC = (Kind.NOT_ALLOWED, Kind.BAD_TOPIC)
_MOST_FORBIDDEN = 32


@dataclass(slots=True)
class Answer:
    """An answer that the broker has not confirmed."""

    topic: str
    payload: bytes
    properties: bytes | None


@dataclass(frozen=True, slots=True)
class _Once:
    """A message that is published once or not at all."""

    purpose: Purpose
    topic: str


class Outbox:
    """Publishes while there is a connection, and remembers what the next one is to carry.

    Args:
        policy: bounds.
        dropped: counts what does not go out.
        troubles: hears what the broker refuses.
        on_answered: told of each request whose answer the broker took, or refused for good.
        is_loaded: whether a packet may wait for the next, to save a system call.
    """

    def __init__(
        self,
        policy: LinkPolicy,
        dropped: Counter[str],
        troubles: Troubles,
        on_answered: Callable[[Delivery], None],
        is_loaded: Callable[[], bool],
    ) -> None:
        self._policy = policy
        self._dropped = dropped
        self._troubles = troubles
        self._on_answered = on_answered
        self._is_loaded = is_loaded
        self._connection: Connection | None = None
        self._accepted: Accepted | None = None
        self._largest: int | None = None
        self._forbidden: dict[str, str] = {}
        self._one_by_one = False
        self._held = 0
        self._answers: dict[Delivery, Answer] = {}
        self._state = StateBook()

    @property
    def unconfirmed(self) -> int:
        """Answers that the broker has not confirmed."""
        return len(self._answers)

    def begin(
        self, connection: Connection, accepted: Accepted, comes_again: Callable[[Delivery], bool]
    ) -> None:
        """A connection that serves: publishes all state, and the answers that nobody asks for again."""
        self._connection, self._accepted = connection, accepted
        if self._one_by_one:
            connection.narrow()
        for topic in self._state.topics():
            self._publish_state(topic)
        for delivery in [delivery for delivery in self._answers if comes_again(delivery)]:
            del self._answers[delivery]
            self._dropped["redelivered"] += 1
        for delivery, answer in list(self._answers.items()):
            self._send(delivery, answer)

    def end(self, connection: Connection) -> None:
        """The connection is gone."""
        if self._connection is not None:
            self._learn(connection, connection.refusal)
        self._connection = self._accepted = None
        self._state.lost()

    def answer(self, delivery: Delivery, answer: Answer) -> None:
        """Sends an answer, now or on the next connection; it is counted when there are too many."""
        most = self._policy.most_answers
        # Those to QoS 1 have room beside them, as many as are owed.
        if delivery.message.qos:
            most += self._policy.most_owed
        if len(self._answers) >= most:
            self._dropped["unsent_answer"] += 1
            return
        self._answers[delivery] = answer
        if self._connection is not None:
            self._send(delivery, answer)

    def announce(self, topic: str, payload: bytes) -> None:
        """Publishes retained state, now and on every later connection."""
        self._state.note(topic, payload)
        self._publish_state(topic)

    def retract(self, topic: str) -> None:
        """Forgets retained state."""
        self._state.forget(topic)
        self._troubles.judge(Purpose.STATE, topic, None)

    def say_last(self, topic: str, payload: bytes) -> None:
        """Publishes retained state for the last time, and forgets all other."""
        self._put_state(self._state.only(topic, payload))

    def publish(self, topic: str, payload: bytes, *, retain: bool, purpose: Purpose) -> bool:
        """Publishes a message if that is possible now; it is counted when it is not."""
        connection = self._connection
        if connection is None or connection.unconfirmed >= self._policy.most_answers:
            self._dropped["unsent_report"] += 1
            return False
        token = _Once(purpose, topic)
        fault = self._put(topic, payload, None, token, retain=retain)
        if fault is not None:
            self.confirmed(token, fault)
        return fault is None

    def publish_once(self, topic: str, payload: bytes) -> bool:
        """Publishes at QoS 0, now or never: what is late is worthless, so it is not counted either."""
        connection, accepted = self._connection, self._accepted
        if connection is None or accepted is None or len(payload) > accepted.max_packet_bytes - 1024:
            return False
        try:
            connection.publish_once(topic, payload)
        except BrokerError:
            return False
        return True

    def confirmed(self, token: object, fault: str | None) -> None:
        """The broker took what was published, or refused it for good: either way it is done with."""
        if isinstance(token, Delivery):
            answer = self._answers.pop(token, None)
            if fault is not None:
                self._dropped["refused_answer"] += 1
            if answer is not None:
                self._troubles.judge(Purpose.ANSWER, answer.topic, fault)
            self._on_answered(token)
        elif isinstance(token, StateToken):
            if fault is None and self._accepted is not None and not self._accepted.has_retain:
                fault = _NOT_RETAINED
            self._troubles.judge(Purpose.STATE, token.topic, fault)
            if self._state.ended(token):
                self._publish_state(token.topic)
        elif isinstance(token, _Once):
            if token.purpose is Purpose.CANARY and fault is None:
                return  # MQTT 3.1.1 confirms what it refuses; only its return proves anything
            if fault is not None and token.purpose is Purpose.REPORT:
                self._dropped["refused_report"] += 1
            self._troubles.judge(token.purpose, token.topic, fault)

    def _learn(self, connection: Connection, refusal: Refusal | None) -> None:
        """Finds out for what the broker hung up, so that it does not do so for ever.

        It does not say which message it meant. Of what is too large it is the longest; else the next
        connection sends one at a time, and it is the one that was under way. After a loss of another kind
        all topics are tried again.
        """
        kind = None if refusal is None else refusal.kind
        if kind is Kind.TOO_LARGE and self._answers:
            self._largest = max(len(answer.payload) for answer in self._answers.values()) - 1
        if refusal is None or kind not in _FOR_A_TOPIC:
            self._one_by_one = False
            self._forbidden.clear()
            return
        topics = [topic for token in connection.in_flight if (topic := self._topic_of(token)) is not None]
        self._one_by_one = len(topics) > 1
        if len(topics) == 1:
            if len(self._forbidden) >= _MOST_FORBIDDEN:
                del self._forbidden[next(iter(self._forbidden))]
            self._forbidden[topics[0]] = refusal.words

    def _topic_of(self, token: object) -> str | None:
        if isinstance(token, Delivery):
            answer = self._answers.get(token)
            return None if answer is None else answer.topic
        return token.topic if isinstance(token, StateToken | _Once) else None

    def _send(self, delivery: Delivery, answer: Answer) -> None:
        may_wait = self._held < _MOST_HELD and self._is_loaded()
        self._held = self._held + 1 if may_wait else 0
        fault = self._put(answer.topic, answer.payload, answer.properties, delivery, may_wait=may_wait)
        if fault is not None:
            self.confirmed(delivery, fault)

    def _publish_state(self, topic: str) -> None:
        token = self._state.next(topic) if self._connection is not None else None
        if token is not None:
            self._put_state(token)

    def _put_state(self, token: StateToken) -> None:
        fault = self._put(token.topic, token.payload, None, token, retain=True)
        if fault is not None:
            self.confirmed(token, fault)

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
        size = len(topic) * 4 + len(payload) + len(properties or b"") + _PACKET_OVERHEAD_BYTES
        if size > accepted.max_packet_bytes or (self._largest is not None and len(payload) > self._largest):
            return _TOO_LARGE
        if self._forbidden and topic in self._forbidden:
            return self._forbidden[topic]
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
