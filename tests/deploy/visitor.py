"""A plain MQTT client on paho that shows reason codes, by TLS or without: what a stranger could do, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.deploy.hardened import Keys
from tests.testbeds.broker import HOST
from tests.testbeds.probe import Heard

PATIENCE_SECONDS = 20.0


class Visitor:
    """Connects, and tells what the broker said to each publication.

    Args:
        port: of the broker.
        filters: what to subscribe to.
        keys: for TLS; None for a plain connection.
        certificate: whose certificate to show, or None.
        user: name and password, or None.
        client_id: by default one that the broker chooses.
        session_seconds: how long the broker keeps the session; a session that is kept is resumed.
    """

    def __init__(
        self,
        port: int,
        *filters: str,
        keys: Keys | None = None,
        certificate: str | None = None,
        user: tuple[str, str] | None = None,
        client_id: str = "",
        session_seconds: int = 0,
    ) -> None:
        self.heard: list[Heard] = []
        self.session_present = False
        self.largest_packet = 0
        self._news = Condition()
        self._reasons: dict[int, str] = {}
        self._granted = 0
        self._connected = ""
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5)
        if keys is not None:
            shown = (str(keys.certificate(certificate)), str(keys.key(certificate))) if certificate else ()
            self._client.tls_set(str(keys.ca), *shown)
        if user is not None:
            self._client.username_pw_set(*user)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = session_seconds
        self._client.connect(HOST, port, clean_start=session_seconds == 0, properties=properties)
        self._client.loop_start()
        self._wait(lambda: self._connected, "CONNACK")
        assert self._connected == "Success"
        for topic in filters:
            self.subscribe(topic)

    def subscribe(self, topic: str) -> None:
        before = self._granted
        self._client.subscribe(topic, 1)
        self._wait(lambda: self._granted > before, "SUBACK")

    def publish(
        self,
        topic: str,
        payload: str | bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> str:
        """Publishes, and returns the reason of the PUBACK in the standard's words; at QoS 0 nothing.

        That nobody listens is a success (MQTT 5.0 table 3.4.2.1, 0x10).
        """
        properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if correlation is not None:
            properties.CorrelationData = correlation
        with self._news:
            mid = self._client.publish(topic, payload, qos, retain, properties).mid
            if not qos:
                return ""
            assert self._news.wait_for(lambda: mid in self._reasons, PATIENCE_SECONDS), "no PUBACK"
            return self._reasons[mid]

    def on(self, topic: str) -> list[Heard]:
        return [message for message in self.heard if message.topic == topic]

    def wait_for(self, topic: str, *, count: int = 1) -> list[Heard]:
        self._wait(lambda: len(self.on(topic)) >= count, topic)
        return self.on(topic)

    def wait_until(self, is_it: Any) -> Heard:
        """The first message, heard or to come, for which the function is true."""
        self._wait(lambda: any(is_it(message) for message in self.heard), "the message")
        return next(message for message in self.heard if is_it(message))

    def socket(self) -> Any:
        """Its socket, to be set as somebody slow would."""
        return self._client.socket()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Reads nothing meanwhile: its thread waits for a lock on its way to the first message."""
        with self._news:
            yield

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _wait(self, is_there: Any, what: str) -> None:
        with self._news:
            assert self._news.wait_for(is_there, PATIENCE_SECONDS), f"{what} did not come"

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._news:
            self.largest_packet = getattr(properties, "MaximumPacketSize", 0)
            self._connected, self.session_present = str(reason), flags.session_present
            self._news.notify_all()

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        with self._news:
            self._reasons[mid] = "Success" if str(reason) == "No matching subscribers" else str(reason)
            self._news.notify_all()

    def _on_subscribe(self, *_: Any) -> None:
        with self._news:
            self._granted += 1
            self._news.notify_all()

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        heard = Heard(message.topic, bytes(message.payload), message.retain, message.qos, correlation)
        with self._news:
            self.heard.append(heard)
            self._news.notify_all()

    def __enter__(self) -> Visitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
