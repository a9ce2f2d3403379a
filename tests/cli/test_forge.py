from __future__ import annotations

import sys
from pathlib import Path

from edge_agent.cli.forge_progress import time_left
from tests.cli.command import assert_one_line_and_hint, edge_agent

WITHOUT_TORCH = (
    sys.executable,
    "-c",
    "import sys; sys.modules['torch'] = None\nfrom edge_agent.cli.main import main; main()",
)


def test_without_the_extra_training_says_how_to_get_it(tmp_path: Path) -> None:
    done = edge_agent(
        "forge", "train", "recipe.toml", "--data", tmp_path, "--out", tmp_path / "out", program=WITHOUT_TORCH
    )
    assert (done.code, done.out) == (2, "")
    assert_one_line_and_hint(done)
    assert "edge-agent[forge]" in done.err
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_is_missing_is_a_usage_error(tmp_path: Path) -> None:
    done = edge_agent("forge", "train", tmp_path / "none.toml", "--data", tmp_path, "--out", tmp_path / "out")
    assert done.code == 2
    assert "none.toml" in done.err
    assert "Traceback" not in done.err


def test_a_misspelt_key_of_a_recipe_is_named_with_the_nearest_that_there_is(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[model]\nname = "x"\nverson = "1"\n', encoding="utf-8")
    done = edge_agent("forge", "train", recipe, "--out", tmp_path / "out")
    assert done.code == 2
    assert_one_line_and_hint(done)
    assert "model.verson: no such key" in done.err
    assert "did you mean version?" in done.err
    assert not (tmp_path / "out").exists()


def test_a_folder_in_place_of_a_file_is_said_to_be_one(tmp_path: Path) -> None:
    done = edge_agent("forge", "train", tmp_path, "--out", tmp_path / "out")
    assert done.code == 2
    assert_one_line_and_hint(done)
    assert "a folder" in done.err
    assert not (tmp_path / "out").exists()


def test_the_time_left_is_told_roughly() -> None:
    assert [time_left(s) for s in (0.4, 99, 100, 5_999, 9_000)] == [
        "0 s left",
        "99 s left",
        "2 min left",
        "100 min left",
        "2.5 h left",
    ]
