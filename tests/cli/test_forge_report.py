"""``forge evaluate`` and ``forge report`` on bundles and runs of models that nobody trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from edge_agent.cli.forge_report import evaluate, report
from edge_agent.errors import BundleError, DataError
from edge_agent.forge.judging.judge import RunResult
from tests.forge.judged import judged, opinion_corpus, recipe
from tests.inference.support import snapshot

RECIPE = """
[model]
name = "toy"
version = "0.1.0"
task = "classify"
languages = ["en"]
licence = "Apache-2.0"
max_tokens = 32
[encoder]
package = "none"
origin = "nowhere"
licence = "CC0"
[training]
steps = 1
"""
SECTION = """
[[data]]
use = "{use}"
kind = "table"
file = "toy/{use}.csv"
lang = "en"
licence = "CC0"
others = "keep"
weight = 1
"""


def rows(name: str) -> str:
    """Ten sentences for each of two labels that stand in no other split."""
    lines = [
        f"the room was nice {name} {n},positive\nthe room was bad {name} {n},negative" for n in range(10)
    ]
    return "text,label\n" + "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return judged(recipe("classify"), opinion_corpus(), tmp_path_factory.mktemp("run") / "toy")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "toy").mkdir()
    for use in ("train", "dev", "test"):
        (tmp_path / "toy" / f"{use}.csv").write_text(rows(use), encoding="utf-8")
    sections = "".join(SECTION.format(use=use) for use in ("train", "dev", "test"))
    (tmp_path / "toy.toml").write_text(RECIPE + sections, encoding="utf-8")
    return tmp_path


def forge(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command("evaluate")(evaluate)
    app.command("report")(report)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_run_is_judged_again_on_a_split_of_a_recipe(run: RunResult, data: Path) -> None:
    done = forge("evaluate", run.bundle.parent, "--recipe", data / "toy.toml", "--data", data, "--json")
    found = json.loads(done.stdout)
    assert (found["model"], found["split"]) == ("toy", "test")
    assert found["figures"]["all"]["sentences"] == 20
    assert 0 <= found["figures"]["en"]["macro_f1_of_present"] <= 1


def test_a_bundle_is_judged_as_a_table(run: RunResult, data: Path) -> None:
    done = forge("evaluate", run.bundle, "--recipe", data / "toy.toml", "--data", data, "--split", "dev")
    assert done.exit_code == 0
    assert "toy 0.1.0" in done.stdout
    assert "macro F1" in done.stdout


def test_labels_that_the_bundle_has_not_are_named(run: RunResult, data: Path) -> None:
    table = data / "toy" / "test.csv"
    table.write_text(rows("test").replace("positive", "delighted"), encoding="utf-8")
    done = forge("evaluate", run.bundle, "--recipe", data / "toy.toml", "--data", data)
    assert isinstance(done.exception, DataError)
    assert "1 labels of the recipe are none of the bundle's: delighted" in str(done.exception)


def test_what_is_no_bundle_is_refused(data: Path) -> None:
    done = forge("evaluate", data / "absent", "--recipe", data / "toy.toml", "--data", data)
    assert isinstance(done.exception, BundleError)


def test_runs_are_compared_in_a_folder(run: RunResult, tmp_path: Path) -> None:
    done = forge("report", run.bundle.parent, "--out", tmp_path / "models")
    assert done.stdout.strip() == str(tmp_path / "models" / "BENCHMARKS.md")
    assert set(snapshot(tmp_path / "models")) == {"BENCHMARKS.md", "benchmarks.json", "pareto.png"}


def test_a_folder_that_is_no_run_leaves_nothing_behind(tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    done = forge("report", tmp_path, "--out", tmp_path / "models")
    assert isinstance(done.exception, DataError)
    assert snapshot(tmp_path) == before
