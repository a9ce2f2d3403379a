"""A requester that measures: one request at a time for latency, a window of them for throughput.

One connection, one thread, QoS 1 both ways. With MQTT 5 a response topic and correlation data tell answers
apart, with 3.1.1 ``out/<model>`` and their ids. It reads answers only when nothing is being timed; an
ordinary client's socket, without tricks for slow brokers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from secrets import token_hex
from time import monotonic, perf_counter
from types import TracebackType

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.connection import Connection
from edge_agent.link.envelope import encode_json
from edge_agent.link.protocol import MQTT_5, Accepted, ConnectOptions, Incoming
from edge_agent.link.topics import Topics
from edge_agent.link.wire import pack_publish

WINDOW = 16
_PATIENCE_SECONDS = 30.0
_ID = re.compile(rb'\{"id":"(\d+)"')


class Asker:
    """Connects on entry of its ``with``.

    Args:
        address: the broker.
        topics: of the device that is asked.
        protocol: ``MQTT_5`` or ``MQTT_3_1_1``.
        patience_seconds: for any single wait.

    Attributes:
        status: the device's last word on itself, ``online`` or ``offline``.
        health: its last health document.

    Raises:
        BrokerError: on entry, the broker cannot be reached or refuses us.
    """

    def __init__(
        self,
        address: BrokerAddress,
        topics: Topics,
        *,
        protocol: int = MQTT_5,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._topics = topics
        self._patience = patience_seconds
        self._response = f"bench/{token_hex(4)}" if protocol == MQTT_5 else topics.result("+")
        self._sent = 0
        self._answered = 0
        self._answers: dict[bytes | None, bytes] = {}
        self._ready = False
        self._subscribed = 0
        self._fault: str | None = None
        self.status: bytes | None = None
        self.health: bytes | None = None
        options = ConnectOptions(
            client_id=f"edge-agent-bench-{token_hex(4)}", protocol=protocol, quick_acknowledge=False
        )
        self._connection = Connection(address, options, self)

    def __enter__(self) -> Asker:
        try:
            self._connection.open()
            self._wait(lambda: self._ready)
            self._connection.subscribe((self._response, self._topics.status, self._topics.health))
            self._wait(lambda: self._subscribed > 0)
        except BrokerError:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(BrokerError):
            self._connection.disconnect()
        self._connection.close()

    @property
    def answered(self) -> int:
        """Requests answered on this connection."""
        return self._answered

    @property
    def lost(self) -> int:
        """Requests sent and not answered."""
        return self._sent - self._answered

    @property
    def protocol(self) -> int:
        """``MQTT_5`` or ``MQTT_3_1_1``."""
        return self._connection.options.protocol

    def wait_online(self) -> None:
        """Waits for the device's ``online``.

        Raises:
            BrokerError: it does not come.
        """
        self._wait(lambda: self.status == b"online")

    def ask_each(self, topic: str, texts: Sequence[str], requests: int) -> tuple[float, ...]:
        """Asks one sentence after the other, in turn.

        Returns:
            Milliseconds from publish to result of each.

        Raises:
            BrokerError: an answer was an error or did not come.
        """
        self._answers = {}
        times = []
        for number in range(requests):
            text = texts[number % len(texts)]
            begun = perf_counter()
            token = self._publish(topic, text)
            self._wait(lambda wanted=token: wanted in self._answers)  # type: ignore[misc]
            times.append((perf_counter() - begun) * 1e3)
        self._check_answers()
        return tuple(times)

    def ask_many(self, topic: str, texts: Sequence[str], requests: int, window: int = WINDOW) -> float:
        """Asks with ``window`` requests on their way all the time, so that the daemon never waits for one.

        Returns:
            Results a second, from the first result to the last.

        Raises:
            BrokerError: an answer was an error or did not come.
        """
        self._answers = {}
        sent = answered = first = 0
        begun = 0.0
        while answered < requests:
            while sent < requests and sent < answered + window:
                self._publish(topic, texts[sent % len(texts)])
                sent += 1
            self._wait(lambda: len(self._answers) > answered)  # noqa: B023  # called at once
            answered = len(self._answers)
            if not first:
                begun, first = perf_counter(), answered
        seconds = perf_counter() - begun
        self._check_answers()
        return (answered - first) / seconds

    def _publish(self, topic: str, text: str) -> bytes:
        self._sent += 1
        token = b"%d" % self._sent
        if self.protocol == MQTT_5:
            body, properties = {"text": text}, pack_publish(response_topic=self._response, correlation=token)
        else:
            body, properties = {"text": text, "id": token.decode()}, None
        self._connection.publish(topic, encode_json(body), properties=properties)
        return token

    def _check_answers(self) -> None:
        self._answered += len(self._answers)
        for payload in self._answers.values():
            answer = json.loads(payload)
            if "error" in answer:
                raise BrokerError(f"the daemon answered with an error: {answer['error']['code']}")

    def _wait(self, is_done: Callable[[], bool]) -> None:
        deadline = monotonic() + self._patience
        while not is_done():
            left = deadline - monotonic()
            if self._fault is not None or left <= 0:
                raise BrokerError(f"the benchmark's requester: {self._fault or 'no answer in time'}")
            self._connection.pump(left)

    # What the connection tells

    def on_accepted(self, accepted: Accepted) -> None:  # noqa: ARG002
        """The broker let us in."""
        self._ready = True

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:  # noqa: ARG002
        """The broker did not."""
        self._fault = f"the broker refused the connection: {reason}"

    def on_subscribed(self, fault: str | None) -> None:
        """The broker confirmed the subscriptions, or refused one."""
        self._subscribed += 1
        self._fault = fault

    def on_message(self, message: Incoming) -> None:
        """An answer, or what the device says of itself."""
        if message.topic == self._topics.status:
            self.status = message.payload
        elif message.topic == self._topics.health:
            self.health = message.payload
        else:
            self._answers[message.correlation or _id_of(message.payload)] = message.payload
        if message.qos:
            self._connection.acknowledge(message.mid)

    def on_confirmed(self, token: object, fault: str | None) -> None:  # noqa: ARG002
        """The broker took a request, or refused it."""
        self._fault = self._fault or fault

    def on_lost(self, reason: str) -> None:
        """The link is gone."""
        self._fault = self._fault or reason


def _id_of(answer: bytes) -> bytes | None:
    found = _ID.match(answer)
    return found and found.group(1)
