"""Simulated devices at a real broker, beside a real daemon."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.simulation.simulated import SimulatedFleet
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually
from tests.tiny_bundle import build_tiny_bundle

PROGRAM = (sys.executable, "-c", "from edge_agent.cli.main import main; main()")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as started:
        yield started


def _keys(value: Any, where: str = "") -> set[str]:
    """Every key of a document by its path; names of models are no keys, and some values are free."""
    if not isinstance(value, dict) or where in ("/result", "/last_error"):
        return {where}
    names = {"*" if where == "/models" else key: item for key, item in value.items()}
    return {where}.union(*(_keys(item, f"{where}/{name}") for name, item in names.items()))


def test_the_documents_have_the_keys_of_a_real_daemon(tmp_path: Path, broker: Mosquitto) -> None:
    (tmp_path / "models").mkdir()
    build_tiny_bundle(tmp_path / "models" / "tiny")
    settings: dict[str, dict[str, Any]] = {
        "power": {"idle_watts": 3.0, "full_watts": 6.0},
        "telemetry": {"interval_seconds": 1},
    }
    daemon = Daemon(tmp_path, broker.port, (tmp_path / "models",), device="real", settings=settings)
    fleet = SimulatedFleet(
        tmp_path, broker.port, devices=1, model="tiny", health="1s", power="1s", canary="1s", update="1s"
    )
    ask = {"status": "init", "name": "tiny", "version": "9.9.9"}
    with Probe(broker.port, "edge-agent/#") as probe, daemon, fleet:
        for device in ("real", "sim-0001"):
            probe.wait_for(f"edge-agent/{device}/power", within_seconds=60)
            probe.publish(f"edge-agent/{device}/cmd/model-update/1", ask, retain=True)
        for part in ("health", "info", "model/tiny", "power", "cmd/model-update/1"):
            real = probe.wait_for(f"edge-agent/real/{part}", count=2 if "cmd" in part else 1)[-1]
            simulated = probe.wait_for(f"edge-agent/sim-0001/{part}", count=2 if "cmd" in part else 1)[-1]
            assert _keys(real.json) == _keys(simulated.json), part
            assert (real.qos, real.content_type) == (simulated.qos, simulated.content_type), part
        for device in ("real", "sim-0001"):
            probe.wait_until(lambda one, of=device: one.topic == f"edge-agent/{of}/canary", 90)
        assert probe.on("edge-agent/sim-0001/status")[-1].payload == b"online"
        size = {d: len(probe.on(f"edge-agent/{d}/health")[-1].payload) for d in ("real", "sim-0001")}
        assert size["sim-0001"] == pytest.approx(size["real"], rel=0.15)
        daemon.stop()


def test_ctrl_c_leaves_nothing_at_the_broker_not_even_of_devices_that_are_off(
    tmp_path: Path, broker: Mosquitto
) -> None:
    fleet = SimulatedFleet(tmp_path, broker.port, devices=40, off="30%", away="1h", update="1s")
    with Probe(broker.port, "edge-agent/#") as probe, fleet:
        for number in range(1, 41):
            probe.publish(
                f"edge-agent/sim-{number:04}/cmd/model-update/r",
                {"status": "init", "name": "home", "version": "2.0.0"},
                retain=True,
            )
        eventually(
            lambda: {one.topic for one in probe.heard if b'"successful"' in one.payload}, 60, "an update"
        )
        assert fleet.stop() == 0
        words = {one.topic: one.payload for one in probe.heard if one.topic.endswith("/status")}
        assert len(words) == 40
        offline = {one.topic for one in probe.heard if one.payload == b"offline"}
        assert offline == set(words)
    with Probe(broker.port, "edge-agent/#") as late:
        late.publish("edge-agent/mark", "x")
        late.wait_for("edge-agent/mark")
        left = [one.topic for one in late.heard if one.retain]
        assert [topic for topic in left if "/cmd/" not in topic] == []


def test_kept_topics_stay_where_that_is_asked_for(tmp_path: Path, broker: Mosquitto) -> None:
    with SimulatedFleet(tmp_path, broker.port, "--keep", devices=3) as fleet:
        assert fleet.stop() == 0
    with Probe(broker.port, "edge-agent/+/status") as probe:
        words = [probe.wait_for(f"edge-agent/sim-000{number}/status")[0].payload for number in (1, 2, 3)]
    assert words == [b"offline"] * 3


def test_power_that_is_lost_is_told_by_the_will_and_the_device_finishes_when_it_returns(
    tmp_path: Path, broker: Mosquitto
) -> None:
    topic = "edge-agent/sim-0001/cmd/model-update/r"
    fleet = SimulatedFleet(tmp_path, broker.port, devices=1, vanishing="100%", away="5s", update="1s")
    with Probe(broker.port, "edge-agent/#") as probe, fleet:
        probe.publish(topic, {"status": "init", "name": "home", "version": "2.0.0"}, retain=True)
        probe.wait_until(lambda one: one.topic.endswith("/status") and one.payload == b"offline", 30)
        probe.wait_until(lambda one: one.topic == topic and b'"successful"' in one.payload, 60)
        assert probe.on("edge-agent/sim-0001/model/home")[-1].json["installed_version"] == "2.0.0"


def test_devices_find_their_way_back_to_a_broker_that_was_away(tmp_path: Path, broker: Mosquitto) -> None:
    with SimulatedFleet(tmp_path, broker.port, devices=20) as fleet:
        broker.stop()
        fleet.wait_for(lambda counts: counts["connected"] == 0)
        broker.start()
        fleet.wait_for(lambda counts: counts["connected"] == 20)
        assert fleet.stop() == 0


def test_too_few_open_files_are_told_before_anything_connects(tmp_path: Path, broker: Mosquitto) -> None:
    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    done = subprocess.run(
        [*PROGRAM, "fleet", "simulate", "--devices", "1000", "--broker", broker.url],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=narrow,
        check=False,
    )
    assert done.returncode == 2
    assert "1,000 sessions need 1,100 open files" in done.stderr
    assert "ulimit -Hn 1100" in done.stderr


def test_it_ends_by_itself_after_its_duration(broker: Mosquitto) -> None:
    command = [*PROGRAM, "fleet", "simulate", "--devices", "5", "--duration", "1s", "--broker", broker.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "all said offline" in done.stdout
    assert done.stdout.splitlines()[-2].startswith("5 connected")
