"""Commands through the real daemon and a real broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Heard, Probe


def ended(probe: Probe, daemon: Daemon, operation: str, command_id: str) -> dict[str, Any]:
    """The final state of a command."""
    topic = f"{daemon.root}/cmd/{operation}/{command_id}"

    def is_final(message: Heard) -> bool:
        return (
            message.topic == topic
            and bool(message.payload)
            and message.json["status"] in ("successful", "failed")
        )

    document: dict[str, Any] = probe.wait_until(is_final, within_seconds=60).json
    return document


def order(probe: Probe, daemon: Daemon, operation: str, command_id: str) -> dict[str, Any]:
    probe.publish(f"{daemon.root}/cmd/{operation}/{command_id}", {"status": "init"}, retain=True)
    return ended(probe, daemon, operation, command_id)


def test_a_self_test_asks_every_part(daemon: Daemon, probe: Probe) -> None:
    done = order(probe, daemon, "self-test", "1")
    assert done["status"] == "successful", done
    assert set(done["result"]["checks"]) >= {"model tiny", "broker", "clock", "disk", "state_directory"}
    info = probe.wait_for(f"{daemon.root}/info")[-1].json
    assert info["operations"] == ["diagnostics", "model-rollback", "model-update", "restart", "self-test"]


def test_the_simple_form_is_given_an_id(daemon: Daemon, probe: Probe) -> None:
    probe.publish(f"{daemon.root}/request/self-test", "please")
    done = probe.wait_until(
        lambda m: m.topic.startswith(f"{daemon.root}/cmd/self-test/") and b"successful" in m.payload
    )
    assert done.json["status"] == "successful"


def test_an_unknown_operation_is_failed_by_name(daemon: Daemon, probe: Probe) -> None:
    done = order(probe, daemon, "format-disk", "1")
    assert done["status"] == "failed"
    assert "format-disk" in done["reason"]
    assert "self-test" in done["reason"]


def test_a_restart_begins_the_process_anew_and_once(daemon: Daemon, probe: Probe) -> None:
    pid = daemon.pid
    assert order(probe, daemon, "restart", "once")["status"] == "successful"
    daemon.wait_for_event("agent.ready", count=2, within_seconds=60)
    assert daemon.is_running
    assert daemon.pid == pid
    probe.publish(f"{daemon.root}/cmd/restart/once", {"status": "init"}, retain=True)  # a replay
    assert order(probe, daemon, "self-test", "after")["status"] == "successful"
    assert len(daemon.events("agent.ready")) == 2
    probe.publish(f"{daemon.root}/in/tiny", "turn on the light")
    assert probe.wait_for(f"{daemon.root}/out/tiny")[0].json["recognized"] is True


def test_a_command_that_came_while_the_device_was_away_is_executed_when_it_returns(
    tmp_path: Path, broker: Mosquitto, models: Path, probe: Probe
) -> None:
    daemon = Daemon(tmp_path / "daemon", broker.port, (models,))
    topic = f"{daemon.root}/cmd/self-test/early"
    probe.publish(topic, {"status": "init"}, retain=True)
    with daemon:
        assert ended(probe, daemon, "self-test", "early")["status"] == "successful"


def test_diagnostics_tell_what_helps_and_no_secret(tmp_path: Path, broker: Mosquitto, models: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    settings = {"mqtt": {"username": "pi", "password_file": str(password)}}
    with (
        Daemon(tmp_path / "daemon", broker.port, (models,), settings=settings) as daemon,
        Probe(broker.port, "edge-agent/#") as probe,
    ):
        probe.publish(f"{daemon.root}/in/tiny", "a private sentence")
        probe.wait_for(f"{daemon.root}/out/tiny")
        done = order(probe, daemon, "diagnostics", "1")
    assert done["status"] == "successful"
    result = done["result"]
    assert result["health"]["status"] == "up"
    assert result["settings"]["mqtt"]["username"] == "pi"
    assert "numpy" in result["packages"]
    assert "hunter2" not in json.dumps(done)
    assert "private sentence" not in json.dumps(done)


def test_without_a_state_directory_it_serves_and_names_what_it_cannot(
    tmp_path: Path, broker: Mosquitto, models: Path, probe: Probe
) -> None:
    (tmp_path / "file").write_text("")
    settings = {"device": {"state_directory": str(tmp_path / "file" / "state")}}
    with Daemon(tmp_path / "daemon", broker.port, (models,), settings=settings) as daemon:
        probe.publish(f"{daemon.root}/in/tiny", "turn on the light")
        assert probe.wait_for(f"{daemon.root}/out/tiny")[0].json["recognized"] is True
        health = probe.wait_until(lambda m: m.topic == f"{daemon.root}/health" and b'"degraded"' in m.payload)
        assert any("state" in reason for reason in health.json["reasons"])
        done = order(probe, daemon, "restart", "1")
        assert done["status"] == "failed"
        assert "recorded" in done["reason"]
        assert daemon.is_running
