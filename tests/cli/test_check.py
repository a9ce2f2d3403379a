from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from edge_agent.cli import findings_platform, stage
from edge_agent.cli.findings import State
from tests.cli.command import DEADLINE_SECONDS, PROGRAM, Done, edge_agent
from tests.cli.conftest import House


def _by_subject(done: Done) -> dict[str, dict[str, Any]]:
    return {finding["about"]: finding for finding in json.loads(done.out)}


def _settings(tmp_path: Path, port: int, models: Path) -> Path:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[mqtt]\nhost = "{stage.HOST}"\nport = {port}\n[models]\ndirectories = {json.dumps([str(models)])}\n'
    )
    return config


def test_a_machine_that_is_well_has_no_problem(house: House) -> None:
    done = edge_agent("check", "--config", house.config, "--json")
    found = _by_subject(done)
    assert done.code == 0
    assert all(finding["state"] != "problem" for finding in found.values())
    for about in (
        *("platform", "settings", "runtime", "memory", "disk", "permissions"),
        *("broker", "broker speed", "daemon", "model tiny"),
    ):
        assert found[about]["state"] == "ok", found[about]
        assert found[about]["remedy"] is None
    assert "ai-edge-litert" in found["runtime"]["message"]
    assert "MQTT 5" in found["broker"]["message"]
    assert "under-test is up" in found["daemon"]["message"]
    for finding in json.loads(done.out):
        assert finding.keys() == {"about", "state", "message", "remedy"}
        assert (finding["state"] == "ok") == (finding["remedy"] is None), finding


@pytest.fixture
def default_mosquitto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A Mosquitto as Debian ships it, without ``set_tcp_nodelay``."""
    monkeypatch.setattr(stage, "_MOSQUITTO", stage._MOSQUITTO.replace("set_tcp_nodelay true\n", ""))
    port = stage.free_port()
    with stage.broker(tmp_path, port):
        yield port


def test_a_broker_without_tcp_nodelay_is_found_with_its_remedy(
    default_mosquitto: int, tiny_folder: Path, tmp_path: Path
) -> None:
    done = edge_agent("check", "--json", "--config", _settings(tmp_path, default_mosquitto, tiny_folder))
    speed = _by_subject(done)["broker speed"]
    assert done.code == 1
    assert speed["state"] == "problem"
    assert "set_tcp_nodelay true" in speed["remedy"]


def test_a_broker_of_mqtt_3_1_1_alone_is_well(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "mosquitto_path", lambda: None)
    port = stage.free_port()
    with stage.broker(tmp_path, port) as name:
        done = edge_agent("check", "--json", "--config", _settings(tmp_path, port, tiny_folder))
    assert name == "amqtt"
    assert "MQTT 3.1.1" in _by_subject(done)["broker"]["message"]


def test_something_that_hangs_on_the_brokers_port_is_a_problem_and_hangs_nothing(
    tiny_folder: Path, tmp_path: Path
) -> None:
    with socket.create_server((stage.HOST, 0)) as mute:
        port = int(mute.getsockname()[1])
        begun = monotonic()
        done = edge_agent("check", "--json", "--config", _settings(tmp_path, port, tiny_folder))
    found = _by_subject(done)
    assert (done.code, found["broker"]["state"]) == (1, "problem")
    assert "does not answer" in found["broker"]["message"]
    assert monotonic() - begun < DEADLINE_SECONDS / 2  # 18 s are allowed, on a quiet machine
    assert found["model tiny"]["state"] == "ok"


def test_wrong_settings_are_a_finding_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[inference]\nthreads = 0\n")
    done = edge_agent("check", "--json", "--config", config)
    found = _by_subject(done)
    assert done.code == 1
    assert found["settings"]["state"] == "problem"
    assert "inference.threads" in found["settings"]["message"]
    assert found["runtime"]["state"] == "ok"


def test_a_model_that_is_altered_is_a_problem_that_names_the_file(
    house: House, tiny_folder: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny_folder, models / "tiny")
    (models / "tiny" / "vocab.txt").write_text("nonsense")
    done = edge_agent("check", "--json", "--config", _settings(tmp_path, house.port, models))
    model = _by_subject(done)["model tiny"]
    assert (done.code, model["state"]) == (1, "problem")
    assert "vocab.txt" in model["message"]
    assert str(models / "tiny") in model["remedy"]


def test_for_people_each_problem_stands_above_its_remedy(tiny_folder: Path, tmp_path: Path) -> None:
    done = edge_agent("check", "--config", _settings(tmp_path, stage.free_port(), tiny_folder))
    lines = done.out.splitlines()
    broker = next(number for number, line in enumerate(lines) if line.startswith("problem  broker"))
    assert lines[broker + 1].lstrip().startswith("remedy:")
    assert lines[-1].startswith("1 problem")


def test_on_a_terminal_of_80_columns_nothing_is_wider(tiny_folder: Path, tmp_path: Path) -> None:
    config = _settings(tmp_path, stage.free_port(), tiny_folder)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    with subprocess.Popen(
        [*PROGRAM, "check", "--config", str(config)], stdout=theirs, env={**environment, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        drawn = b""
        with suppress(OSError):  # a terminal whose other end is closed says EIO
            while part := os.read(ours, 65_536):
                drawn += part
        os.close(ours)
        assert process.wait(DEADLINE_SECONDS) == 1
    lines = re.sub(r"\x1b\[[0-9;]*m", "", drawn.decode()).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert any(line.startswith("problem  broker") for line in lines)
    assert lines[-1].startswith("1 problem")


@pytest.mark.parametrize(
    ("python", "machine", "state"),
    [
        ((3, 11), "x86_64", State.OK),
        ((3, 13), "aarch64", State.OK),
        ((3, 9), "x86_64", State.PROBLEM),
        ((3, 14), "aarch64", State.PROBLEM),
        ((3, 11), "armv7l", State.OK),
        ((3, 13), "armv7l", State.PROBLEM),
        ((3, 12), "riscv64", State.WARNING),
    ],
)
def test_the_platform_is_judged_by_python_and_processor(
    python: tuple[int, int], machine: str, state: State
) -> None:
    finding = findings_platform.judge_platform(python, "Linux", machine, "a description")
    assert finding.state is state
    assert (finding.remedy is None) == (state is State.OK)
