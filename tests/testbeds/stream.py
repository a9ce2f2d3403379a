"""A client that asks without a pause."""

from __future__ import annotations

import json
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.testbeds.broker import HOST
from tests.testbeds.waiting import eventually


class Stream:
    """Requests without a pause, so many in flight; when each was sent and answered, and by which version."""

    def __init__(self, port: int, root: str, model: str, sentence: str, in_flight: int) -> None:
        self.answers: list[tuple[float, float, str]] = []
        self.wrong: list[str] = []
        self.twice = 0
        self._in_flight = in_flight
        self._asks, self._sentence = f"{root}/in/{model}", sentence
        self._sent: dict[str, float] = {}
        self._number = 0
        self._is_going = True
        self._idle = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = self._on_answer
        self._client.connect(HOST, port)
        self._client.subscribe(f"{root}/out/{model}", 1)
        self._client.loop_start()

    @property
    def sent(self) -> int:
        return self._number

    def begin(self) -> None:
        for _ in range(self._in_flight):
            self._ask()

    def end(self) -> int:
        """Asks no more; returns how many were never answered."""
        self._is_going = False
        with self._idle:
            self._idle.wait_for(lambda: not self._sent, 30)
        self._client.disconnect()
        self._client.loop_stop()
        return len(self._sent)

    def wait_for_version(self, version: str) -> None:
        """Waits until it answers."""
        eventually(
            lambda: bool(self.answers) and self.answers[-1][2] == version, 60.0, f"an answer by {version}"
        )

    def _ask(self) -> None:
        self._number += 1
        key = str(self._number)
        self._sent[key] = time.monotonic()
        self._client.publish(self._asks, json.dumps({"id": key, "text": self._sentence}), 1)

    def _on_answer(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        answer = json.loads(message.payload)
        begun = self._sent.pop(answer["id"], None)
        if begun is None:
            self.twice += 1
            return
        if "error" in answer:
            self.wrong.append(answer["error"]["code"])
        self.answers.append((begun, time.monotonic(), answer.get("version", "")))
        if self._is_going:
            self._ask()
        else:
            with self._idle:
                self._idle.notify()
