"""A look at a broker: does it let us in, which protocol does it speak, how long does a QoS 1 round trip take?

The round trip goes to the device's own ``canary`` topic and back, over a socket that acknowledges as an
ordinary client's does. A broker without ``set_tcp_nodelay`` then shows itself: Nagle's algorithm on its side
waits for the delayed acknowledgement on ours, 40 ms each time (RFC 896, RFC 1122 section 4.2.3.2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from time import monotonic, perf_counter
from uuid import uuid4

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.connection import Connection
from edge_agent.link.protocol import MQTT_3_1_1, MQTT_5, Accepted, ConnectOptions, Incoming

_WARM_UP = 20
"""Linux acknowledges the first packets of a connection at once; the delay comes after them."""
_MEASURED = 15
_PUMP_SECONDS = 0.1
_ACCESS_HINT = "the broker's access list must let the device read and write its own topics"


@dataclass(frozen=True, slots=True)
class BrokerReport:
    """What the probe saw."""

    protocol: str
    round_trip_ms: float


class _WrongProtocolError(BrokerError):
    """The broker does not speak the protocol that was tried."""


class _Witness:
    """Notes what the connection tells."""

    def __init__(self) -> None:
        self.accepted = False
        self.subscribed = False
        self.returned: deque[int] = deque()
        self.confirmed = 0
        self.fault: BrokerError | None = None

    def on_accepted(self, accepted: Accepted) -> None:  # noqa: ARG002
        self.accepted = True

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        hint = "mqtt.username and mqtt.password_file must be what the broker expects"
        kind = _WrongProtocolError if wrong_protocol else BrokerError
        self.fault = kind(f"the broker refused us: {reason}", hint=None if wrong_protocol else hint)

    def on_subscribed(self, fault: str | None) -> None:
        self.subscribed = fault is None
        if fault is not None:
            self.fault = BrokerError(f"the broker refused the device's own topic: {fault}", hint=_ACCESS_HINT)

    def on_message(self, message: Incoming) -> None:
        self.returned.append(message.mid)

    def on_confirmed(self, token: object, fault: str | None) -> None:  # noqa: ARG002
        self.confirmed += 1
        if fault is not None:
            self.fault = BrokerError(f"the broker refused a message: {fault}", hint=_ACCESS_HINT)

    def on_lost(self, reason: str) -> None:
        self.fault = self.fault or BrokerError(f"the broker closed the connection: {reason}")


def probe_broker(address: BrokerAddress, topic: str, *, timeout_seconds: float = 5.0) -> BrokerReport:
    """Connects, with MQTT 5 first, and measures round trips through ``topic``.

    Raises:
        BrokerError: the broker cannot be reached, refuses us, or does not answer in time.
    """
    try:
        return BrokerReport("MQTT 5", _round_trip(address, topic, MQTT_5, timeout_seconds))
    except _WrongProtocolError:
        return BrokerReport("MQTT 3.1.1", _round_trip(address, topic, MQTT_3_1_1, timeout_seconds))


def _round_trip(address: BrokerAddress, topic: str, protocol: int, timeout_seconds: float) -> float:
    """Median milliseconds from publishing at QoS 1 until it is confirmed and has come back."""
    witness = _Witness()
    options = ConnectOptions(
        client_id=f"edge-agent-check-{uuid4().hex[:8]}",
        protocol=protocol,
        connect_timeout_seconds=timeout_seconds,
        quick_acknowledge=False,
    )
    connection = Connection(address, options, witness)

    def wait(condition: Callable[[], bool]) -> None:
        deadline = monotonic() + timeout_seconds
        while not condition():
            connection.pump(_PUMP_SECONDS)
            if witness.fault is not None:
                raise witness.fault
            if monotonic() > deadline:
                raise BrokerError(f"the broker at {address} does not answer within {timeout_seconds:g} s")

    try:
        connection.open()
        wait(lambda: witness.accepted)
        connection.subscribe((topic,))
        wait(lambda: witness.subscribed)
        times: list[float] = []
        while len(times) < _WARM_UP + _MEASURED:
            begun = perf_counter()
            connection.publish(topic, b"{}")
            wait(lambda: bool(witness.returned) and witness.confirmed > len(times))
            times.append((perf_counter() - begun) * 1e3)
            connection.acknowledge(witness.returned.popleft())
    finally:
        with suppress(BrokerError):
            connection.disconnect()
        connection.close()
    return median(times[_WARM_UP:])
