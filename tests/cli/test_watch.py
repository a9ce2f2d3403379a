"""``edge-agent watch`` with a real broker and a real daemon, as a process on pipes and on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from edge_agent.cli import stage
from tests.cli.command import PROGRAM, assert_one_line_and_hint, edge_agent
from tests.cli.conftest import DEVICE, House
from tests.testbeds.broker import Mosquitto
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually

DEADLINE_SECONDS = 40.0
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Watching:
    """A ``watch`` that runs, and what it has printed."""

    def __init__(self, process: subprocess.Popen[bytes], stream: int) -> None:
        self._process = process
        self._printed = bytearray()
        self._reader = Thread(target=self._read, args=(stream,), daemon=True)
        self._reader.start()

    @property
    def printed(self) -> str:
        return self._printed.decode("utf-8", "replace")

    @property
    def plain(self) -> str:
        return _ESCAPE.sub("", self.printed)

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.printed.splitlines(keepends=True) if line.endswith("\n")]

    def wait_for(self, text: str) -> None:
        eventually(lambda: text in self.plain, DEADLINE_SECONDS, f"{text!r} on the screen")

    def send(self, number: int) -> int:
        self._process.send_signal(number)
        code = self._process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        return code

    def _read(self, stream: int) -> None:
        with suppress(OSError):  # a terminal whose other end is closed
            while part := os.read(stream, 65_536):
                self._printed += part


@contextmanager
def watching(*arguments: str | Path, terminal: tuple[int, int] | None = None) -> Iterator[Watching]:
    """Runs it into a pipe, or on a terminal of so many columns and lines."""
    mine, its = pty.openpty() if terminal else os.pipe()
    if terminal:
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", terminal[1], terminal[0], 0, 0))
    process = subprocess.Popen(
        [*PROGRAM, "watch", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its if terminal else subprocess.STDOUT,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(its)
    try:
        yield Watching(process, mine)
    finally:
        process.kill()
        process.wait(DEADLINE_SECONDS)
        os.close(mine)


def test_one_picture_shows_a_real_device_and_says_that_it_is_well(house: House) -> None:
    done = eventually(lambda: _well(house), DEADLINE_SECONDS, "a device that is up")
    head, headings, line = done.out.splitlines()[:3]
    assert head.startswith("1 device · 1 up")
    assert headings.startswith("DEVICE")
    assert line.startswith(DEVICE)
    assert "tiny 1.0.0" in line
    assert done.err == ""


def _well(house: House) -> Any:
    done = edge_agent("watch", "--config", house.config, "--once")
    return done if done.code == 0 else None


def test_one_picture_for_programs_is_a_line_a_device(house: House) -> None:
    done = edge_agent("watch", "--broker", house.url, "--once", "--json")
    (document,) = [json.loads(line) for line in done.out.splitlines()]
    assert document["device"] == DEVICE
    assert document["status"] == "online"
    assert document["models"]["tiny"]["version"] == "1.0.0"
    assert document["per_minute"] is not None


def test_a_device_that_is_not_there_is_named_with_exit_code_1(house: House) -> None:
    done = edge_agent("watch", "--broker", house.url, "--once", "--json", "--device", "away")
    assert (done.code, done.out) == (1, "")
    assert "away" in done.err


def test_a_device_that_is_unwell_ends_one_picture_with_exit_code_1(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Probe(broker.port) as probe:
        probe.publish("edge-agent/a/health", {"status": "up"}, retain=True)
        probe.publish("edge-agent/b/health", {"status": "down", "reasons": ["no model found"]}, retain=True)
        done = edge_agent("watch", "--broker", broker.url, "--once")
    assert done.code == 1
    assert "no model found" in done.out
    assert done.out.index("\nb ") < done.out.index("\na ")


def test_two_hundred_devices_and_rubbish_between_them_are_all_in_one_picture(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Probe(broker.port) as probe:
        for number in range(200):
            probe.publish(f"edge-agent/pi-{number}/health", {"status": "up"}, retain=True, wait=False)
        for part in ("status", "health", "info", "model/x"):
            probe.publish(f"edge-agent/pi-7/{part}", b"\xff\x00[[[", retain=True)
        done = edge_agent("watch", "--broker", broker.url, "--once", "--json")
    devices = {json.loads(line)["device"] for line in done.out.splitlines()}
    assert len(devices - {"pi-7"}) == 199
    assert done.err == ""


def test_a_broker_that_is_away_ends_with_exit_code_5_and_a_hint() -> None:
    done = edge_agent("watch", "--broker", f"mqtt://{stage.HOST}:{stage.free_port()}")
    assert (done.code, done.out) == (5, "")
    assert_one_line_and_hint(done)


@pytest.mark.parametrize("device", ["+", "a/b", "#", ""])
def test_what_cannot_be_a_device_is_a_usage_error(device: str) -> None:
    done = edge_agent("watch", "--broker", "mqtt://127.0.0.1:1", "--device", device)
    assert done.code == 2
    assert_one_line_and_hint(done)


def test_each_change_is_a_line_and_the_brokers_absence_too(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker") as broker,
        watching("--broker", broker.url, "--json", "--device", "pi") as watch,
    ):
        with Probe(broker.port) as probe:
            probe.publish("edge-agent/pi/health", {"status": "up"}, retain=True)
            probe.publish("edge-agent/other/health", {"status": "up"}, retain=True)
            eventually(lambda: len(watch.documents) == 1, DEADLINE_SECONDS)
            probe.publish("edge-agent/pi/health", {"status": "up"}, retain=True)  # no change
            probe.publish("edge-agent/pi/health", {"status": "degraded", "reasons": ["hot"]}, retain=True)
            eventually(lambda: len(watch.documents) == 2, DEADLINE_SECONDS)
            probe.publish("edge-agent/pi/health", b"", retain=True)
            eventually(lambda: len(watch.documents) == 3, DEADLINE_SECONDS)
        assert [document.get("health") for document in watch.documents] == ["up", "degraded", None]
        assert watch.documents[2] == {"device": "pi", "removed": True}
        broker.stop()
        watch.wait_for("edge-agent: the broker is away: ")
        broker.start()
        watch.wait_for("edge-agent: the broker is back\n")
        with Probe(broker.port) as probe:
            probe.publish("edge-agent/pi/status", "offline", retain=True)
            watch.wait_for('"status": "offline"')
        assert watch.send(signal.SIGINT) == 0


def test_on_a_terminal_it_follows_the_devices_and_leaves_the_screen_as_it_was(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker") as broker,
        watching("--broker", broker.url, terminal=(80, 24)) as watch,
    ):
        watch.wait_for("no device has said anything yet")
        with Probe(broker.port) as probe:
            probe.publish("edge-agent/pi/status", "online", retain=True)
            probe.publish("edge-agent/pi/health", {"status": "degraded", "reasons": ["hot"]}, retain=True)
            watch.wait_for("└ hot")
        broker.stop()
        watch.wait_for("broker away: ")
        assert watch.send(signal.SIGINT) == 0
        assert "\x1b[?1049l" in watch.printed
        assert "Traceback" not in watch.printed


def test_a_terminal_that_closes_ends_it_and_the_screen_is_restored(house: House) -> None:
    with watching("--broker", house.url, terminal=(120, 30)) as watch:
        watch.wait_for(DEVICE)
        assert watch.send(signal.SIGTERM) == 128 + signal.SIGTERM
        assert "\x1b[?1049l" in watch.printed
