"""A device at a broker, as small as an operator can tell: one real MQTT session that takes commands."""

from __future__ import annotations

import json
from threading import RLock
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.testbeds.broker import HOST
from tests.testbeds.waiting import eventually


class MqttDevice:
    """Speaks the topics of PROTOCOL §1 that a rollout needs.

    Args:
        port: of the broker.
        name: its id.
        group: its ``updates.channel``.
        ending: what becomes of an update: ``kept``, ``failed``, ``hang`` (it never ends), ``deaf`` (it never
            begins), ``liar`` (successful, and the old version serves), ``held`` (as ``kept``, once
            :meth:`release` is called).
        username: at the broker, or None.

    Attributes:
        installed: the version that serves.
        inits: ids of the commands that it was given, in the order in which they came, repetitions too.
        begun: ids of the commands that it executed.
    """

    def __init__(
        self,
        port: int,
        name: str,
        *,
        group: str = "kitchens",
        ending: str = "kept",
        installed: str = "1.0.0",
        username: str | None = None,
    ) -> None:
        self.name = name
        self.ending = ending
        self.installed = installed
        self.before: str | None = None
        self.inits: list[str] = []
        self.begun: list[str] = []
        self._port = port
        self._group = group
        self._username = username
        self._held: list[tuple[str, dict[str, Any]]] = []
        self._ended: dict[str, dict[str, Any]] = {}
        self._lock = RLock()
        self._client: mqtt.Client | None = None
        self._is_up = False

    @property
    def root(self) -> str:
        return f"edge-agent/{self.name}"

    def start(self) -> MqttDevice:
        """Comes online; what is retained for it comes with that."""
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.name, protocol=mqtt.MQTTv5)
        client.will_set(f"{self.root}/status", "offline", 1, True)
        if self._username is not None:
            client.username_pw_set(self._username, self._username)
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.connect(HOST, self._port)
        self._client = client
        client.loop_start()
        client.subscribe(f"{self.root}/cmd/+/+", 1)
        eventually(lambda: self._is_up, 30, f"device {self.name}")
        self._say("info", {"settings": {"updates": {"channel": self._group}}})
        self._tell_model("kept")
        self._say("status", "online")
        return self

    def stop(self) -> None:
        """Goes offline; the broker keeps what was said."""
        if self._client is not None:
            self._say("status", "offline")
            self._client.disconnect()
            self._client.loop_stop()
            self._client, self._is_up = None, False

    def release(self, ending: str = "kept") -> None:
        """Ends what was held."""
        with self._lock:
            held, self._held = self._held, []
            for topic, order in held:
                self._end(topic, order, ending)

    def turn_back(self, version: str) -> None:
        """Rolls back by itself."""
        with self._lock:
            self.installed = version
            self._tell_model("rolled_back", "unhealthy_while_watched: too slow")

    def say_raw(self, part: str, payload: bytes) -> None:
        assert self._client is not None
        self._client.publish(f"{self.root}/{part}", payload, 1, True).wait_for_publish(30)

    def __enter__(self) -> MqttDevice:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _on_subscribe(self, *_: Any) -> None:
        self._is_up = True

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            order = json.loads(message.payload)
        except (ValueError, RecursionError):
            return
        if not isinstance(order, dict) or order.get("status") != "init":
            return
        with self._lock:
            command_id = message.topic.rpartition("/")[2]
            self.inits.append(command_id)
            if self.ending == "deaf":
                return
            if command_id in self._ended:
                self._publish(message.topic, self._ended[command_id])
            elif command_id not in self.begun:
                self.begun.append(command_id)
                self._publish(message.topic, {"status": "executing"})
                if self.ending == "held":
                    self._held.append((message.topic, order))
                elif self.ending != "hang":
                    self._end(message.topic, order, self.ending)

    def _end(self, topic: str, order: dict[str, Any], ending: str) -> None:
        if "/model-rollback/" in topic:
            self.installed, self.before = self.before or self.installed, None
            self._tell_model("rolled_back", "asked_for")
        elif ending == "kept":
            self.before, self.installed = self.installed, order["version"]
            self._tell_model("kept")
        word: dict[str, Any] = {"status": "successful"}
        if ending == "failed" and "/model-update/" in topic:
            word = {"status": "failed", "reason": "failed_its_proof: golden sentence 3"}
        self._ended[topic.rpartition("/")[2]] = word
        self._publish(topic, word)

    def _tell_model(self, state: str, reason: str | None = None) -> None:
        self._say("model/home", {"installed_version": self.installed, "state": state, "reason": reason})

    def _say(self, part: str, payload: str | dict[str, Any]) -> None:
        self._publish(f"{self.root}/{part}", payload)

    def _publish(self, topic: str, payload: str | dict[str, Any]) -> None:
        assert self._client is not None
        body = json.dumps(payload) if isinstance(payload, dict) else payload
        self._client.publish(topic, body, 1, True)
