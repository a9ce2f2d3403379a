"""The shipped broker's limits, its memory of what waits, and its log."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from tests.deploy.hardened import FILES, HardenedBroker, Keys
from tests.deploy.visitor import Visitor
from tests.testbeds.broker import HOST, listens
from tests.testbeds.waiting import eventually


def test_by_default_there_is_no_listener_without_tls(tmp_path: Path, keys: Keys) -> None:
    with HardenedBroker(tmp_path / "b", keys) as broker:
        assert isinstance(broker, HardenedBroker)
        assert not listens(broker.plain_port)
        assert not listens(broker.password_port)
        assert broker.log_text().count("Opening ipv4 listen socket") == 1


def test_clients_are_told_the_largest_packet_and_what_fits_is_taken(
    broker: HardenedBroker, keys: Keys
) -> None:
    with Visitor(broker.port, keys=keys, certificate="app.crm") as crm:
        assert crm.largest_packet == 131_072
        assert crm.publish("edge-agent/pi-1/in/home", b"x" * 130_000) == "Success"


def test_too_large_a_packet_ends_the_connection(broker: HardenedBroker) -> None:
    """By the plain listener, with a CONNECT of 300,000 bytes, before anybody has given a name."""
    with socket.create_connection((HOST, broker.plain_port), timeout=20) as stranger:
        stranger.sendall(b"\x10\xe0\xa7\x12")
        assert stranger.recv(1) == b""
    assert listens(broker.plain_port)


def test_what_waits_for_a_device_survives_a_restart_of_the_broker(tmp_path: Path, keys: Keys) -> None:
    broker = HardenedBroker(tmp_path / "b", keys)
    requests = "edge-agent/pi-1/in/+"
    with broker:
        with Visitor(
            broker.port, requests, keys=keys, certificate="pi-1", client_id="d", session_seconds=600
        ):
            pass
        with Visitor(broker.port, keys=keys, certificate="app.crm") as crm:
            for number in range(200):
                assert crm.publish("edge-agent/pi-1/in/home", f"text {number}") == "Success"
        broker.stop(signal.SIGTERM)
        assert b"text 199" in broker.database.read_bytes()  # in the clear: docs/security.md says so
        broker.start()
        with Visitor(
            broker.port, keys=keys, certificate="pi-1", client_id="d", session_seconds=600
        ) as device:
            heard = device.wait_for("edge-agent/pi-1/in/home", count=200)
    assert [message.payload for message in heard] == [b"text %d" % number for number in range(200)]


def test_with_the_client_id_tied_to_the_name_no_device_can_take_anothers_session(
    tmp_path: Path, keys: Keys
) -> None:
    tied = {"#use_username_as_clientid true": "use_username_as_clientid true"}
    requests = "edge-agent/pi-2/in/+"
    with HardenedBroker(tmp_path / "b", keys, replacements=tied) as broker:
        with Visitor(
            broker.port, requests, keys=keys, certificate="pi-2", client_id="x", session_seconds=600
        ):
            pass
        with Visitor(broker.port, keys=keys, certificate="app.crm") as crm:
            assert crm.publish("edge-agent/pi-2/in/home", "for pi-2") == "Success"
        with Visitor(
            broker.port, keys=keys, certificate="pi-1", client_id="pi-2", session_seconds=600
        ) as thief:
            assert not thief.session_present
        with Visitor(
            broker.port, keys=keys, certificate="pi-2", client_id="x", session_seconds=600
        ) as device:
            assert device.wait_for("edge-agent/pi-2/in/home")[0].payload == b"for pi-2"


def test_the_log_tells_who_came_and_holds_neither_text_nor_topic(tmp_path: Path, keys: Keys) -> None:
    with HardenedBroker(tmp_path / "b", keys) as broker:
        assert isinstance(broker, HardenedBroker)
        with Visitor(broker.port, "edge-agent/pi-1/in/+", keys=keys, certificate="pi-1") as device:
            with Visitor(broker.port, keys=keys, certificate="app.crm") as crm:
                assert crm.publish("edge-agent/pi-1/in/home", "geheimnis one") == "Success"
                assert crm.publish("edge-agent/pi-1/geheimnis-topic", "geheimnis two") == "Not authorized"
            device.wait_for("edge-agent/pi-1/in/home")
        eventually(lambda: "u'pi-1'" in broker.log_text())
        assert "geheimnis" not in broker.log_text()
        assert "in/home" not in broker.log_text()


def test_every_option_is_one_that_mosquitto_knows(broker: HardenedBroker) -> None:
    """Mosquitto 2.0 warns of what it does not know, and ends on what it cannot read."""
    log = broker.log_text()
    assert "Unknown configuration" not in log
    assert "Error" not in log.partition("running")[0]


def test_no_line_is_longer_than_a_page() -> None:
    for path in FILES.rglob("*"):
        if path.is_file() and path.suffix != ".md":
            assert max(map(len, path.read_text(encoding="utf-8").splitlines())) <= 120, path
