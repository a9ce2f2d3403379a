from __future__ import annotations

import json
import os
import pty
import select
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.cli.fleet_options import Passphrase
from edge_agent.errors import SettingsError
from tests.cli.command import PROGRAM, Done, assert_one_line_and_hint, edge_agent

PASSPHRASE = "correct horse battery"
_DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Office:
    """A folder with a passphrase and, by the commands' own defaults, ``repository`` and its keys."""

    folder: Path

    def fleet(self, *arguments: str | Path, passphrase: str | None = PASSPHRASE) -> Done:
        secret = {} if passphrase is None else {"FLEET_WORD": passphrase}
        named = [] if passphrase is None or arguments[0] in {"verify", "expire-soon"} else ["FLEET_WORD"]
        options = [part for name in named for part in ("--passphrase-env", name)]
        return edge_agent("fleet", *arguments, *options, cwd=self.folder, environment=secret)

    def well(self, *arguments: str | Path) -> str:
        done = self.fleet(*arguments)
        assert (done.code, done.err) == (0, "")
        assert PASSPHRASE not in done.out
        return done.out


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Office:
    """Three root keys, one model, one channel; tests leave it well."""
    office = Office(tmp_path_factory.mktemp("office"))
    office.well("init", "repository", "--root-keys", "3", "--root-threshold", "2")
    office.well("publish", tiny_folder, "--group", "kitchens")
    return office


def test_from_nothing_to_a_verified_repository(office: Office, tiny_folder: Path) -> None:
    assert office.well("publish", tiny_folder).startswith("tiny 1.0.0  was there already")
    assert office.well("verify", "repository") == "all is well: root version 1, 1 models, 1 channels\n"
    assert json.loads(office.well("channel", "--json")) == {"kitchens": {"tiny": "1.0.0"}}
    assert "kitchens" in office.well("channel")


def test_what_is_printed_fits_eighty_columns(office: Office) -> None:
    for arguments in (["channel"], ["expire-soon"], ["verify", "repository"], ["refresh"]):
        assert max(map(len, office.well(*arguments).splitlines())) <= 80


def test_publish_tells_programs_what_devices_will_read(office: Office, tiny_folder: Path) -> None:
    (told,) = json.loads(office.well("publish", tiny_folder, "--json"))
    assert told.pop("digest").startswith("sha256:")
    assert told.pop("bytes") > 0
    assert told == {
        "name": "tiny",
        "version": "1.0.0",
        "task": "intent",
        "languages": ["en", "es"],
        "megabytes": 1,
        "path": "models/tiny-1.0.0.edgemodel",
        "new": False,
    }


def test_rotation_delegation_and_refresh_leave_it_well(tmp_path: Path, tiny_folder: Path) -> None:
    office = Office(tmp_path)
    office.well("init", "repository")
    assert "is out" in office.well("rotate", "timestamp")
    assert json.loads(office.well("rotate", "root", "--json"))["root_version"] == 3
    assert "--as tiny" in office.well("delegate", "tiny", "--paths", "models/tiny-*")
    office.well("publish", tiny_folder, "--as", "tiny")
    office.well("refresh", "--role", "targets")
    report = json.loads(office.well("verify", "repository", "--json"))
    assert report == {"root": 3, "models": 1, "channels": 0, "findings": []}


def test_expire_soon_has_an_exit_code_for_a_timer(office: Office) -> None:
    assert office.fleet("expire-soon").code == 0
    done = office.fleet("expire-soon", "--within", "14d")
    assert done.code == 1
    assert "soon: snapshot, timestamp; edge-agent fleet refresh" in done.out
    rows = json.loads(office.fleet("expire-soon", "--within", "14d", "--json").out)
    assert {row["role"] for row in rows if row["soon"]} == {"snapshot", "timestamp"}


def test_a_group_that_nothing_is_named_for_any_more_is_told_in_words(
    tmp_path: Path, tiny_folder: Path
) -> None:
    office = Office(tmp_path)
    office.well("init", "repository")
    office.well("publish", tiny_folder, "--group", "kitchens")
    assert office.well("channel", "kitchens", "tiny", "--remove") == "no model is named for kitchens\n"


def test_from_a_root_that_signed_nothing_here_verify_counts_nothing(office: Office, tmp_path: Path) -> None:
    Office(tmp_path).well("init", "repository")
    done = office.fleet("verify", "repository", "--root", tmp_path / "repository-keys" / "root.json")
    assert done.code == 3
    assert "root version 0" not in done.out


