"""What chaos found, made small: a hang-up is no refusal of MQTT 5."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe
from tests.testbeds.proxy import Conditions, Proxy
from tests.tiny_bundle import build_tiny_bundle


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        assert isinstance(running, Mosquitto)
        yield running


def test_a_daemon_that_is_hung_up_on_once_comes_back_with_mqtt_5_and_answers_where_it_was_asked_to(
    tmp_path: Path, broker: Mosquitto
) -> None:
    models = build_tiny_bundle(tmp_path / "models" / "tiny").parent
    with (
        Proxy(broker.port) as proxy,
        Daemon(tmp_path / "daemon", proxy.port, (models,)) as daemon,
        Probe(broker.port, "reply/#") as probe,
    ):
        proxy.set(Conditions(hang_ups=1))
        proxy.reset()
        again = daemon.wait_for_event("mqtt.connected", count=2)
        probe.publish(f"{daemon.root}/in/tiny", "turn on the fan", response_topic="reply/one")
        answer = probe.wait_for("reply/one")[0]
        assert answer.json["intent"] == "HassTurnOn"
        assert again["protocol"] == 5
