"""``make-certificates.sh``: what it makes, what it refuses, and that it never overwrites."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.hardened import FILES, SCRIPT, HardenedBroker, Keys, make_keys, run_script
from tests.deploy.visitor import Visitor
from tests.testbeds.broker import HOST
from tests.testbeds.waiting import eventually


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def own(keys: Keys, tmp_path: Path) -> Keys:
    """A copy to change."""
    return Keys(Path(shutil.copytree(keys.folder, tmp_path / "keys")))


def test_everything_is_for_its_owner_alone(own: Keys) -> None:
    assert own.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in own.folder.iterdir()} == {0o600}


def test_the_script_is_clean() -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([program, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_certificates_are_of_the_authority_and_for_their_purpose(own: Keys) -> None:
    for name, purpose in (("broker", "sslserver"), ("pi-1", "sslclient"), ("app.crm", "sslclient")):
        command = ["openssl", "verify", "-x509_strict", "-CAfile", str(own.ca), "-purpose", purpose]
        done = subprocess.run(
            [*command, str(own.certificate(name))], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
    command = [
        "openssl",
        "verify",
        "-CAfile",
        str(own.ca),
        "-purpose",
        "sslserver",
        str(own.certificate("pi-1")),
    ]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (("ca",), "there already"),
        (("broker", "other.example"), "there already"),
        (("device", "pi-1"), "there already"),
        (("client", "app.crm"), "there already"),
        (("device", "app.crm"), "letters, digits"),
        (("device", "../pi"), "letters, digits"),
        (("device", "ca"), "taken"),
        (("device", "x" * 65), "letters, digits"),
        (("client", "crm"), "has a dot"),
        (("client", "app.crm/CN=pi-1"), "has a dot"),
        (("broker", "bad name"), "not a host name"),
        (("revoke", "nobody"), "no certificate"),
        (("something",), "usage"),
        ((), "usage"),
    ],
)
def test_what_is_there_or_cannot_be_is_refused_and_nothing_changes(
    own: Keys, step: tuple[str, ...], words: str
) -> None:
    before = contents(own.folder)
    done = run_script(own.folder, *step)
    assert done.returncode != 0
    assert words in done.stderr
    assert contents(own.folder) == before


def test_without_an_authority_nothing_is_signed(tmp_path: Path) -> None:
    done = run_script(tmp_path / "absent", "device", "pi-1")
    assert done.returncode != 0
    assert "no authority" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_withdrawn_certificate_opens_nothing_and_a_new_one_of_the_same_name_does(
    own: Keys, tmp_path: Path
) -> None:
    stolen = Keys(Path(shutil.copytree(own.folder, tmp_path / "stolen")))
    assert run_script(own.folder, "revoke", "pi-1").returncode == 0
    assert run_script(own.folder, "device", "pi-1").returncode == 0
    with HardenedBroker(tmp_path / "broker", own) as broker:
        with Visitor(broker.port, keys=own, certificate="pi-1") as device:
            assert device.publish("edge-agent/pi-1/status", "online") == "Success"
        with Visitor(broker.port, keys=own, certificate="pi-2") as other:
            assert other.publish("edge-agent/pi-2/status", "online") == "Success"
        done = subprocess.run(
            [
                "mosquitto_pub", "-h", HOST, "-p", str(broker.port), "--cafile", str(own.ca), "-q", "1",
                "--cert", str(stolen.certificate("pi-1")), "--key", str(stolen.key("pi-1")),
                "-t", "edge-agent/pi-1/status", "-m", "forged",
            ],
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        eventually(
            lambda: "certificate verify failed" in broker.log_text(), what="a line in the broker's log"
        )


def test_a_name_can_be_withdrawn_again(own: Keys) -> None:
    for _ in range(2):
        assert run_script(own.folder, "revoke", "pi-1").returncode == 0
        assert run_script(own.folder, "device", "pi-1").returncode == 0
    command = ["openssl", "crl", "-in", str(own.folder / "revoked.pem"), "-noout", "-text"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert listed.count("Serial Number") == 2


def test_the_readme_names_every_file_and_every_step() -> None:
    readme = (FILES / "README.md").read_text(encoding="utf-8")
    for path in FILES.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert path.relative_to(FILES).as_posix() in readme, path
    for step in ("ca", "broker", "device", "client", "revoke"):
        assert f"make-certificates.sh keys {step}" in readme


def test_addresses_and_names_are_told_apart(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys", broker=("broker.example.com", "192.0.2.7", "2001:db8::1"))
    done = subprocess.run(
        ["openssl", "x509", "-in", str(keys.certificate("broker")), "-noout", "-ext", "subjectAltName"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "DNS:broker.example.com, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:1" in done.stdout
