"""A recipe runs from its data to a bundle that serves, can be interrupted, and is held to its gates."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import edge_agent
from edge_agent.errors import DataError, GateError
from edge_agent.forge.judging.judge import RunResult
from edge_agent.forge.pipeline import run_again, run_recipe
from edge_agent.forge.recipe import StudentSection, with_student
from edge_agent.forge.training.loop import Progress
from tests.forge.tiny_checkpoint import write_checkpoint, write_rows
from tests.inference.support import snapshot

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
checkpoint = "encoder"
origin = "random numbers"
licence = "CC0"
[training]
steps = 12
[[student]]
name = "tiny"
layers = 2
hidden = 24
intermediate = 60
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


JUDGING = "calibrating and evaluating on the runtime of the device"


class PowerCut(BaseException):
    """Ends a run at a place that a test chooses."""


@dataclass(frozen=True)
class Made:
    """A finished run that tests look at and copy; none of them changes it."""

    recipe: Path
    out: Path
    stages: tuple[str, ...]


def write_recipe(folder: Path) -> Path:
    write_checkpoint(folder / "encoder")
    (folder / "t.toml").write_text(TEMPLATES, encoding="utf-8")
    chat = ("cats", "rome", "music", "cheese")
    write_rows(folder / "chat.jsonl", [{"text": f"tell me about {word}", "intent": "chat"} for word in chat])
    write_rows(
        folder / "test.jsonl",
        [{"text": text, "intent": "chat"} for text in ("sing a song", "who are they")],
    )
    orders = (
        ("turn on the kitchen light please", "TurnOn", "Kitchen"),
        ("bedroom lights off", "TurnOff", "Bedroom"),
    )
    write_rows(
        folder / "dev.jsonl",
        [{"text": t, "intent": intent, "lang": "en", "slots": {"area": area}} for t, intent, area in orders],
    )
    path = folder / "small.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def smoke(
    recipe: Path,
    out: Path,
    *,
    until: str | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> RunResult:
    """A smoke run; ``until`` the stage at which the power fails."""

    def stage(name: str) -> None:
        if name == until:
            raise PowerCut

    return run_recipe(recipe, data=[recipe.parent], out=out, smoke=True, stage=stage, progress=progress)


def append(recipe: Path, text: str) -> None:
    recipe.write_text(recipe.read_text(encoding="utf-8") + text, encoding="utf-8")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    path = write_recipe(tmp_path_factory.mktemp("made"))
    out, stages = path.parent / "run", list[str]()
    run_recipe(path, data=[path.parent], out=out, smoke=True, stage=stages.append)
    return Made(path, out, tuple(stages))


@pytest.fixture
def finished(recipe: Path, made: Made) -> Path:
    """A copy of the finished run, beside a recipe of its own."""
    return shutil.copytree(made.out, recipe.parent / "run")


def test_a_smoke_run_ends_in_a_bundle_that_serves_and_a_report(made: Made) -> None:
    with edge_agent.load(made.out / "bundle") as model:
        assert model.predict("turn on the kitchen light").model == "small"
    assert {"report.md", "report.json", "calibration.png", "pareto.png"} <= {
        file.name for file in made.out.iterdir()
    }
    report = json.loads((made.out / "report.json").read_text(encoding="utf-8"))
    assert report["headline"]["int8_agreement"] >= 0.5
    assert report["provenance"]["steps"] == 12
    assert made.stages[0] == "reading data"


def test_a_run_makes_teacher_student_and_low_bit_model_and_judges_each(made: Made) -> None:
    models = json.loads((made.out / "report.json").read_text(encoding="utf-8"))["models"]
    assert list(models) == ["teacher", "tiny", "tiny-int4"]
    assert models["tiny"]["relations"]["size_share"] < 0.9
    assert models["tiny-int4"]["relations"]["size_of_int8"] < 1
    for name in models:
        assert (made.out / f"{name}.pt").exists()
        assert not (made.out / f"{name}.checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("stage", "number"),
    [("teacher", signal.SIGINT), ("tiny", signal.SIGTERM), ("tiny-int4", signal.SIGINT)],
)
def test_a_run_that_was_stopped_in_any_stage_ends_with_the_very_same_weights(
    recipe: Path, made: Made, stage: str, number: int
) -> None:
    out = recipe.parent / "broken"

    def stop(progress: Progress) -> None:
        if progress.name == stage and progress.step == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        smoke(recipe, out, progress=stop)
    assert (out / f"{stage}.checkpoint.pt").exists()
    first: dict[str, int] = {}

    def note(progress: Progress) -> None:
        first.setdefault(progress.name, progress.step)

    with pytest.raises(PowerCut):
        smoke(recipe, out, until=JUDGING, progress=note)
    assert first[stage] == 5  # step 4 was finished when the signal came
    for name in ("teacher", "tiny", "tiny-int4"):
        once = torch.load(made.out / f"{name}.pt", weights_only=True)
        again = torch.load(out / f"{name}.pt", weights_only=True)
        assert all(torch.equal(once[key], again[key]) for key in once), name


def test_a_disk_that_is_full_at_the_end_of_a_stage_costs_no_training(recipe: Path) -> None:
    out = recipe.parent / "run"

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        smoke(recipe, out, progress=stop)
    (out / "teacher.partial").mkdir()  # in the way of the finished weights
    with pytest.raises(IsADirectoryError):
        smoke(recipe, out)
    assert (out / "teacher.checkpoint.pt").exists()
    assert not (out / "teacher.pt").exists()


def test_a_power_cut_while_judging_leaves_the_earlier_bundle(recipe: Path, finished: Path) -> None:
    before = snapshot(finished / "bundle")
    with pytest.raises(PowerCut):
        smoke(recipe, finished, until="measuring latency and memory")
    assert snapshot(finished / "bundle") == before


def test_a_student_is_added_to_a_finished_run_and_its_teacher_kept(finished: Path) -> None:
    before = (finished / "teacher.pt").read_bytes()
    student = StudentSection(name="flat", layers=1)
    again = run_again(finished, lambda known: with_student(known, student, ship=True))
    assert list(again.figures["models"]) == ["teacher", "tiny", "flat", "tiny-int4"]
    assert (finished / "teacher.pt").read_bytes() == before
    with edge_agent.load(again.bundle) as model:
        assert model.manifest.teacher is not None


def test_a_student_that_does_not_fit_changes_nothing_in_a_finished_run(finished: Path) -> None:
    before = snapshot(finished)
    wide = StudentSection(name="wide", layers=1, hidden=4800)
    with pytest.raises(DataError, match=r"student wide: .* does not fit into its teacher"):
        run_again(finished, lambda known: with_student(known, wide))
    assert snapshot(finished) == before


def test_a_student_that_does_not_fit_is_refused_before_its_teacher_is_trained(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    recipe.write_text(text.replace("hidden = 24", "hidden = 25"), encoding="utf-8")
    with pytest.raises(DataError, match="4 heads do not divide the width 25"):
        run_recipe(recipe, data=[recipe.parent], out=recipe.parent / "run")
    assert not (recipe.parent / "run").exists()


def test_a_folder_without_a_run_has_nothing_to_add_to(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run folder"):
        run_again(tmp_path, lambda known: known)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"recipe": {"model": 1}}', "{"])
def test_a_damaged_record_of_a_run_is_said(finished: Path, content: str) -> None:
    (finished / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"run\.json: damaged"):
        run_again(finished, lambda known: known)


def test_a_run_is_not_resumed_with_other_settings(recipe: Path, finished: Path) -> None:
    before = snapshot(finished)
    text = recipe.read_text(encoding="utf-8")
    recipe.write_text(text.replace("hidden = 24", "hidden = 24\ntemperature = 3.0"), encoding="utf-8")
    with pytest.raises(DataError, match="recipe or its data changed since tiny was trained"):
        smoke(recipe, finished)
    assert snapshot(finished) == before


def test_a_run_of_another_version_is_named_as_that(recipe: Path, finished: Path) -> None:
    record = finished / "teacher.json"
    made_by = json.loads(record.read_text(encoding="utf-8")) | {"edge_agent": "0.0.1"}
    record.write_text(json.dumps(made_by), encoding="utf-8")
    with pytest.raises(DataError, match=r"edge-agent changed from 0\.0\.1 to .* since teacher was trained"):
        smoke(recipe, finished)


def test_settings_may_change_as_long_as_nothing_is_trained(recipe: Path) -> None:
    out = recipe.parent / "run"
    with pytest.raises(PowerCut):
        smoke(recipe, out, until="teacher: training 12 steps")
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace("steps = 12", "steps = 12\nbatch_size = 8"),
        encoding="utf-8",
    )
    with pytest.raises(PowerCut):
        smoke(recipe, out, until=JUDGING)
    assert json.loads((out / "teacher.json").read_text(encoding="utf-8"))["batch_size"] == 8


@pytest.mark.parametrize("name", ["teacher.pt", "tiny.checkpoint.pt"])
def test_weights_that_a_power_cut_broke_are_said_with_what_to_do(
    recipe: Path, finished: Path, name: str
) -> None:
    content = (finished / "tiny.pt").read_bytes()
    if name == "tiny.checkpoint.pt":
        (finished / "tiny.pt").unlink()
    (finished / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=f"{name}: damaged") as caught:
        smoke(recipe, finished)
    assert "remove it and run the same command" in str(caught.value.hint)


def test_weights_of_another_model_are_said(recipe: Path, finished: Path) -> None:
    shutil.copy(finished / "tiny.pt", finished / "teacher.pt")
    with pytest.raises(DataError, match=r"teacher\.pt: the weights of another model"):
        smoke(recipe, finished)


def test_a_gate_of_an_unknown_figure_is_named_before_anything_is_trained(recipe: Path) -> None:
    append(recipe, '[[targets]]\nmetric = "small.keeps"\nat_least = 0.9\n')
    with pytest.raises(DataError, match=r"small\.keeps"):
        run_recipe(recipe, data=[recipe.parent], out=recipe.parent / "run")
    assert not (recipe.parent / "run").exists()


def test_a_run_is_not_resumed_with_other_data(recipe: Path, finished: Path) -> None:
    before = snapshot(finished)
    templates = recipe.parent / "t.toml"
    templates.write_text(TEMPLATES.replace("TurnOff", "Switch"), encoding="utf-8")
    with pytest.raises(DataError, match="changed since this run began"):
        smoke(recipe, finished)
    assert snapshot(finished) == before


def test_another_process_with_other_hashes_makes_the_very_same_teacher(recipe: Path, made: Made) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.forge.test_pipeline import PowerCut, smoke\n"
        "try: smoke(Path(sys.argv[1]), Path(sys.argv[2]), until='tiny: training 12 steps')\n"
        "except PowerCut: pass"
    )
    out = recipe.parent / "run"
    command = [sys.executable, "-c", script, str(recipe), str(out)]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[2], capture_output=True)
    assert (out / "began_with.json").read_bytes() == (made.out / "began_with.json").read_bytes()
    once, again = (torch.load(f / "teacher.pt", weights_only=True) for f in (made.out, out))
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_a_model_that_misses_a_gate_is_not_written_as_a_bundle(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    start, end = text.index("[[student]]"), text.index("[[data]]")
    recipe.write_text(text[:start] + text[end:], encoding="utf-8")
    append(recipe, '[[gates]]\nmetric = "bundle_megabytes"\nat_most = 0.001\n')
    out = recipe.parent / "run"
    with pytest.raises(GateError, match="bundle_megabytes"):
        run_recipe(recipe, data=[recipe.parent], out=out)
    assert not (out / "bundle").exists()
    assert "missed: bundle_megabytes" in (out / "report.md").read_text(encoding="utf-8")
