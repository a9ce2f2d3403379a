"""Secrets reach the daemon as credentials: plain, encrypted, or not at all; and nobody else sees them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.asker import Asker
from tests.systemd.service import UNIT, Service
from tests.testbeds.certificates import Authority, Issued
from tests.testbeds.installed_package import REPOSITORY
from tests.testbeds.systemd_container import SystemdContainer, calmly

pytestmark = pytest.mark.slow

SENTENCE = "turn on the lamp in the kitchen"
PASSWORD = "swordfish"
IN_UNIT = f"/run/credentials/{UNIT}"
ENCRYPTED = REPOSITORY / "systemd/encrypted-credentials.conf"
_LISTENERS = """
listener 1884 127.0.0.1
allow_anonymous false
password_file /etc/mosquitto/passwords
listener 8883 127.0.0.1
cafile /etc/mosquitto/ca.pem
certfile /etc/mosquitto/broker.pem
keyfile /etc/mosquitto/broker.key
require_certificate true
use_identity_as_username true
"""


@pytest.fixture(scope="module")
def device_certificate(tmp_path_factory: pytest.TempPathFactory, board: SystemdContainer) -> Iterator[Issued]:
    """Of the device; the broker has a listener that wants it, and one that wants the password."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    broker = authority.issue("broker")
    settings = board.root / "etc/mosquitto"
    plain = (settings / "mosquitto.conf").read_text()
    for name, source in (
        ("ca.pem", authority.ca_file),
        ("broker.pem", broker.certificate),
        ("broker.key", broker.key),
    ):
        (settings / name).write_bytes(source.read_bytes())
    (settings / "mosquitto.conf").write_text(plain + _LISTENERS)
    board.run("mosquitto_passwd", "-b", "-c", "/etc/mosquitto/passwords", "board", PASSWORD)
    board.run("sh", "-c", "chown mosquitto /etc/mosquitto/*")
    board.systemctl("restart", "mosquitto")
    yield authority.issue("board")
    (settings / "mosquitto.conf").write_text(plain)
    board.systemctl("restart", "mosquitto")


@pytest.fixture
def wants_password(service: Service, device_certificate: Issued) -> Service:
    service.settings(mqtt={"port": 1884, "username": "board"})
    return service


def seen(service: Service) -> list[str]:
    """The credentials that the running daemon was given."""
    return sorted(service.board.run("ls", f"/proc/{service.pid}/root{IN_UNIT}").stdout.split())


def test_a_password_in_the_credential_store_opens_the_broker(wants_password: Service, asker: Asker) -> None:
    wants_password.put("/etc/credstore/mqtt.password", PASSWORD + "\n", mode="600")
    wants_password.start()
    assert asker.ask(SENTENCE)["intent"] == "HassTurnOn"
    assert seen(wants_password) == ["mqtt.password"]


def test_an_encrypted_password_opens_the_broker(wants_password: Service, asker: Asker) -> None:
    wants_password.put(f"/run/systemd/system/{UNIT}.d/encrypted.conf", ENCRYPTED.read_text())
    wants_password.put(
        "/etc/credstore.encrypted/mqtt.password",
        wants_password.board.run(
            "systemd-creds", "encrypt", "--with-key=host", "--name=mqtt.password", "-", "-", text_in=PASSWORD
        ).stdout,
    )
    wants_password.board.systemctl("daemon-reload")
    wants_password.start()
    assert asker.ask(SENTENCE)["intent"] == "HassTurnOn"
    stored = wants_password.board.run("cat", "/etc/credstore.encrypted/mqtt.password").stdout
    assert PASSWORD not in stored


def test_without_a_password_it_runs_and_says_that_the_broker_refused_it(wants_password: Service) -> None:
    wants_password.start()
    assert wants_password.show()["ActiveState"] == "active"
    assert seen(wants_password) == []
    calmly(lambda: wants_password.events("mqtt.unreachable"), 60, "the broker's refusal in the log")


def test_a_key_in_the_credential_store_opens_a_broker_with_mutual_tls(
    service: Service, asker: Asker, device_certificate: Issued
) -> None:
    for name, source in (("key", device_certificate.key), ("cert", device_certificate.certificate)):
        service.put(f"/etc/credstore/mqtt.{name}", source.read_text(), mode="600")
    authority = Path(device_certificate.key).with_name("test-ca.pem")
    service.put("/etc/credstore/mqtt.ca", authority.read_text(), mode="600")
    service.settings(
        mqtt={
            "port": 8883,
            "tls": True,
            **{f"{name}_file": f"{IN_UNIT}/mqtt.{name}" for name in ("ca", "cert", "key")},
        }
    )
    service.start()
    assert asker.ask(SENTENCE)["intent"] == "HassTurnOn"
    assert seen(service) == ["mqtt.ca", "mqtt.cert", "mqtt.key"]


def test_nobody_else_can_read_them_and_no_log_or_environment_holds_them(wants_password: Service) -> None:
    wants_password.put("/etc/credstore/mqtt.password", PASSWORD + "\n", mode="600")
    wants_password.start()
    board = wants_password.board
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    assert board.run(*as_nobody, "cat", f"{IN_UNIT}/mqtt.password", check=False).returncode != 0
    assert PASSWORD not in board.run("cat", f"/proc/{wants_password.pid}/environ").stdout
    assert PASSWORD not in wants_password.said()
