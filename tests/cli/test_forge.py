from __future__ import annotations

import sys
from pathlib import Path

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
