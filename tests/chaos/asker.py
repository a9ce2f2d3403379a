"""The requester of a run: a plain paho client with a persistent session, which notes all that happens.

It speaks to the broker directly, so that every fault lies between broker and agent. What the broker had not
confirmed when it went away paho sends again by itself; that is noted, since it may be answered twice.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from threading import Lock
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import edge_agent
from tests.chaos.ledger import Answered, Broken, Confirmed, Event, Resent, Sent
from tests.testbeds.broker import HOST

INFLIGHT = 20
_DAY_SECONDS = 86_400
_PAHOS_OWN = mqtt.MQTT_CLEAN_START_FIRST_ONLY  # what paho wants to hear for 3.1.1
_CONNECT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Question:
    """A text, the model that is asked, and what the answer must hold."""

    model: str
    text: str
    expected: Mapping[str, Any]


def questions(bundles: Mapping[str, Path], texts: tuple[str, ...]) -> tuple[Question, ...]:
    """Every text for every model, with what the model itself says to it, without daemon and faults."""
    made: list[Question] = []
    for name, folder in bundles.items():
        model = edge_agent.load(folder)
        for text in texts:
            found = model.predict(text)
            expected: dict[str, Any] = {"model": name, "recognized": found.recognized}
            expected["intent" if found.task == "intent" else "label"] = found.label
            if found.task == "intent":
                expected["slots"] = [(one.name, one.value) for one in found.slots]
            made.append(Question(name, text, expected))
    return tuple(made)


def mark(number: int) -> str:
    """The part of a payload that only request ``number`` and its answer have."""
    return f'"id":"r{number}"'


def payload(number: int, text: str) -> bytes:
    """The request."""
    return f'{{{mark(number)},"text":{json.dumps(text, ensure_ascii=False)}}}'.encode()


def judge(document: Mapping[str, Any], expected: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Whether an answer is right, and the code where it is an error."""
    error = document.get("error")
    if isinstance(error, dict):
        return False, str(error.get("code"))
    said = dict(document)
    if "slots" in expected:
        said["slots"] = [(one["name"], one["value"]) for one in document.get("slots", ())]
    return all(said.get(key) == value for key, value in expected.items()), None


class Asker:
    """Sends requests at QoS 1 and notes confirmations and answers.

    Args:
        port: of the broker.
        name: of the client.
        root: topic of the device.
        note: takes each event; called from paho's thread, too.
        question_of: request number → what was asked.
        is_v5: MQTT 5, with response topic and correlation data; else 3.1.1.
    """

    def __init__(
        self,
        port: int,
        name: str,
        root: str,
        note: Callable[[Event], None],
        question_of: Callable[[int], Question],
        *,
        is_v5: bool,
    ) -> None:
        self.name = name
        self._root = root
        self._note = note
        self._question_of = question_of
        self._is_v5 = is_v5
        self._lock = Lock()
        self._unconfirmed: dict[int, int] = {}
        self._early: set[int] = set()
        self._ready = Flag()
        self._mine: set[int] = set()
        self._client = self._make_client(name)
        properties: Any = None
        if is_v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _DAY_SECONDS
        # Mosquitto does not save a session that was opened with clean start, even if it has an expiry.
        self._client.connect(
            HOST, port, keepalive=30, clean_start=False if is_v5 else _PAHOS_OWN, properties=properties
        )
        self._client.loop_start()
        assert self._ready.wait(_CONNECT_SECONDS), "the requester was not let in"

    @property
    def unconfirmed(self) -> int:
        """Requests that the broker has not confirmed."""
        return len(self._unconfirmed)

    def send(self, number: int) -> None:
        """Hands a request to the client, which may be away from its broker."""
        question = self._question_of(number)
        properties: Any = None
        if self._is_v5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ResponseTopic = f"{self._root}/out/{question.model}/{self.name}"
            properties.CorrelationData = str(number).encode()
        topic = f"{self._root}/in/{question.model}"
        self._note(Sent(time.monotonic(), number, f"{self.name} {question.model}"))
        self._mine.add(number)
        sent = self._client.publish(topic, payload(number, question.text), 1, False, properties)
        # paho calls back with its own lock held, so ours may not be held around a call to paho.
        with self._lock:
            if sent.mid in self._early:
                self._early.discard(sent.mid)
                is_confirmed = True
            else:
                self._unconfirmed[sent.mid] = number
                is_confirmed = False
        if is_confirmed:
            self._note(Confirmed(time.monotonic(), number))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _make_client(self, name: str) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=name,
            clean_session=None if self._is_v5 else False,
            protocol=mqtt.MQTTv5 if self._is_v5 else mqtt.MQTTv311,
        )
        client.max_inflight_messages_set(INFLIGHT)
        client.reconnect_delay_set(0.05, 0.5)  # type: ignore[arg-type]  # it takes fractions
        client.on_connect = self._on_connect
        client.on_subscribe = lambda *_: self._ready.set()
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_socket_open = _send_at_once
        return client

    # In paho's thread

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(f"{self._root}/out/+/{self.name}" if self._is_v5 else f"{self._root}/out/+", 1)

    def _on_disconnect(self, *_: Any) -> None:
        with self._lock:
            again = list(self._unconfirmed.values())[:INFLIGHT]
        for number in again:
            self._note(Resent(time.monotonic(), number))

    def _on_publish(self, _client: Any, _data: Any, mid: int, code: Any, _properties: Any) -> None:
        with self._lock:
            number = self._unconfirmed.pop(mid, None)
            if number is None:
                self._early.add(mid)
        if code is not None and code.is_failure:
            self._note(Broken(time.monotonic(), f"the broker refused request {number}: {code}"))
        elif number is not None:
            self._note(Confirmed(time.monotonic(), number))

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        document = json.loads(message.payload)
        number = int(str(document.get("id"))[1:]) if str(document.get("id")).startswith("r") else -1
        if not self._is_v5 and number not in self._mine:
            return  # the other 3.1.1 clients' answers are on the same topic
        if number not in self._mine:
            self._note(Broken(time.monotonic(), f"an answer to nobody on {message.topic}"))
            return
        question = self._question_of(number)
        is_right, code = judge(document, question.expected)
        if self._is_v5:
            correlation = getattr(message.properties, "CorrelationData", None)
            is_right = is_right and correlation == str(number).encode()
        self._note(
            Answered(time.monotonic(), number, is_right=is_right, code=code, is_again=bool(message.dup))
        )


def _send_at_once(_client: Any, _data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
