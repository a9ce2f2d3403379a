"""The other side: sends requests to devices and waits for their answers.

What ``edge-agent send``, the demo and the benchmark use, and any program that likes a function call better
than topics. No thread: the socket is served while one waits. MQTT 5 names a response topic and correlation
data; on 3.1.1 the answer is read from ``out/<model>`` and told by its ``id``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from secrets import token_hex
from types import TracebackType
from typing import Any

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.connection import Connection
from edge_agent.link.envelope import encode_json
from edge_agent.link.mailbox import Mailbox
from edge_agent.link.protocol import MQTT_3_1_1, MQTT_5, ConnectOptions
from edge_agent.link.topics import Topics
from edge_agent.link.wire import pack_publish

_GOODBYE_SECONDS = 2.0
_GRACE_SECONDS = 0.1


class Requester:
    """A connection that asks; made by :meth:`connect`, a context manager.

    Args:
        connection: open and accepted.
        mailbox: what the connection tells.
        base_topic: first part of the devices' topics.
    """

    def __init__(self, connection: Connection, mailbox: _Mailbox, base_topic: str) -> None:
        self._connection = connection
        self._mailbox = mailbox
        self._base = base_topic
        self._name = connection.options.client_id
        self._sent = 0
        self._filters: set[str] = set()
        self._answers: dict[str, dict[str, Any]] = {}
        self._awaited: set[str] = set()
        self._devices: dict[str, dict[str, Any]] = {}

    @classmethod
    def connect(
        cls,
        broker: str | BrokerAddress = "mqtt://localhost",
        *,
        base_topic: str = "edge-agent",
        timeout: float = 5.0,
        protocol: int | None = None,
    ) -> Requester:
        """Connects with MQTT 5, or 3.1.1 where the broker refuses that.

        Args:
            broker: an address, or a URL: ``mqtt://user:password@host:port``, ``mqtts``, ``ws``, ``unix``.
            base_topic: first part of the devices' topics.
            timeout: seconds for each attempt.
            protocol: only this one, ``MQTT_5`` or ``MQTT_3_1_1``.

        Raises:
            BrokerError: the broker cannot be reached or refuses us.
            SettingsError: ``broker`` is not an address.
        """
        address = BrokerAddress.from_url(broker) if isinstance(broker, str) else broker
        fault: str | None = None
        for attempt in (MQTT_5, MQTT_3_1_1) if protocol is None else (protocol,):
            connection, mailbox = _open(address, attempt, timeout)
            if mailbox.accepted is not None:
                return cls(connection, mailbox, base_topic)
            connection.close()
            fault = mailbox.fault
            if not mailbox.may_be_protocol:
                break
        raise BrokerError(f"the broker at {address} refused the connection: {fault or 'no answer'}")

    @property
    def protocol(self) -> int:
        """``MQTT_5`` or ``MQTT_3_1_1``."""
        return self._connection.options.protocol

    def devices(self, timeout: float = 1.0) -> dict[str, dict[str, Any]]:
        """Devices that have introduced themselves to this broker, with their ``info``.

        Args:
            timeout: seconds to wait for the first; the others come with it.
        """
        self._subscribe(f"{self._base}/+/info", timeout)
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            known = len(self._devices)
            self._pump(min(left, _GRACE_SECONDS) if known else left)
            self._sort_messages()
            if known and len(self._devices) == known:
                break
        return dict(self._devices)

    def request(
        self,
        model: str,
        device: str | None,
        payload: str | bytes | Mapping[str, Any],
        timeout: float = 10.0,
    ) -> dict[str, Any]:
        """Asks one thing and waits for the answer.

        Args:
            model: name of the model.
            device: its id; None for the first device found that serves the model.
            payload: a sentence, a request object, or raw bytes.
            timeout: seconds.

        Returns:
            The result or the error, as PROTOCOL §1 shows them.

        Raises:
            BrokerError: no device, no answer in time, or the link was lost.
        """
        chosen = device if device is not None else self._find(model, timeout)
        return self.collect(self.submit(model, chosen, payload, timeout=timeout), timeout)

    def submit(
        self,
        model: str,
        device: str,
        payload: str | bytes | Mapping[str, Any],
        *,
        timeout: float = 10.0,
    ) -> str:
        """Sends a request without waiting; several may be on their way.

        Returns:
            What :meth:`collect` wants to know.
        """
        topics = Topics(self._base, device)
        self._sent += 1
        token = f"{self._name[-8:]}-{self._sent}"
        if self.protocol == MQTT_5:
            response = f"{topics.result(model)}/{self._name}"
            self._subscribe(response, timeout)
            properties = pack_publish(response_topic=response, correlation=token.encode())
            body = payload if isinstance(payload, bytes) else _body(payload, None)
        else:
            self._subscribe(topics.result(model), timeout)
            properties = None
            body = payload if isinstance(payload, bytes) else _body(payload, token)
            token = _id_of(body) or token
        self._awaited.add(token)
        self._connection.publish(topics.request(model), body, properties=properties, token=token)
        return token

    def collect(self, token: str, timeout: float = 10.0) -> dict[str, Any]:
        """Waits for the answer to a request.

        Raises:
            BrokerError: it did not come in time, or the link was lost.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._sort_messages()
            if token in self._answers:
                self._awaited.discard(token)
                return self._answers.pop(token)
            if token in self._mailbox.faults:
                raise BrokerError(f"the broker refused the request: {self._mailbox.faults.pop(token)}")
            left = deadline - time.monotonic()
            if left <= 0:
                self._awaited.discard(token)
                raise BrokerError("no answer in time", hint="is the device online? `edge-agent check` tells")
            self._pump(left)

    def close(self) -> None:
        """Says goodbye and frees the socket."""
        if self._connection.is_open:
            self._connection.disconnect()
            deadline = time.monotonic() + _GOODBYE_SECONDS
            while time.monotonic() < deadline and self._connection.pump(0.1):
                pass
        self._connection.close()

    def __enter__(self) -> Requester:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pump(self, seconds: float) -> None:
        if not self._connection.pump(max(0.0, seconds)):
            raise BrokerError(f"the link to the broker was lost: {self._mailbox.fault}")

    def _subscribe(self, topic_filter: str, timeout: float) -> None:
        if topic_filter in self._filters:
            return
        before = self._mailbox.subscribed
        self._connection.subscribe((topic_filter,))
        _pump_until(self._connection, lambda: self._mailbox.subscribed > before, timeout)
        if self._mailbox.subscribed == before:
            raise BrokerError(f"the broker did not confirm the subscription to {topic_filter}")
        if self._mailbox.fault is not None:
            raise BrokerError(f"the broker refused the subscription to {topic_filter}: {self._mailbox.fault}")
        self._filters.add(topic_filter)

    def _find(self, model: str, timeout: float) -> str:
        devices = self.devices(min(timeout, 2.0))
        for device, info in devices.items():
            models = info.get("models")
            if isinstance(models, dict) and model in models:
                return device
        known = f"; these answer: {', '.join(sorted(devices))}" if devices else ""
        raise BrokerError(
            f"no device on this broker serves the model {model}{known}",
            hint="name one with --device, or start edge-agentd",
        )

    def _sort_messages(self) -> None:
        for message in self._mailbox.take():
            document = _object(message.payload)
            levels = message.topic[len(self._base) + 1 :].split("/")
            if len(levels) == 2 and levels[1] == "info":
                self._note_device(levels[0], document)
                continue
            if message.correlation is not None:
                token = message.correlation.decode("utf-8", "replace")
            else:
                token = str(document.get("id"))
            if token in self._awaited:
                self._answers[token] = document

    def _note_device(self, device: str, info: dict[str, Any]) -> None:
        if info:
            self._devices[device] = info
        else:
            self._devices.pop(device, None)


