"""What each shipped bundle says of itself, measured again by ``edge-agent model eval`` on its recipe's data.

What that command does not measure, span F1 and macro F1, is measured by the functions of ``forge evaluate``.
Every folder below ``models/`` that has a recipe is taken, so that a new model is held to its word unasked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_agent.cli.main import app
from edge_agent.errors import DataError
from edge_agent.forge.data.examples import Example
from edge_agent.forge.data.folders import DataFolders
from edge_agent.forge.data.sources import read_section
from edge_agent.forge.judging.evaluate import decided, figures, groups, labelled, read_sentences
from edge_agent.forge.recipe import read_recipe
from edge_agent.inference.model import Model
from edge_agent.types import Task
from tests.inference.support import DATA

MODELS = Path(__file__).parents[2] / "models"
NAMES = sorted(
    path.parent.name
    for path in MODELS.glob("*/bundle.json")
    if (MODELS / "recipes" / f"{path.parent.name}.toml").exists()
)
SPLIT_OF = {"intent_accuracy": "dev", "slot_f1": "dev", "out_of_scope_accepted": "test"}
OF_FORGE = ("span_f1", "macro_f1")
TOLERANCE = 0.005
"""Of shares; another processor rounds activations otherwise, which turns a sentence or two of a thousand."""


def sentences(name: str, split: str) -> list[Example]:
    """A split of the bundle's recipe, from the data folder alone; skips where that has not got it."""
    recipe = read_recipe(MODELS / "recipes" / f"{name}.toml")
    folders = DataFolders(MODELS / "recipes", [DATA])
    found: list[Example] = []
    for section in recipe.data:
        if section.use != split or section.kind == "templates":
            continue
        try:
            path = folders.find(section.model_copy(update={"address": None}))
        except DataError as error:
            pytest.skip(f"{error} (EDGE_AGENT_DATA names the folder of the data sets)")
        found += read_section(section, path)
    return [example for example in found if example.text.strip()]


def measured(bundle: Path, examples: Sequence[Example], file: Path) -> dict[str, Any]:
    """The figures that the command prints."""
    rows = (
        {
            "text": example.text,
            "lang": example.lang,
            "label": example.label,
            "slots": None if example.spans is None else [span_of(span) for span in example.spans],
        }
        for example in examples
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    result = CliRunner().invoke(
        app, ["model", "eval", "--model", str(bundle), "--data", str(file), "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    figures: dict[str, Any] = json.loads(result.stdout)["figures"]["all"]
    return figures


def span_of(span: Any) -> dict[str, Any]:
    return {"name": span.name, "start": span.start, "end": span.end}


def promises(metrics: dict[str, Any]) -> Iterator[tuple[str, str, str, float]]:
    """Split, group, figure and value of what a bundle's metrics say and the command measures."""
    for name, value in metrics.items():
        group, _, figure = name.rpartition(".")
        if figure in SPLIT_OF and not group.startswith("int8_loss"):
            yield SPLIT_OF[figure], group, figure, value
    if "in_scope_accepted" in metrics:
        yield "dev", "all", "in_scope_accepted", metrics["in_scope_accepted"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_bundle_keeps_what_its_metrics_promise(name: str, tmp_path: Path) -> None:
    bundle = MODELS / name
    metrics = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["metrics"]
    wanted = list(promises(metrics))
    assert {figure for _, _, figure, _ in wanted} >= {"intent_accuracy", "in_scope_accepted"}
    splits = {split: sentences(name, split) for split in sorted({split for split, *_ in wanted})}
    known: dict[tuple[str, tuple[int, ...]], dict[str, Any]] = {}
    off: list[str] = []
    for split, group, figure, value in wanted:
        indices = tuple(groups(splits[split])[group])
        if (split, indices) not in known:
            examples = [splits[split][index] for index in indices]
            known[split, indices] = measured(bundle, examples, tmp_path / "rows.jsonl")
        found = known[split, indices]
        own = found["slots"]["f1"] if figure == "slot_f1" else found[figure]
        if own != pytest.approx(value, abs=TOLERANCE):
            off.append(f"{split} {group} {figure}: {own} instead of {value}")
    assert not off


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_bundle_keeps_the_figures_that_only_forge_measures(name: str) -> None:
    metrics = json.loads((MODELS / name / "bundle.json").read_text(encoding="utf-8"))["metrics"]
    wanted = {key: value for key, value in metrics.items() if key.rpartition(".")[2] in OF_FORGE}
    if not wanted:
        pytest.skip(f"{name} names none of {', '.join(OF_FORGE)}")
    examples = labelled(sentences(name, "dev"))
    with Model.load(MODELS / name) as model:
        manifest = model.manifest
        answers = decided(read_sentences(model, examples), manifest.labels, manifest.calibration)
    found = figures(examples, answers, manifest.labels, macro=manifest.task is Task.CLASSIFY)
    again = {key: found[key.rpartition(".")[0]][key.rpartition(".")[2]] for key in wanted}
    assert again == pytest.approx(wanted, abs=TOLERANCE)
