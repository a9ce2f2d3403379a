"""What Mosquitto keeps when it is killed: confirmed messages for a subscriber that is away, before and after.

``python -m tests.chaos.broker_promise --rounds 10`` prints one line for each way to save. What is lost here
was lost without the agent, so it is the broker's promise and not ours.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.testbeds.broker import HOST, Mosquitto
from tests.testbeds.waiting import eventually

EVERY_CHANGE = ("autosave_on_changes true", "autosave_interval 1")
NEVER = ("autosave_interval 0",)
_TOPIC = "promise"
_PAUSE_SECONDS = 0.002
_SETTLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Round:
    """One kill: messages that were confirmed, and how many of them the broker still had afterwards."""

    confirmed: int
    lost: int


def one_round(folder: Path, ways: tuple[str, ...], number: int, wait_seconds: float) -> Round:
    """Publishes for a while, waits ``wait_seconds`` in silence, kills the broker and counts what is left."""
    broker = Mosquitto(folder, extra=ways)
    broker.start()
    _absentee(broker.port)
    confirmed = _publish_until_killed(broker, 100 + 10 * number, wait_seconds)
    broker.start()
    kept = _kept(broker.port, confirmed)
    broker.stop()
    return Round(len(confirmed), len(confirmed - kept))


def _absentee(port: int) -> None:
    """Leaves a session with a subscription at the broker."""
    client = _client("absentee", clean=False)
    subscribed = Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect(HOST, port)
    client.loop_start()
    client.subscribe(_TOPIC, 1)
    assert subscribed.wait(10)
    client.disconnect()
    client.loop_stop()


def _publish_until_killed(broker: Mosquitto, count: int, wait_seconds: float) -> set[int]:
    """Publishes so many; the numbers that the broker confirmed before it was killed."""
    client = _client("publisher", clean=True)
    numbers: dict[int, int] = {}
    confirmed: set[int] = set()
    gone = Event()
    client.on_publish = lambda _c, _u, mid, *_: confirmed.add(mid)
    client.on_disconnect = lambda *_: gone.set()
    client.connect(HOST, broker.port)
    client.loop_start()
    for number in range(count):
        numbers[client.publish(_TOPIC, str(number), 1).mid] = number
        time.sleep(_PAUSE_SECONDS)
    if wait_seconds:
        eventually(lambda: len(confirmed) == count, what="the confirmation of all messages")
        time.sleep(wait_seconds)
    broker.stop(signal.SIGKILL)
    assert gone.wait(10)
    client.loop_stop()
    return {numbers[mid] for mid in confirmed}


def _kept(port: int, confirmed: set[int]) -> set[int]:
    """What the absentee finds when it comes back."""
    heard: set[int] = set()
    client = _client("absentee", clean=False)
    client.on_message = lambda _c, _u, message: heard.add(int(message.payload))
    client.connect(HOST, port)
    client.loop_start()
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline and not confirmed <= heard:
        time.sleep(0.05)
    client.disconnect()
    client.loop_stop()
    return heard


def _client(name: str, *, clean: bool) -> Any:
    return mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean, protocol=mqtt.MQTTv311
    )


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    cases = (
        ("saved on every change, killed while messages come", EVERY_CHANGE, 0.0),
        ("saved on every change, killed 1 s after the last message", EVERY_CHANGE, 1.0),
        ("never saved, killed 1 s after the last message", NEVER, 1.0),
    )
    for words, ways, wait_seconds in cases:
        with tempfile.TemporaryDirectory() as folder:
            results = [
                one_round(Path(folder) / str(number), ways, number, wait_seconds) for number in range(rounds)
            ]
        confirmed, lost = sum(one.confirmed for one in results), sum(one.lost for one in results)
        hit = sum(one.lost > 0 for one in results)
        sys.stdout.write(
            f"| {words} | {rounds} | {confirmed} | {lost} | {hit} | {max(one.lost for one in results)} |\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