class _Mailbox(Mailbox):
    """Knows when the broker has said yes or no, and which requests it refused."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[object, str] = {}

    @property
    def is_decided(self) -> bool:
        return self.accepted is not None or self.fault is not None

    def on_confirmed(self, token: object, fault: str | None) -> None:
        if fault is not None:
            self.faults[token] = fault


def _open(address: BrokerAddress, protocol: int, timeout: float) -> tuple[Connection, _Mailbox]:
    mailbox = _Mailbox()
    options = ConnectOptions(
        client_id=f"edge-agent-requester-{token_hex(4)}",
        protocol=protocol,
        connect_timeout_seconds=timeout,
    )
    connection = Connection(address, options, mailbox)
    mailbox.connection = connection
    try:
        connection.open()
        _pump_until(connection, lambda: mailbox.is_decided, timeout)
    except BrokerError:
        connection.close()
        raise
    return connection, mailbox


def _pump_until(connection: Connection, is_done: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not is_done() and time.monotonic() < deadline:
        if not connection.pump(deadline - time.monotonic()):
            return


def _body(payload: str | Mapping[str, Any], token: str | None) -> bytes:
    fields: dict[str, Any] = {"text": payload} if isinstance(payload, str) else dict(payload)
    if token is not None:
        fields.setdefault("id", token)
    return encode_json(fields)


def _id_of(body: bytes) -> str | None:
    value = _object(body).get("id")
    return value if isinstance(value, str) else None


def _object(payload: bytes) -> dict[str, Any]:
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
