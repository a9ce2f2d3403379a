"""A requester that knows topics only, so that the daemon and any other script can be asked alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from secrets import token_hex
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any

from edge_agent.link.address import BrokerAddress
from edge_agent.link.connection import Connection
from edge_agent.link.protocol import Accepted, ConnectOptions, Incoming

_PATIENCE_SECONDS = 60.0


class Caller:
    """One at a time, QoS 1, TCP_NODELAY on its own socket and no trick for slow brokers."""

    def __init__(self, port: int, in_topic: str, out_topic: str, ready_topic: str) -> None:
        self._in_topic, self._out_topic, self._ready_topic = in_topic, out_topic, ready_topic
        self._seen: dict[str, list[bytes]] = {out_topic: [], ready_topic: []}
        self._accepted = self._subscribed = False
        self._fault: str | None = None
        options = ConnectOptions(client_id=f"caller-{token_hex(4)}", quick_acknowledge=False)
        self._connection = Connection(BrokerAddress("127.0.0.1", port), options, self)

    def __enter__(self) -> Caller:
        self._connection.open()
        self._wait("_accepted")
        self._connection.subscribe((self._out_topic, self._ready_topic))
        self._wait("_subscribed")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.disconnect()
        self._connection.close()

    def wait_ready(self, payload: bytes) -> None:
        """Waits until the other side has said so on its ready topic."""
        while payload not in self._seen[self._ready_topic]:
            self._pump(monotonic() + _PATIENCE_SECONDS)

    def ask(self, texts: Sequence[str], requests: int) -> tuple[list[float], list[dict[str, Any]]]:
        """Milliseconds from publish to answer of each request, and the answers."""
        bodies = [json.dumps({"text": text}).encode() for text in texts]
        answers = self._seen[self._out_topic]
        answers.clear()
        times = []
        for number in range(requests):
            begun = perf_counter()
            self._connection.publish(self._in_topic, bodies[number % len(bodies)])
            deadline = monotonic() + _PATIENCE_SECONDS
            while len(answers) <= number:
                self._pump(deadline)
            times.append((perf_counter() - begun) * 1e3)
        return times, [json.loads(answer) for answer in answers]

    def _wait(self, flag: str) -> None:
        deadline = monotonic() + _PATIENCE_SECONDS
        while not getattr(self, flag):
            self._pump(deadline)

    def _pump(self, deadline: float) -> None:
        assert self._fault is None, self._fault
        assert monotonic() < deadline, "no answer in time"
        self._connection.pump(1.0)

    def on_accepted(self, accepted: Accepted) -> None:
        self._accepted = True

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        self._fault = reason

    def on_subscribed(self, fault: str | None) -> None:
        self._subscribed, self._fault = True, fault

    def on_message(self, message: Incoming) -> None:
        self._seen[message.topic].append(message.payload)
        if message.qos:
            self._connection.acknowledge(message.mid)

    def on_confirmed(self, token: object, fault: str | None) -> None:
        self._fault = self._fault or fault

    def on_lost(self, reason: str) -> None:
        self._fault = self._fault or reason
