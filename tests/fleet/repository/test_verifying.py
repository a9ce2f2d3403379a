from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile

from edge_agent.errors import SettingsError
from edge_agent.fleet.repository.creating import RolePlan
from edge_agent.fleet.repository.layout import Channel, Published, model_path
from edge_agent.fleet.repository.publishing import publish
from edge_agent.fleet.repository.rotating import delegate
from edge_agent.fleet.repository.verifying import verify
from edge_agent.inference.bundle import read_bundle
from tests.fleet.repository.workplace import Workplace


def _only_problem(place: Workplace) -> tuple[str, str]:
    (finding,) = place.verify().findings
    return finding.subject, finding.problem


def _sign_target(place: Workplace, path: str, content: bytes, custom: object = None) -> None:
    """What an operator whose tools are wrong, or a thief of the targets key, would sign."""
    target = TargetFile.from_data(path, content, ["sha256"])
    if custom is not None:
        target.unrecognized_fields["custom"] = custom
    with place.open() as repository:
        repository.add_file(target, content)
        with repository.edit_targets() as targets:
            targets.targets[path] = target
        repository.publish_changes()


def test_all_is_well_where_nothing_was_touched_and_nothing_is_written(place: Workplace) -> None:
    before = place.files()
    report = place.verify()
    assert (report.root, report.models, report.channels, report.findings) == (1, 1, 1, [])
    assert place.files() == before


@pytest.mark.parametrize("pattern", ["*.tiny-1.0.0.edgemodel", "*.kitchens.json"])
@pytest.mark.parametrize("change", [b"", b"x", None], ids=["same length", "longer", "missing"])
def test_a_target_that_was_touched_is_named(place: Workplace, pattern: str, change: bytes | None) -> None:
    (path,) = (place.repository / "targets").rglob(pattern)
    content = path.read_bytes()
    if change is None:
        path.unlink()
    else:
        path.write_bytes((content if change else content[:-1] + bytes([content[-1] ^ 1])) + change)
    subject, problem = _only_problem(place)
    assert subject in {"models/tiny-1.0.0.edgemodel", "channels/kitchens.json"}
    assert problem.startswith("missing" if change is None else "altered")


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_metadata_that_were_touched_are_refused(place: Workplace, name: str) -> None:
    path = place.repository / "metadata" / name
    path.write_bytes(path.read_bytes().replace(b'"version":2', b'"version":3'))
    subject, problem = _only_problem(place)
    assert subject == "the repository"
    assert problem.startswith(("signed by too few", "altered"))


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_metadata_that_are_damaged_or_gone_are_refused(place: Workplace, name: str) -> None:
    path = place.repository / "metadata" / name
    path.write_bytes(b"{")
    assert _only_problem(place)[1].startswith(("damaged", "altered"))
    path.unlink()
    assert _only_problem(place)[1].startswith("missing")


def test_another_repository_under_the_same_address_is_refused(place: Workplace, tmp_path: Path) -> None:
    stranger = Workplace(tmp_path / "stranger")
    stranger.create()
    report = verify(str(stranger.repository), place.first_root)
    assert [finding.subject for finding in report.findings] == ["the repository"]
    assert "too few of the right keys" in report.findings[0].problem


def test_what_is_no_root_is_refused(place: Workplace) -> None:
    report = verify(str(place.repository), b"no root")
    assert [finding.subject for finding in report.findings] == ["the pinned root"]


def test_a_channel_that_names_what_is_not_there_is_told(place: Workplace) -> None:
    _sign_target(place, "channels/kitchens.json", Channel("kitchens", {"tiny": "7.0.0"}).render())
    assert _only_problem(place) == ("channels/kitchens.json", "it names what is not there: tiny 7.0.0")


def test_a_channel_under_anothers_name_is_told(place: Workplace) -> None:
    _sign_target(place, "channels/kitchens.json", Channel("cellars", {}).render())
    assert _only_problem(place) == ("channels/kitchens.json", "it is the channel of cellars")


def test_a_bundle_that_is_signed_and_wrong_is_told(place: Workplace) -> None:
    _sign_target(place, model_path("junk", "1.0.0"), b"no bundle")
    subject, problem = _only_problem(place)
    assert subject == "models/junk-1.0.0.edgemodel"
    assert "not a bundle's zip" in problem


def test_metadata_that_say_something_else_than_the_bundle_are_told(
    place: Workplace, tiny_folder: Path
) -> None:
    custom = Published.of(read_bundle(tiny_folder)).document()
    content = place.device().fetch("models/tiny-1.0.0.edgemodel") or b""
    _sign_target(place, "models/tiny-1.0.0.edgemodel", content, {**custom, "version": "2.0.0"})
    assert "something else" in _only_problem(place)[1]
    _sign_target(place, "models/tiny-1.0.0.edgemodel", content, custom)
    _sign_target(place, "models/tiny-3.0.0.edgemodel", content, custom)
    assert _only_problem(place) == ("models/tiny-3.0.0.edgemodel", "it holds tiny 1.0.0")


def test_a_target_that_is_neither_model_nor_channel_is_told(place: Workplace) -> None:
    _sign_target(place, "notes.txt", b"hello")
    assert _only_problem(place) == ("notes.txt", "it is neither a model nor a channel")


def test_a_delegated_role_that_names_what_it_may_not_is_told(place: Workplace, acme: Path) -> None:
    with place.open() as repository:
        delegate(repository, "acme", ["models/acme-*"], RolePlan(days=30))
    with place.open() as repository:
        publish(repository, [acme], signed_by="acme")
        path = model_path("other", "1.0.0")
        with repository.edit_targets("acme") as targets:
            targets.targets[path] = TargetFile.from_data(path, b"x", ["sha256"])
        repository.publish_changes()
    assert _only_problem(place) == (path, "role acme names it, but may not: no device will find it")


def test_a_delegated_role_that_is_signed_by_another_is_told(place: Workplace) -> None:
    with place.open() as repository:
        delegate(repository, "acme", ["models/acme-*"], RolePlan(days=30))
    path = place.repository / "metadata" / "1.acme.json"
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))
    subject, problem = _only_problem(place)
    assert subject == "role acme"
    assert problem.startswith("altered")


def test_a_place_with_nothing_is_no_repository(place: Workplace, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no repository"):
        verify(str(tmp_path / "nowhere"), place.first_root)
    shutil.rmtree(place.repository / "metadata")
    with pytest.raises(SettingsError, match="no repository"):
        verify(str(place.repository), place.first_root)


def test_a_server_that_does_not_answer_is_told(place: Workplace) -> None:
    with pytest.raises(SettingsError, match="cannot be reached"):
        verify("http://127.0.0.1:1", place.first_root)