def test_a_repository_that_was_altered_is_exit_code_3_with_the_file(office: Office, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", f"{office.folder}/.", tmp_path], check=True, timeout=30)
    (model,) = tmp_path.rglob("*.edgemodel")
    model.write_bytes(b"altered")
    done = Office(tmp_path).fleet("verify", "repository")
    assert done.code == 3
    assert done.out.startswith("models/tiny-1.0.0.edgemodel: altered")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["publish", "nowhere"], 3, "nowhere"),
        (["channel", "kitchens", "tiny", "9.0.0"], 2, "not published"),
        (["channel", "kitchens", "tiny"], 2, "GROUP NAME VERSION"),
        (["channel", "../x", "tiny", "1.0.0"], 2, "no name of a group"),
        (["rotate", "root"], 2, "3 keys"),
        (["rotate", "nobody"], 2, "no role"),
        (["delegate", "acme", "--paths", "../x"], 2, "no target lies"),
        (["refresh", "--repo", "elsewhere"], 2, "no repository"),
        (["init", "repository"], 2, "holds a repository"),
        (["init", "other", "--root-threshold", "2"], 2, "cannot need 2"),
        (["init", "other", "--signer", "nobody=hsm:2"], 2, "ROLE=URI"),
        (["init", "other", "--signer", "root=gnupg:2"], 2, "no signer"),
        (["verify", "http://127.0.0.1:1"], 2, "from a root that is known"),
        (["verify", "nowhere"], 2, "root.json"),
        (["expire-soon", "--within", "soon"], 2, "no length of time"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_hint(
    office: Office, arguments: list[str], code: int, said: str
) -> None:
    done = office.fleet(*arguments)
    assert done.code == code, done
    assert said in done.err
    assert_one_line_and_hint(done)


def test_a_wrong_or_absent_passphrase_is_told_and_never_shown(office: Office) -> None:
    wrong = office.fleet("refresh", passphrase="wrong horse battery")
    absent = office.fleet("refresh", passphrase=None)
    short = office.fleet("init", "other", passphrase="short")
    for done, said in ((wrong, "wrong passphrase"), (absent, "no terminal"), (short, "shorter than")):
        assert done.code == 2
        assert said in done.err
        assert_one_line_and_hint(done)
        assert "wrong horse battery" not in done.err + done.out
    assert office.fleet("verify", "repository").code == 0


def test_the_passphrase_may_stand_in_a_file(office: Office) -> None:
    (office.folder / "word").write_text(f"{PASSPHRASE}\n")
    done = edge_agent("fleet", "refresh", "--passphrase-file", "word", cwd=office.folder)
    assert (done.code, done.err) == (0, "")
    both = edge_agent(
        "fleet", "refresh", "--passphrase-file", "word", "--passphrase-env", "X", cwd=office.folder
    )
    assert both.code == 2
    assert_one_line_and_hint(both)


def test_a_pin_is_never_taken_for_the_passphrase(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("123456\n")
    word = Passphrase(None, None, tmp_path / "pin")
    assert word("pin of hsm:2") == "123456"
    with pytest.raises(SettingsError, match="passphrase of the keys"):
        word("passphrase of the keys in keys")


def test_a_terminal_is_asked_and_shows_nothing_of_what_is_typed(office: Office) -> None:
    terminal, theirs = pty.openpty()
    program = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *PROGRAM, "fleet", "refresh"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=office.folder,
    )
    os.close(theirs)
    try:
        asked = _read_until(terminal, b"repository-keys: ")
        os.write(terminal, f"{PASSPHRASE}\n".encode())
        shown = asked + _read_until(terminal, b"364 d")
        assert PASSPHRASE.encode() not in shown
        assert program.wait(_DEADLINE_SECONDS) == 0
    finally:
        os.close(terminal)
        program.kill()
        program.wait()


def _read_until(terminal: int, wanted: bytes) -> bytes:
    shown = b""
    while wanted not in shown:
        assert select.select([terminal], [], [], _DEADLINE_SECONDS)[0], shown
        shown += os.read(terminal, 1000)
    return shown


def test_keys_that_others_may_read_are_warned_of(tmp_path: Path, office: Office) -> None:
    subprocess.run(["cp", "-a", f"{office.folder}/.", tmp_path], check=True, timeout=30)
    (tmp_path / "repository-keys" / "root-1.pem").chmod(0o644)
    done = Office(tmp_path).fleet("refresh")
    assert done.code == 0
    assert "warning: others may read keys: root-1.pem" in done.err
    assert "chmod -R go=" in done.err
