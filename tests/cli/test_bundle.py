from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.command import assert_one_line_and_hint, edge_agent

FIXTURE = Path(__file__).parents[1] / "inference" / "fixtures" / "average_word_vec.tflite"


def test_a_folder_becomes_a_file_that_serves_and_is_the_same_each_time(
    tiny_folder: Path, tmp_path: Path
) -> None:
    first = json.loads(edge_agent("bundle", "build", tiny_folder, "--out", tmp_path / "a", "--json").out)
    second = json.loads(edge_agent("bundle", "build", tiny_folder, "--out", tmp_path / "b", "--json").out)
    packed = Path(first["path"])
    assert packed.name == "tiny-1.0.0.edgemodel"
    assert packed.read_bytes() == Path(second["path"]).read_bytes()
    assert first["bytes"] == packed.stat().st_size
    assert edge_agent("predict", "--model", packed, "turn on the light").code == 0


def test_a_folder_that_is_no_bundle_is_refused_and_nothing_is_written(
    tiny_folder: Path, tmp_path: Path
) -> None:
    broken, out = tmp_path / "broken", tmp_path / "out"
    shutil.copytree(tiny_folder, broken)
    (broken / "model.tflite").write_bytes(b"")
    done = edge_agent("bundle", "build", broken, "--out", out)
    assert done.code == 3
    assert_one_line_and_hint(done)
    assert "model.tflite" in done.err
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_a_usage_error(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = edge_agent("bundle", "build", tiny_folder, "--out", tmp_path / "file")
    assert done.code == 2
    assert_one_line_and_hint(done)


def test_inspect_shows_what_a_bundle_says_of_itself(tiny_folder: Path) -> None:
    shown = edge_agent("bundle", "inspect", tiny_folder)
    assert shown.code == 0
    for part in ("tiny 1.0.0", "en, es", "HassTurnOn", "model.tflite", "sha256:"):
        assert part in shown.out


def test_inspect_as_json_is_the_manifest_with_its_digest(tiny_folder: Path) -> None:
    document = json.loads(edge_agent("bundle", "inspect", tiny_folder, "--json").out)
    assert document.pop("digest").startswith("sha256:")
    assert document == json.loads((tiny_folder / "bundle.json").read_bytes())


def test_inspect_refuses_what_is_no_bundle(tmp_path: Path) -> None:
    done = edge_agent("bundle", "inspect", tmp_path)
    assert done.code == 3
    assert_one_line_and_hint(done)
    assert "bundle.json" in done.err


def test_an_import_serves_and_says_where_it_is(tmp_path: Path) -> None:
    out = tmp_path / "models"
    done = edge_agent(
        "bundle", "import", FIXTURE, "--name", "opinions", "--version", "2.0.0", "--lang", "en",
        "--licence", "MIT", "--out", out, "--json",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    made = json.loads(done.out)
    assert made["path"] == str(out / "opinions")
    result = json.loads(edge_agent("predict", "--model", made["path"], "good film").out)
    assert (result["model"], result["version"], result["task"]) == ("opinions", "2.0.0", "classify")
    assert result["label"] in ("negative", "positive")
    assert edge_agent("model", "verify", made["path"]).code == 0
    packed = edge_agent("bundle", "build", made["path"], "--out", tmp_path)
    assert packed.code == 0
    assert made["digest"] in packed.out


def test_an_import_for_people_shows_what_was_understood(tmp_path: Path) -> None:
    done = edge_agent("bundle", "import", FIXTURE, cwd=tmp_path)
    assert done.code == 0
    for part in ("average_word_vec 1.0.0", "negative, positive", "made average_word_vec"):
        assert part in done.out


def test_an_import_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "cut.tflite"
    file.write_bytes(FIXTURE.read_bytes()[:1500])
    done = edge_agent("bundle", "import", file, "--out", tmp_path / "models")
    assert done.code == 3
    assert_one_line_and_hint(done)
    assert "cut.tflite" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["cut.tflite"]


@pytest.mark.parametrize("options", [("--name", "../home"), ("--version", "two")])
def test_a_name_or_version_that_is_none_is_a_usage_error(tmp_path: Path, options: tuple[str, str]) -> None:
    done = edge_agent("bundle", "import", FIXTURE, "--out", tmp_path / "models", *options)
    assert done.code == 2
    assert_one_line_and_hint(done)
    assert not (tmp_path / "models").exists()


def test_an_import_into_a_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = edge_agent("bundle", "import", FIXTURE, "--out", tmp_path / "file")
    assert done.code == 2
    assert_one_line_and_hint(done)
