from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from edge_agent.errors import SettingsError
from edge_agent.fleet.repository.creating import Plan, RolePlan
from edge_agent.fleet.repository.keys import KeyRing
from edge_agent.fleet.repository.rotating import refresh
from tests.fleet.repository.workplace import PASSPHRASE, Workplace


def test_private_keys_are_encrypted_and_for_their_owner_only(empty: Workplace) -> None:
    files = sorted(empty.keys.glob("*.pem"))
    assert [file.name for file in files] == [
        "root-1.pem",
        "snapshot-1.pem",
        "targets-1.pem",
        "timestamp-1.pem",
    ]
    for file in files:
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(empty.keys.stat().st_mode) == 0o700
    assert empty.ring().open_to_others() == []


def test_nothing_secret_lies_in_the_repository_or_the_list_of_keys(empty: Workplace) -> None:
    for content in (*empty.files().values(), (empty.keys / "keys.json").read_bytes()):
        assert b"PRIVATE" not in content
        assert PASSPHRASE.encode() not in content


def test_a_wrong_passphrase_signs_nothing(empty: Workplace) -> None:
    before = empty.files()
    wrong = "wrong horse battery"
    with empty.open(passphrase=wrong) as repository, pytest.raises(SettingsError, match="wrong passphrase"):
        refresh(repository)
    assert empty.files() == before


def test_a_short_passphrase_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="shorter than 12"):
        KeyRing([tmp_path / "keys"], lambda purpose: "short").create("root")
    assert not (tmp_path / "keys").exists()


def test_keys_that_others_may_read_are_told(empty: Workplace) -> None:
    (empty.keys / "root-1.pem").chmod(0o640)
    assert empty.ring().open_to_others() == [empty.keys / "root-1.pem"]


def test_a_key_that_is_not_encrypted_is_refused(empty: Workplace) -> None:
    plain = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True, timeout=30
    ).stdout
    (empty.keys / "timestamp-1.pem").write_bytes(plain)
    with empty.open() as repository, pytest.raises(SettingsError, match="not encrypted"):
        refresh(repository)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format":2,"keys":{}}', b'{"format":1,"keys":3}'])
def test_a_list_of_keys_that_is_damaged_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys.json").write_bytes(content)
    with pytest.raises(SettingsError, match="not a list of keys"):
        KeyRing([tmp_path], lambda purpose: PASSPHRASE)


def test_a_list_that_names_a_file_elsewhere_is_refused(empty: Workplace) -> None:
    path = empty.keys / "keys.json"
    document = json.loads(path.read_bytes())
    next(iter(document["keys"].values()))["signer"] = "encrypted:../root-1.pem"
    path.write_text(json.dumps(document))
    with pytest.raises(SettingsError, match="not a list of keys"):
        empty.ring()


def test_a_signer_that_lives_elsewhere_signs(tmp_path: Path) -> None:
    key = tmp_path / "elsewhere.pem"
    command = [
        "openssl",
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        str(key),
    ]
    subprocess.run(command, capture_output=True, check=True, timeout=30)
    place = Workplace(tmp_path)
    roles = dict(Plan().roles) | {"timestamp": RolePlan(signers=(f"file2:{key}",))}
    place.create(Plan(roles))
    assert not (place.keys / "timestamp-1.pem").exists()
    with place.open() as repository:
        refresh(repository)
    assert place.verify().findings == []


@pytest.mark.parametrize("uri", ["hsm:2", "awskms:x", "nonsense:x", "gnupg:x", "file2:/nowhere", "", "hsm:x"])
def test_a_signer_that_is_not_there_is_told_in_one_line(tmp_path: Path, uri: str) -> None:
    ring = KeyRing([tmp_path / "keys"], lambda purpose: PASSPHRASE)
    with pytest.raises(SettingsError) as caught:
        ring.adopt(uri)
    assert caught.value.hint
    assert not (tmp_path / "keys").exists()
