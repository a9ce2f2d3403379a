"""Eavesdropping, forged brokers and forged devices."""

from __future__ import annotations

import json
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.requester import Requester
from edge_agent.link.tls import fingerprint
from tests.deploy.hardened import HardenedBroker, Keys
from tests.deploy.visitor import Visitor
from tests.security.asking import SENTENCE, ask, assert_well
from tests.security.tap import Tap
from tests.testbeds.broker import HOST, Mosquitto
from tests.testbeds.daemon import Daemon

SECRET = "geheimnis turn on the lamp"


def address(keys: Keys, port: int, certificate: str | None) -> BrokerAddress:
    reached = replace(BrokerAddress.from_url(f"mqtts://{HOST}:{port}"), ca_file=str(keys.ca))
    if certificate is None:
        return reached
    return replace(reached, cert_file=str(keys.certificate(certificate)), key_file=str(keys.key(certificate)))


def daemon_at(folder: Path, port: int, models: Path, mqtt: dict[str, Any], *, device: str = "pi-1") -> Daemon:
    return Daemon(folder, port, (models,), device=device, settings={"mqtt": mqtt})


def pin_of(certificate: Path) -> str:
    return fingerprint(ssl.PEM_cert_to_DER_cert(certificate.read_text()))


def test_a_request_goes_round_with_client_certificates_and_the_shipped_rights(
    broker: HardenedBroker, daemon: Daemon, crm: Visitor, keys: Keys
) -> None:
    assert ask(crm, json.dumps({"text": SENTENCE, "id": "42"}))["id"] == "42"
    with Requester.connect(address(keys, broker.port, "app.crm"), timeout=20) as requester:
        assert requester.request("tiny", None, SENTENCE, timeout=20)["intent"] == "HassTurnOn"
    assert not daemon.events("mqtt.refused")


def test_a_listener_on_the_wire_sees_no_text_with_tls(
    tmp_path: Path, broker: HardenedBroker, keys: Keys, models: Path
) -> None:
    with Tap(broker.port) as tap:
        mqtt = keys.settings("pi-1", tap.port)
        with daemon_at(tmp_path / "d", tap.port, models, mqtt) as daemon:
            daemon.wait_for_event("mqtt.connected")
            with Visitor(tap.port, "#", keys=keys, certificate="app.crm") as crm:
                assert ask(crm, SECRET)["model"] == "tiny"
            daemon.stop()
        assert len(tap.heard) > 1000
        assert b"geheimnis" not in tap.heard
        assert b"lamp" not in tap.heard
        assert b"edge-agent/pi-1" not in tap.heard


def test_the_listener_on_the_wire_does_see_it_without_tls(tmp_path: Path, models: Path) -> None:
    with Mosquitto(tmp_path / "plain") as plain, Tap(plain.port) as tap:
        with daemon_at(tmp_path / "d", tap.port, models, {}) as daemon:
            daemon.wait_for_event("mqtt.connected")
            with Visitor(tap.port, "edge-agent/pi-1/out/#") as crm:
                ask(crm, SECRET)
            daemon.stop()
        assert b"geheimnis" in tap.heard


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ca", "unknown authority"),
        ("name", "another host name"),
        ("pin", "none of mqtt.tls_pins"),
    ],
)
def test_a_daemon_gives_nothing_to_a_forged_broker(
    tmp_path: Path, broker: HardenedBroker, keys: Keys, strangers: Keys, models: Path, change: str, words: str
) -> None:
    changes: dict[str, dict[str, Any]] = {
        "ca": {"ca_file": str(strangers.ca)},
        "name": {"tls_server_name": "broker.example.com"},
        "pin": {"tls_pins": [pin_of(strangers.certificate("broker"))]},
    }
    forged = {**keys.settings("pi-1", broker.port), **changes[change]}
    with daemon_at(tmp_path / "d", broker.port, models, forged) as daemon:
        assert words in daemon.wait_for_event("mqtt.unreachable")["reason"]
        daemon.stop()
        assert not daemon.events("mqtt.connected")
    assert "u'pi-1'" not in broker.log_text()


def test_a_daemon_takes_the_broker_that_is_pinned(
    tmp_path: Path, broker: HardenedBroker, keys: Keys, models: Path, crm: Visitor
) -> None:
    mqtt = {**keys.settings("pi-1", broker.port), "tls_pins": [pin_of(keys.certificate("broker"))]}
    with daemon_at(tmp_path / "d", broker.port, models, mqtt) as daemon:
        daemon.wait_for_event("mqtt.connected")
        assert_well(crm)


def test_a_device_of_another_authority_is_refused(
    tmp_path: Path, broker: HardenedBroker, keys: Keys, strangers: Keys, models: Path
) -> None:
    forged = {**strangers.settings("pi-1", broker.port), "ca_file": str(keys.ca)}
    with daemon_at(tmp_path / "d", broker.port, models, forged) as daemon:
        daemon.wait_for_event("mqtt.unreachable")
        daemon.stop()
        assert not daemon.events("mqtt.connected")
    assert "u'pi-1'" not in broker.log_text()


def test_a_device_under_anothers_name_writes_nothing_there(
    tmp_path: Path, broker: HardenedBroker, keys: Keys, models: Path, operator: Visitor
) -> None:
    """Broken into pi-2, with its certificate, and set up as pi-1."""
    forged = keys.settings("pi-2", broker.port)
    with daemon_at(tmp_path / "d", broker.port, models, forged) as daemon:
        refused = daemon.wait_for_event("mqtt.refused")
        assert "Not authorized" in refused["what"]
        daemon.stop()
    with Visitor(broker.port, keys=keys, certificate="pi-1") as device:
        assert device.publish("edge-agent/pi-1/power", "marker") == "Success"
    operator.wait_for("edge-agent/pi-1/power")
    assert {message.topic for message in operator.heard if message.topic.startswith("edge-agent/")} == {
        "edge-agent/pi-1/power"
    }


def test_a_stranger_without_a_certificate_learns_nothing(
    broker: HardenedBroker, daemon: Daemon, keys: Keys, strangers: Keys
) -> None:
    forged = replace(address(strangers, broker.port, "app.crm"), ca_file=str(keys.ca))
    for stranger in (address(keys, broker.port, None), forged):
        with pytest.raises(BrokerError), Requester.connect(stranger, timeout=10):
            pass
