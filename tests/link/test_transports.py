"""The ways to a broker: TCP, TLS with and without a certificate of our own, websockets, a unix socket."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.requester import Requester
from tests.testbeds.broker import HOST, Mosquitto, free_port, listens
from tests.testbeds.waiting import eventually

# paho leaves the socket of a handshake that failed to the garbage collector
leaves_a_socket = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def reaches(address: BrokerAddress) -> bool:
    """Whether a message goes there and back."""
    with Requester.connect(address, timeout=5) as requester:
        assert requester.protocol == 5
        return requester.devices(timeout=0.2) == {}


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority, and a broker's and a device's certificate of it."""
    folder = tmp_path_factory.mktemp("keys")
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test-ca",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.pem",
    )  # fmt: skip
    for name in ("broker", "device"):
        extensions = folder / f"{name}.ext"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n")
        openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.csr",
        )  # fmt: skip
        openssl(
            "x509", "-req", "-in", f"{folder}/{name}.csr", "-CA", f"{folder}/ca.pem",
            "-CAkey", f"{folder}/ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", str(extensions), "-out", f"{folder}/{name}.pem",
        )  # fmt: skip
    return folder


def test_websockets(tmp_path: Path) -> None:
    port = free_port()
    with Mosquitto(tmp_path / "b", extra=(f"listener {port}", "protocol websockets")):
        eventually(lambda: listens(port))
        assert reaches(BrokerAddress.from_url(f"ws://{HOST}:{port}/mqtt"))


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    with Mosquitto(tmp_path / "b", extra=(f"listener 0 {path}",)):
        assert reaches(BrokerAddress.from_url(f"unix://{path}"))


@leaves_a_socket
def test_tls_with_a_certificate_of_the_broker(tmp_path: Path, keys: Path) -> None:
    port = free_port()
    listener = (
        f"listener {port} {HOST}",
        f"cafile {keys}/ca.pem",
        f"certfile {keys}/broker.pem",
        f"keyfile {keys}/broker.key",
    )
    with Mosquitto(tmp_path / "b", extra=listener):
        address = replace(BrokerAddress.from_url(f"mqtts://{HOST}:{port}"), ca_file=f"{keys}/ca.pem")
        assert reaches(address)
        with pytest.raises(BrokerError, match=r"(?i)certificate"):
            reaches(replace(address, ca_file=None))


@leaves_a_socket
def test_tls_with_a_certificate_of_our_own(tmp_path: Path, keys: Path) -> None:
    port = free_port()
    listener = (
        f"listener {port} {HOST}",
        f"cafile {keys}/ca.pem",
        f"certfile {keys}/broker.pem",
        f"keyfile {keys}/broker.key",
        "require_certificate true",
        "use_identity_as_username true",
    )
    with Mosquitto(tmp_path / "b", extra=listener):
        address = replace(BrokerAddress.from_url(f"mqtts://{HOST}:{port}"), ca_file=f"{keys}/ca.pem")
        own = replace(address, cert_file=f"{keys}/device.pem", key_file=f"{keys}/device.key")
        assert reaches(own)
        with pytest.raises(BrokerError):
            reaches(address)


def test_a_certificate_file_that_is_missing_is_named_as_a_broker_error(tmp_path: Path) -> None:
    address = BrokerAddress(HOST, free_port(), tls=True, ca_file=str(tmp_path / "absent.pem"))
    with pytest.raises(BrokerError, match="No such file"):
        reaches(address)


@leaves_a_socket
def test_nobody_there_is_a_broker_error(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="cannot reach the broker"):
        reaches(BrokerAddress(HOST, free_port()))
    with pytest.raises(BrokerError, match="cannot reach the broker"):
        reaches(BrokerAddress(str(tmp_path / "absent.sock"), transport="unix"))
