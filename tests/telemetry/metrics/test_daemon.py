"""The endpoint for Prometheus of a real daemon."""

from __future__ import annotations

import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.testbeds.broker import HOST, Mosquitto, free_port
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually


def page(port: int) -> str:
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def values(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name.removeprefix("edge_agent_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page(port))
        for sample in family.samples
    }


def test_a_daemon_tells_prometheus_what_it_does(tiny_folder: Path, tmp_path: Path) -> None:
    port = free_port()
    with (
        Mosquitto(tmp_path / "broker") as broker,
        Daemon(
            tmp_path / "daemon",
            broker.port,
            (tiny_folder,),
            settings={"metrics": {"enabled": True, "port": port}},
        ) as daemon,
        Probe(broker.port, f"{daemon.root}/out/tiny") as probe,
    ):
        for number in range(5):
            probe.publish(f"{daemon.root}/in/tiny", {"text": "turn on the light", "id": str(number)})
        probe.publish(f"{daemon.root}/in/tiny", b"\xff")
        probe.wait_for(f"{daemon.root}/out/tiny", count=6)
        told = values(port)
        assert told["messages_received_total", (("result", "ok"),)] == 5
        assert told["messages_received_total", (("result", "bad_encoding"),)] == 1
        assert told["inference_duration_seconds_count", (("stage", "total"),)] == 5
        assert told["model_serving", (("name", "tiny"),)] == 1
        assert told["mqtt_connected", ()] == 1
        assert "turn on" not in page(port)
        eventually(
            lambda: values(port)["health_status", (("edge_agent_health_status", "up"),)] == 1, 20, "up"
        )
        eventually(lambda: values(port)["running_correctly_seconds_total", ()] > 0, 20, "time that is well")
        broker.stop()
        eventually(lambda: values(port)["mqtt_connected", ()] == 0, 20, "a link that is away")
        promtool = shutil.which("promtool")
        if promtool is not None:
            subprocess.run([promtool, "check", "metrics"], input=page(port).encode(), check=True, timeout=60)
        broker.start()
        assert daemon.stop() == -15
        with pytest.raises(OSError, match="refused"):
            page(port)


def test_a_port_that_is_taken_is_a_reason_of_health_and_the_daemon_serves(
    tiny_folder: Path, tmp_path: Path
) -> None:
    with (
        socket.create_server((HOST, 0)) as taken,
        Mosquitto(tmp_path / "broker") as broker,
        Daemon(
            tmp_path / "daemon",
            broker.port,
            (tiny_folder,),
            settings={"metrics": {"enabled": True, "port": taken.getsockname()[1]}},
        ) as daemon,
        Probe(broker.port, f"{daemon.root}/health") as probe,
    ):
        told = probe.wait_until(lambda message: b"metrics: cannot listen" in message.payload, 20).json
        assert told["status"] == "degraded"
        assert any("Address already in use" in reason for reason in told["reasons"])
