"""``edge-agent fleet rollout`` as an operator runs it: processes that are killed, pipes and terminals."""

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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edge_agent.fleet.rollout.rollout_state import Phase, Standing
from edge_agent.fleet.rollout.state_file import StateFile
from tests.cli.command import PROGRAM, Done, assert_one_line_and_hint, edge_agent
from tests.fleet.rollout.mqtt_device import MqttDevice
from tests.testbeds.broker import Mosquitto
from tests.testbeds.waiting import eventually

DEADLINE_SECONDS = 90.0
FILE = "rollout-home-1.2.0.json"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@contextmanager
def fleet(broker: Mosquitto, group: str, *endings: str) -> Iterator[list[MqttDevice]]:
    """Devices of a group of their own."""
    made = [MqttDevice(broker.port, f"{group}-{n}", group=group, ending=end) for n, end in enumerate(endings)]
    with ExitStack() as stack:
        for device in made:
            stack.enter_context(device)
        yield made


def rollout(broker: Mosquitto, folder: Path, *arguments: str) -> Done:
    return edge_agent("fleet", "rollout", *arguments, "--broker", broker.url, cwd=folder)


@contextmanager
def begun(broker: Mosquitto, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """An operator's process that goes on beside the test."""
    process = subprocess.Popen(
        [*PROGRAM, "fleet", "rollout", *arguments, "--broker", broker.url],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_SECONDS)


def test_a_rollout_runs_to_its_end_and_names_the_command_that_moves_the_channel(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with fleet(broker, "halls", "kept", "kept", "kept") as devices:
        done = rollout(broker, tmp_path, "home", "1.2.0", "--to", "halls", "--waves", "1,100%", "--soak", "0")
    assert done.code == 0, done.err
    assert "home 1.2.0 → halls: 3 devices, in waves of 1, 3" in done.out
    assert "3 devices: 3 updated" in done.out
    assert "edge-agent fleet channel halls home 1.2.0" in done.out
    assert [device.installed for device in devices] == ["1.2.0"] * 3


def test_a_killed_operator_is_resumed_and_no_device_is_told_twice(broker: Mosquitto, tmp_path: Path) -> None:
    with fleet(broker, "kill", *["held"] * 6) as devices:
        order = ("home", "1.2.0", "--to", "kill", "--waves", "2,100%", "--soak", "0")
        with begun(broker, tmp_path, *order) as process:
            eventually(lambda: sum(len(one.begun) for one in devices) == 2, DEADLINE_SECONDS, "two begun")
            process.send_signal(signal.SIGKILL)
            process.wait(DEADLINE_SECONDS)
        with begun(broker, tmp_path, "--resume", FILE) as process:
            for one in devices:
                one.ending = "kept"
                one.release()
            process.wait(DEADLINE_SECONDS)
            assert process.returncode == 0
        assert [len(one.inits) for one in devices] == [1] * 6
    members = StateFile(tmp_path / FILE).read().members
    assert {member.standing for member in members.values()} == {Standing.UPDATED}


def test_ctrl_c_pauses_and_says_how_to_go_on_and_others_may_halt_it(
    broker: Mosquitto, tmp_path: Path
) -> None:
    file = StateFile(tmp_path / FILE)
    with fleet(broker, "stop", "held", "kept") as devices:
        with begun(broker, tmp_path, "home", "1.2.0", "--to", "stop", "--waves", "1,100%") as process:
            canary = eventually(lambda: [one for one in devices if one.begun], DEADLINE_SECONDS)[0]
            twice = rollout(broker, tmp_path, "resume", FILE)
            assert (twice.code, "drives this rollout already" in twice.err) == (2, True)
            process.send_signal(signal.SIGINT)
            out = process.communicate(timeout=DEADLINE_SECONDS)[0].decode()
            assert process.returncode == 128 + signal.SIGINT
        assert f"edge-agent fleet rollout resume {FILE}" in out
        assert file.read().phase is Phase.PAUSED
        with begun(broker, tmp_path, "resume") as process:
            eventually(lambda: file.driver() == str(process.pid), DEADLINE_SECONDS, "the lock")
            eventually(lambda: file.read().phase is Phase.RUNNING, DEADLINE_SECONDS, "it goes on")
            told = edge_agent("fleet", "rollout", "halt", FILE, "--broker", broker.url, cwd=tmp_path)
            assert "was told to halt" in told.out
            eventually(lambda: file.read().phase is Phase.HALTING, DEADLINE_SECONDS, "it halts")
            canary.release()
            process.communicate(timeout=DEADLINE_SECONDS)
            assert process.returncode == 4
    assert len([one for one in devices if one.begun]) == 1


def test_a_bad_version_halts_with_exit_code_4_and_json_tells_each_step(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with fleet(broker, "bad", "failed", "failed"):
        done = rollout(broker, tmp_path, "home", "1.2.0", "--to", "bad", "--json")
    assert done.code == 4
    documents: list[dict[str, Any]] = [json.loads(line) for line in done.out.splitlines()]
    assert [one["state"] for one in documents if one["kind"] == "phase"] == ["halting", "halted"]
    assert documents[-1]["counts"] == {"failed": 1, "not_asked": 1}
    shown = json.loads(edge_agent("fleet", "rollout", "show", "--json", cwd=tmp_path).out)
    assert {device["state"] for device in shown["devices"]} == {"failed", "not_asked"}


def test_on_a_terminal_the_picture_goes_and_the_lines_stay(broker: Mosquitto, tmp_path: Path) -> None:
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    with fleet(broker, "screen", "kept", "failed"):
        order = ["home", "1.2.0", "--to", "screen", "--soak", "1s", "--max-failures", "1", "--waves", "100%"]
        process = subprocess.Popen(
            [*PROGRAM, "fleet", "rollout", *order, "--broker", broker.url],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=its,
            stderr=its,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(its)
        printed = bytearray()
        with suppress(OSError):  # the other end is closed
            while part := os.read(mine, 65_536):
                printed += part
        os.close(mine)
        assert process.wait(DEADLINE_SECONDS) == 0
    plain = _ESCAPE.sub("", printed.decode("utf-8", "replace"))
    assert "screen-1  failed: failed_its_proof: golden sentence 3" in plain
    assert "soaks for another" in plain
    assert "2 devices: 1 updated, 1 failed" in plain


def test_a_file_names_the_devices_and_those_never_seen_are_named(broker: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "fleet.csv").write_text("device,tags\nfile-0,blue\nghost-1,blue;red\nfile-9,red\n")
    with fleet(broker, "file", "kept"):
        order = ("home", "1.2.0", "--to", "blue", "--inventory", "fleet.csv", "--waves", "1,100%")
        planned = rollout(broker, tmp_path, *order, "--dry-run")
        assert planned.out.splitlines()[0].endswith("file-0")
        assert not (tmp_path / FILE).exists()
        done = rollout(broker, tmp_path, *order, "--soak", "0", "--deadline", "1s")
    assert done.code == 0
    assert "1 never seen at this broker: ghost-1" in done.err
    assert "2 devices: 1 updated, 1 unreachable" in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("home", "1.2.0"),
        ("home", "1.2", "--to", "all"),
        ("HOME", "1.2.0", "--to", "all"),
        ("home", "1.2.0", "--to", "nobody-here"),
        ("home", "1.2.0", "--to", "all", "--waves", "5%,1%"),
        ("home", "1.2.0", "--to", "all", "--soak", "soon"),
        ("--resume", "none.json"),
        ("resume",),
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(
    broker: Mosquitto, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = rollout(broker, tmp_path, *arguments)
    assert done.code == 2
    assert_one_line_and_hint(done)
    assert list(tmp_path.glob("rollout-*")) == []
