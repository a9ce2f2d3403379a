"""A plain MQTT client for tests, on paho as anyone would use it: not our own link code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from threading import Condition
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.testbeds.broker import HOST


@dataclass
class Heard:
    """A message that the probe received."""

    topic: str
    payload: bytes
    retain: bool
    qos: int
    correlation: bytes | None = None
    expiry_seconds: int | None = None
    content_type: str | None = None
    user: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Probe:
    """Subscribes, publishes and waits.

    Args:
        port: of the broker.
        filters: what to subscribe to.
        v5: MQTT 5, else 3.1.1.
    """

    def __init__(self, port: int, *filters: str, v5: bool = True) -> None:
        self.heard: list[Heard] = []
        self._v5 = v5
        self._news = Condition()
        self._subscribed = 0
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5 if v5 else mqtt.MQTTv311)
        self._client.max_inflight_messages = 20
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.connect(HOST, port)
        self._client.loop_start()
        for topic in filters:
            self.subscribe(topic)

    def subscribe(self, topic: str) -> None:
        with self._news:
            before = self._subscribed
            self._client.subscribe(topic, 1)
            assert self._news.wait_for(lambda: self._subscribed > before, 10)

    def publish(
        self,
        topic: str,
        payload: str | bytes | dict[str, Any],
        *,
        qos: int = 1,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        expiry_seconds: int | None = None,
        user: tuple[tuple[str, str], ...] = (),
        wait: bool = True,
    ) -> None:
        properties: Any = None
        if self._v5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            if response_topic is not None:
                properties.ResponseTopic = response_topic
            if correlation is not None:
                properties.CorrelationData = correlation
            if expiry_seconds is not None:
                properties.MessageExpiryInterval = expiry_seconds
            for pair in user:
                properties.UserProperty = pair
        body = json.dumps(payload) if isinstance(payload, dict) else payload
        info = self._client.publish(topic, body, qos, retain, properties)
        if wait:
            info.wait_for_publish(10)
            assert info.is_published()

    def wait_for(self, topic: str, *, count: int = 1, within_seconds: float = 10.0) -> list[Heard]:
        """The messages on a topic, once there are so many."""
        with self._news:
            arrived = self._news.wait_for(lambda: len(self.on(topic)) >= count, within_seconds)
            assert arrived, f"{len(self.on(topic))} of {count} messages on {topic}"
            return self.on(topic)

    def wait_for_ids(self, topic: str, ids: set[str], within_seconds: float = 30.0) -> list[str]:
        """The ids of all answers on a topic, in the order of arrival, once these are among them."""
        arrived: list[str] = []

        def all_there() -> bool:
            arrived.extend(message.json["id"] for message in self.on(topic)[len(arrived) :])
            return ids.issubset(arrived)

        with self._news:
            complete = self._news.wait_for(all_there, within_seconds)
            assert complete, f"{len(ids.difference(arrived))} of {len(ids)} requests were not answered"
            return arrived

    def wait_until(self, is_it: Any, within_seconds: float = 10.0) -> Heard:
        """The first message, heard or to come, for which the function is true."""
        found: list[Heard] = []

        seen = 0

        def search() -> bool:
            nonlocal seen
            fresh, seen = self.heard[seen:], len(self.heard)
            found.extend(message for message in fresh if is_it(message))
            return bool(found)

        with self._news:
            assert self._news.wait_for(search, within_seconds), "no such message"
            return found[0]

    def on(self, topic: str) -> list[Heard]:
        return [message for message in self.heard if message.topic == topic]

    def forget(self) -> None:
        with self._news:
            self.heard.clear()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_subscribe(self, *_: Any) -> None:
        with self._news:
            self._subscribed += 1
            self._news.notify_all()

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        properties: Any = message.properties
        heard = Heard(
            message.topic,
            bytes(message.payload),
            message.retain,
            message.qos,
            getattr(properties, "CorrelationData", None),
            getattr(properties, "MessageExpiryInterval", None),
            getattr(properties, "ContentType", None),
            dict(getattr(properties, "UserProperty", ())),
        )
        with self._news:
            self.heard.append(heard)
            self._news.notify_all()

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
