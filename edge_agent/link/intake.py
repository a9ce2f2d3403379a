"""What a connection brings: handed over, held back under load, and acknowledged in its turn.

Called with the link's lock held, but for :meth:`Intake.let_the_worker_work`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Condition, RLock

from edge_agent.link.canary import Canary
from edge_agent.link.connection import Connection
from edge_agent.link.denials import Purpose
from edge_agent.link.owed import Owed
from edge_agent.link.policy import LinkPolicy
from edge_agent.link.protocol import MQTT_5, Answerer, Delivery, Incoming, Receiver
from edge_agent.link.troubles import Troubles

_NEARLY_IDLE = 6  # the worker takes up to four at a time: one group in its hands and the next at hand
_LONGEST_LULL_SECONDS = 0.02


class Intake:
    """Requests in hand and acknowledgements owed.

    Args:
        receiver: who takes requests.
        link: who answers them.
        lock: the link's.
        hold: requests at QoS 1 in hand beyond which MQTT 5 is not read.
        policy: bounds.
        dropped: counts what is not handed over.
        troubles: hears of the canary.
        canary: the loop-back, or None.
        clock: monotonic seconds.

    Attributes:
        is_taking: False leaves with the broker what arrives.
        is_flooded: there was no room for a message, so that this connection must end.
        last_arrival: when something arrived, the canary aside.
    """

    def __init__(  # noqa: PLR0913
        self,
        receiver: Receiver,
        link: Answerer,
        lock: RLock,
        *,
        hold: int,
        policy: LinkPolicy,
        dropped: Counter[str],
        troubles: Troubles,
        canary: Canary | None,
        clock: Callable[[], float],
    ) -> None:
        self.is_taking = True
        self.is_flooded = False
        self.last_arrival = 0.0
        self._receiver = receiver
        self._link = link
        self._hold = hold
        self._max_slashes = policy.max_topic_levels - 1
        self._dropped = dropped
        self._troubles = troubles
        self._canary = canary
        self._canary_topic = canary.topic if canary is not None else None
        self._clock = clock
        self._connection: Connection | None = None
        self._number = 0
        self._in_hand = 0
        self._in_lull = False
        self._lull = Condition(lock)
        self._owed = Owed(policy.most_owed, policy.most_owed_bytes)

    @property
    def owes(self) -> bool:
        """Whether the broker waits for an acknowledgement of ours."""
        return len(self._owed) > 0

    @property
    def is_loaded(self) -> bool:
        """Whether the worker has enough at hand to go on without the next packet."""
        return self._in_lull and self._in_hand > _NEARLY_IDLE

    def begin(self, connection: Connection, number: int) -> None:
        """A new connection with its number."""
        self._connection, self._number, self.is_flooded = connection, number, False

    def end(self) -> None:
        """The connection is gone, and with it what was owed to it."""
        self._connection = None
        self._owed.clear()

    def take(self, message: Incoming) -> None:
        """Hands a message over."""
        if not self.is_taking:  # not even the canary: it may not be acknowledged before what came earlier
            if message.qos == 0:
                self._dropped["stopping"] += 1
            return
        if message.topic == self._canary_topic:
            self._hear_canary(message)
            return
        delivery = self._receive(message)
        if delivery is None:
            return
        self.last_arrival = delivery.received
        if message.topic.count("/") > self._max_slashes:
            self._dropped["topic_levels"] += 1
            self._pass_over(delivery)
            return
        if message.qos:
            self._in_hand += 1
            connection = self._connection
            if self._in_hand >= self._hold and connection and connection.options.protocol == MQTT_5:
                connection.is_reading = False
        self._receiver.on_delivery(delivery)

    def note_done(self, delivery: Delivery) -> None:
        """A request is out of the worker's hands: there may be room for the next."""
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

    def settle(self, delivery: Delivery) -> None:
        """A request is done with: acknowledges it, and those that waited for it."""
        delivery.settled = True
        connection = self._connection
        if connection is not None:
            for mid in self._owed.settled():
                connection.acknowledge(mid)

    def let_the_worker_work(self) -> None:
        """Under load, waits until the worker is about to run out of requests, so that all are read at once.

        Two threads that take turns at every packet spend a quarter of one core on taking turns.
        """
        if self._in_hand > _NEARLY_IDLE:
            with self._lull:
                self._in_lull = True
                self._lull.wait_for(lambda: self._in_hand <= _NEARLY_IDLE, _LONGEST_LULL_SECONDS)
                self._in_lull = False

    def _receive(self, message: Incoming) -> Delivery | None:
        delivery = Delivery(message, self._number, self._clock(), link=self._link)
        if message.qos and not self._owed.add(delivery):
            self.is_flooded = True
            return None
        return delivery

    def _pass_over(self, delivery: Delivery) -> None:
        """Acknowledges in its turn what nobody is to see."""
        delivery.is_done = True
        self.settle(delivery)

    def _hear_canary(self, message: Incoming) -> None:
        canary, delivery = self._canary, self._receive(message)
        if canary is None or delivery is None:
            return
        self._pass_over(delivery)
        if not canary.heard(message.payload, delivery.received):
            if not message.dup:  # one of ours, of an earlier connection
                self._dropped["foreign_canary"] += 1
            return
        self._troubles.judge(Purpose.CANARY, canary.topic, None)
        self._troubles.has_news = True
