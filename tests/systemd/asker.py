"""Asks a daemon in a container, from outside of it, through the broker's unix socket."""

from __future__ import annotations

import itertools
import json
import socket
from threading import Condition, Event
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.testbeds.systemd_container import SystemdContainer
from tests.testbeds.waiting import eventually

SOCKET = "run/broker/mqtt.sock"
DEVICE = "board"
_ROOT = f"edge-agent/{DEVICE}"


class Asker:
    """A client of the broker inside; connects when the broker is there.

    Args:
        board: that runs.
        within_seconds: longest wait for the broker.
    """

    def __init__(self, board: SystemdContainer, within_seconds: float = 60.0) -> None:
        self._numbers = itertools.count()
        self._answers: dict[str, Any] = {}
        self._statuses: list[bytes] = []
        self._news = Condition()
        self._connected = Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, transport="unix", reconnect_on_failure=False
        )
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._connected.set()
        self._path = f"/proc/{board.systemd_pid}/root/{SOCKET}"
        eventually(self._listens, within_seconds, "the broker inside")
        self._client.connect(self._path)
        self._client.loop_start()
        self._client.subscribe([(f"{_ROOT}/out/+", 1), (f"{_ROOT}/status", 1)])
        assert self._connected.wait(10)

    def send(self, text: str, model: str = "tiny") -> str:
        """Publishes a request once; returns its id."""
        request_id = str(next(self._numbers))
        self._client.publish(f"{_ROOT}/in/{model}", json.dumps({"text": text, "id": request_id}), 1)
        return request_id

    def answer(self, request_id: str, within_seconds: float = 60.0) -> dict[str, Any]:
        """The answer to a request."""
        with self._news:
            arrived = self._news.wait_for(lambda: request_id in self._answers, within_seconds)
            assert arrived, f"no answer to {request_id} within {within_seconds} s"
            answer: dict[str, Any] = self._answers[request_id]
            return answer

    def ask(self, text: str, model: str = "tiny", within_seconds: float = 60.0) -> dict[str, Any]:
        """Publishes until somebody answers: a daemon that never was here has no session to queue in."""
        sent: list[str] = []
        again = Event()

        def answered() -> str:
            sent.append(self.send(text, model))
            again.wait(0.1)
            with self._news:
                return next((one for one in sent if one in self._answers), "")

        return self.answer(eventually(answered, within_seconds, f"an answer to {text!r}"))

    def command(self, operation: str) -> None:
        """A command in its simple form."""
        self._client.publish(f"{_ROOT}/request/{operation}", "{}", 1)

    def wait_for_status(self, word: bytes, within_seconds: float = 60.0) -> None:
        """Until the last word of ``status`` is this."""
        with self._news:
            said = self._news.wait_for(lambda: self._statuses[-1:] == [word], within_seconds)
        assert said, f"the status is {self._statuses[-1:]}, not {word!r}"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self._path) == 0

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._news:
            if message.topic.endswith("/status"):
                self._statuses.append(bytes(message.payload))
            else:
                answer = json.loads(message.payload)
                self._answers[answer["id"]] = answer
            self._news.notify_all()

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
