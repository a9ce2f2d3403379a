"""What ``edge-agent check`` says of updates."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from edge_agent.cli.findings import Finding, State
from edge_agent.cli.findings_updates import check_updates
from edge_agent.settings import Settings
from edge_agent.update.record import Journal
from edge_agent.update.refusal import Reason
from edge_agent.update.slots import Record, Version
from edge_agent.update.slots import State as Update
from tests.fleet.repository.workplace import Workplace


def told(findings: Iterable[Finding]) -> dict[str, tuple[State, str]]:
    return {finding.about: (finding.state, finding.message) for finding in findings}


def settings_of(tmp_path: Path, repository: str = "", root: str = "root.json") -> Settings:
    updates = {"repository": repository, "root": str(tmp_path / root)}
    return Settings.model_validate(
        {"updates": updates, "models": {"directories": [str(tmp_path / "models")]}}
    )


def test_no_repository_is_no_fault(tmp_path: Path) -> None:
    state, message = told(check_updates(settings_of(tmp_path)))["updates"]
    assert state is State.OK
    assert "by hand" in message


def test_a_root_that_is_not_there_or_none_is_named(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "https://models.example.org")
    assert told(check_updates(settings))["updates"][0] is State.PROBLEM
    for content in (b"", b"{}", b"[]", b'{"signed": {"expires": 7}}'):
        (tmp_path / "root.json").write_bytes(content)
        state, message = told(check_updates(settings))["updates"]
        assert (state, "no root" in message) == (State.PROBLEM, True)


def test_a_repository_answers_or_does_not(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "operator")
    place.create()
    (tmp_path / "root.json").write_bytes(place.first_root)
    assert told(check_updates(settings_of(tmp_path, str(place.repository))))["updates"][0] is State.OK
    state, message = told(check_updates(settings_of(tmp_path, str(tmp_path / "gone"))))["updates"]
    assert (state, "does not answer" in message) == (State.WARNING, True)
    state, message = told(check_updates(settings_of(tmp_path, "http://127.0.0.1:9/")))["updates"]
    assert (state, "refused" in message) == (State.WARNING, True)


def test_an_expired_root_is_followed_by_newer_ones(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text(json.dumps({"signed": {"expires": "2020-01-01T00:00:00Z"}}))
    state, message = told(check_updates(settings_of(tmp_path, "https://models.example.org")))["updates"]
    assert (state, "expired 2020-01-01" in message) == (State.OK, True)


def test_how_the_latest_update_ended_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "models/.store/journal"
    folder.mkdir(parents=True)
    old, new = Version("1.0.0", "sha256:" + "0" * 64), Version("1.1.0", "sha256:" + "1" * 64)
    journal = Journal(folder)
    journal.write(Record("a", Update.FAILED, old, (), new, Reason.EXPIRED, "expired: since May"))
    journal.write(Record("b", Update.ROLLED_BACK, old, (), new, Reason.ASKED))
    journal.write(Record("c", Update.KEPT, new, (old,), new))
    journal.write(Record("d", Update.WATCHING, new, (old,), new))
    found = told(check_updates(settings_of(tmp_path)))
    assert found["update of a"] == (State.WARNING, "failed to 1.1.0: expired: since May; 1.0.0 serves")
    assert found["update of b"] == (State.OK, "rolled back to 1.1.0: asked_for; 1.0.0 serves")
    assert "update of c" not in found
    assert found["update of d"] == (State.OK, "watching")
