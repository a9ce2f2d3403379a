"""Secrets and texts: not in ``info``, health, diagnostics, logs, files, list of processes, environment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.deploy.hardened import PASSWORD, HardenedBroker, Keys
from tests.deploy.visitor import Visitor
from tests.security.asking import SENTENCE, House, ask, assert_well
from tests.testbeds.broker import HOST
from tests.testbeds.daemon import Daemon

TEXT = "geheimnis of a patient turn on the lamp"


@pytest.fixture
def by_password(tmp_path: Path, broker: HardenedBroker, keys: Keys, models: Path) -> Iterator[Daemon]:
    """A daemon that comes with a user name and a password."""
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    mqtt = {
        "port": broker.password_port,
        "tls": True,
        "ca_file": str(keys.ca),
        "username": "pi-1",
        "password_file": str(secret),
    }
    with Daemon(tmp_path / "daemon", 0, (models,), device="pi-1", settings={"mqtt": mqtt}) as running:
        running.wait_for_event("mqtt.connected")
        yield running


def diagnostics(operator: Visitor, command: str) -> dict[str, Any]:
    topic = f"edge-agent/pi-1/cmd/diagnostics/{command}"
    assert operator.publish(topic, '{"status":"init"}', retain=True) == "Success"
    told = operator.wait_until(lambda m: m.topic == topic and b'"successful"' in m.payload)
    result: dict[str, Any] = told.json["result"]
    return result


def everything_told(operator: Visitor) -> bytes:
    """All that the device published to its operator: status, health, info, states of commands."""
    return b"\n".join(message.topic.encode() + b" " + message.payload for message in operator.heard)


def files_below(*folders: Path) -> dict[str, bytes]:
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in paths}


def test_the_password_is_nowhere_but_in_its_file(
    tmp_path: Path, broker: HardenedBroker, by_password: Daemon, operator: Visitor, crm: Visitor
) -> None:
    assert_well(crm)
    document = diagnostics(operator, "1")
    assert document["settings"]["mqtt"]["username"] == "pi-1"
    assert PASSWORD not in json.dumps(document)
    assert PASSWORD.encode() not in everything_told(operator)
    assert PASSWORD not in by_password.log_text() + broker.log_text()
    process = Path("/proc") / str(by_password.pid)
    for view in ("cmdline", "environ", "comm"):
        assert PASSWORD.encode() not in (process / view).read_bytes()
    found = files_below(tmp_path / "daemon")
    assert not [path for path, content in found.items() if PASSWORD.encode() in content]


def test_a_wrong_password_is_not_told_either(
    tmp_path: Path, broker: HardenedBroker, keys: Keys, models: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("geheimnis that is wrong\n")
    mqtt = {"port": broker.password_port, "tls": True, "ca_file": str(keys.ca), "username": "pi-1"}
    settings = {"mqtt": {**mqtt, "password_file": str(secret)}}
    with Daemon(tmp_path / "daemon", 0, (models,), device="pi-1", settings=settings) as daemon:
        told = daemon.wait_for_event("mqtt.unreachable")
        assert "ot authori" in told["reason"] or "password" in told["reason"]
        assert "geheimnis" not in daemon.log_text() + broker.log_text()


def test_a_text_is_nowhere_but_in_the_request(house: House) -> None:
    """Diagnostics, state, health, log, and every file of daemon and broker while it runs."""
    health = len(house.operator.on("edge-agent/pi-1/health"))
    answer = ask(house.crm, json.dumps({"text": TEXT, "id": "1"}))
    assert "text" not in answer
    assert_well(house.crm)
    house.operator.wait_for("edge-agent/pi-1/health", count=health + 2)
    document = diagnostics(house.operator, "2")
    assert "geheimnis" not in json.dumps(document)
    assert b"geheimnis" not in everything_told(house.operator)
    found = files_below(house.folder)
    assert [path for path in found if path.endswith("in-hand")]  # digests of what is in hand, no text
    assert not [path for path, content in found.items() if b"geheimnis" in content]


def test_the_daemon_speaks_to_its_broker_and_to_nobody_else(house: House) -> None:
    process = psutil.Process(house.daemon.pid)
    assert_well(house.crm)
    connections = process.net_connections(kind="inet")
    assert {(one.raddr.ip, one.raddr.port) for one in connections} == {(HOST, house.broker.port)}
    assert not process.children()


def test_private_keys_are_named_by_their_path_and_never_shown(house: House, keys: Keys) -> None:
    lines = keys.key("pi-1").read_text().splitlines()[1:-1]
    document = json.dumps(diagnostics(house.operator, "3"))
    assert str(keys.key("pi-1")) in document
    told = everything_told(house.operator).decode("utf-8", "replace") + document + house.daemon.log_text()
    assert not [line for line in lines if line in told]


def test_info_holds_only_what_the_settings_page_names(house: House) -> None:
    info = house.operator.wait_for("edge-agent/pi-1/info")[-1].json
    assert info["settings"]["mqtt"]["password_file"] is None
    assert "password" not in {
        key for section in info["settings"].values() if isinstance(section, dict) for key in section
    }


def test_what_the_environment_holds_is_told_to_nobody(
    tmp_path: Path, broker: HardenedBroker, keys: Keys, models: Path, operator: Visitor
) -> None:
    settings = {"mqtt": keys.settings("pi-1", broker.port)}
    secret = {"SOME_TOKEN": "geheimnis-token", "AWS_SECRET_ACCESS_KEY": "geheimnis-key"}
    with Daemon(tmp_path / "d", 0, (models,), device="pi-1", settings=settings, environment=secret) as daemon:
        daemon.wait_for_event("mqtt.connected")
        document = diagnostics(operator, "4")
        assert "geheimnis" not in json.dumps(document)
        assert "geheimnis" not in daemon.log_text()
    assert b"geheimnis" not in everything_told(operator)


def test_the_text_is_shown_only_where_the_owner_asked_for_it(
    tmp_path: Path, broker: HardenedBroker, keys: Keys, models: Path, crm: Visitor
) -> None:
    """The two settings that let a text out do so, and only there."""
    settings = {
        "mqtt": keys.settings("pi-1", broker.port),
        "privacy": {"echo_text": True, "log_text": True},
    }
    with Daemon(tmp_path / "d", 0, (models,), device="pi-1", settings=settings) as daemon:
        daemon.wait_for_event("mqtt.connected")
        assert ask(crm, f"{SENTENCE}\n{TEXT}")["text"] == f"{SENTENCE}\n{TEXT}"
        assert daemon.wait_for_event("request.answered")["payload"] == f"{SENTENCE}\n{TEXT}"
