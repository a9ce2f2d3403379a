from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import findings, stage
from edge_agent.cli.findings import State
from tests.cli.command import Done, edge_agent
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
    for about in ("platform", "settings", "runtime", "broker", "broker speed", "model tiny"):
        assert found[about]["state"] == "ok", found[about]
        assert found[about]["remedy"] is None
    assert "ai-edge-litert" in found["runtime"]["message"]
    assert "MQTT 5" in found["broker"]["message"]


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


def test_a_broker_that_is_away_is_a_problem_with_a_remedy(tiny_folder: Path, tmp_path: Path) -> None:
    port = stage.free_port()
    done = edge_agent("check", "--json", "--config", _settings(tmp_path, port, tiny_folder))
    broker = _by_subject(done)["broker"]
    assert done.code == 1
    assert broker["state"] == "problem"
    assert str(port) in broker["message"]
    assert broker["remedy"]


def test_something_else_on_the_brokers_port_is_a_problem(tiny_folder: Path, tmp_path: Path) -> None:
    with socket.create_server((stage.HOST, 0)) as mute:
        port = int(mute.getsockname()[1])
        done = edge_agent("check", "--json", "--config", _settings(tmp_path, port, tiny_folder))
    broker = _by_subject(done)["broker"]
    assert (done.code, broker["state"]) == (1, "problem")
    assert "does not answer" in broker["message"]


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
    finding = findings.judge_platform(python, "Linux", machine, "a description")
    assert finding.state is state
    assert (finding.remedy is None) == (state is State.OK)
