"""Runs side by side: the front, the page, the plot, and what cannot be compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import DataError
from edge_agent.forge.report.benchmarks import read_runs, render_benchmarks, write_benchmarks
from edge_agent.forge.report.pareto import judged_split, run_points, usual_length
from edge_agent.forge.report.plots import Point, front
from tests.forge.judged import intent_corpus, judged, opinion_corpus, recipe
from tests.inference.support import snapshot


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    targets = [{"metric": "small.size_share", "at_most": 0.9}, {"metric": "small.keeps", "at_least": 3.0}]
    judged(recipe(model={"name": "orders"}, targets=targets), intent_corpus(), folder / "orders")
    judged(recipe("classify", model={"name": "opinions"}), opinion_corpus(), folder / "opinions")
    return [folder / "orders", folder / "opinions"]


def test_the_front_is_what_nothing_beats_in_both() -> None:
    points = [
        Point("slow and best", "teacher", 8.0, 0.97),
        Point("slow and no better", "teacher", 9.0, 0.97),
        Point("fast", "student", 1.0, 0.95),
        Point("as fast and worse", "low-bit", 1.0, 0.9),
        Point("between and worse", "student", 4.0, 0.94),
    ]
    assert [point.name for point in front(points)] == ["fast", "slow and best"]
    assert front([]) == []


def test_a_run_has_a_point_for_every_model_as_it_serves_and_the_float32_teacher(folders: list[Path]) -> None:
    found = read_runs(folders)["orders"]
    assert [(point.name, point.kind) for point in run_points(found)] == [
        ("fp32", "teacher float32"),
        ("teacher", "teacher"),
        ("small", "student"),
        ("small-int4", "low-bit"),
    ]
    assert usual_length(found) == "32"


def test_a_run_is_shown_on_test_or_on_dev_where_test_has_nothing_in_scope(folders: list[Path]) -> None:
    found: dict[str, Any] = dict(read_runs(folders)["orders"])
    assert judged_split(found) == "test"
    models = json.loads(json.dumps(found["models"]))
    models["teacher"]["quantised"]["test"]["all"]["intent_accuracy"] = None
    assert judged_split({**found, "models": models}) == "dev"


def test_the_page_has_a_row_for_every_model_and_says_what_was_missed(folders: list[Path]) -> None:
    page = render_benchmarks(read_runs(folders))
    for words in ("orders, test", "opinions, test", "*linear n-grams*", "small-int4", "1 of 2 are met"):
        assert words in page
    assert page.count("| teacher | float32 |") == 4
    assert "**missed by" in page
    assert "nothing was chosen\non a test split" in page


def test_page_plot_and_figures_are_the_same_each_time(folders: list[Path], tmp_path: Path) -> None:
    runs = read_runs(folders)
    for name in ("first", "second"):
        write_benchmarks(tmp_path / name, runs)
    assert set(snapshot(tmp_path / "first")) == {"BENCHMARKS.md", "benchmarks.json", "pareto.png"}
    assert snapshot(tmp_path / "first") == snapshot(tmp_path / "second")
    figures = json.loads((tmp_path / "first" / "benchmarks.json").read_text(encoding="utf-8"))
    assert figures["orders"]["models"]["small"]["quantised"]["test"]["all"]["sentences"] == 20
    assert "reliability" not in figures["orders"]["models"]["small"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), ("{", "not the report"), ('{"dev": {}}', "not the report"), ("[]", "not the")],
)
def test_a_folder_without_a_report_is_named(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content, encoding="utf-8")
    before = snapshot(tmp_path)
    with pytest.raises(DataError, match=words):
        read_runs([tmp_path])
    assert snapshot(tmp_path) == before


def test_two_runs_of_one_model_cannot_stand_side_by_side(folders: list[Path], tmp_path: Path) -> None:
    shutil.copy(folders[0] / "report.json", tmp_path / "report.json")
    with pytest.raises(DataError, match="second run of orders"):
        read_runs([folders[0], tmp_path])
