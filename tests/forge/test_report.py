"""Names of figures are checked before training, found afterwards, and reported with what is asked of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import DataError
from edge_agent.forge.judging.judge import RunResult
from edge_agent.forge.judging.metric_names import check_metric_names, in_words, known_names, look_up
from edge_agent.forge.judging.metric_names import judged as judged_metric
from edge_agent.forge.recipe import GateSection, read_recipe
from edge_agent.forge.report.tables import distinct, percent, table, target_cells, with_interval
from tests.forge.judged import intent_corpus, judged, recipe

RECIPES = sorted((Path(__file__).parents[2] / "models" / "recipes").glob("*.toml"))
TARGETS = [
    {"metric": "small.keeps", "at_least": 5.0},
    {"metric": "teacher.test.en.accuracy", "at_least": 0.0},
    {"metric": "shipped.dev.all.macro_f1", "at_least": 0.5},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    gates = [{"metric": "in_scope_accepted", "at_least": 2.0}]
    own = recipe(targets=TARGETS, gates=gates)
    return judged(own, intent_corpus(), tmp_path_factory.mktemp("reported") / "run", enforce=False)


@pytest.fixture(scope="module")
def report(run: RunResult) -> str:
    return (run.bundle.parent / "report.md").read_text(encoding="utf-8")


def png_size(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_that_ship_name_figures_that_exist(path: Path) -> None:
    check_metric_names(read_recipe(path))


@pytest.mark.parametrize(
    "name",
    [
        "teacher.test.en.intent_accuracy",
        "small.test.all.span_f1",
        "small.keeps",
        "small.speedup",
        "small.size_share",
        "small-int4.keeps_of_int8",
        "teacher.quantised_keeps",
        "shipped.dev.es.macro_f1",
        "shipped.float32.dev.toy/es.slot_f1",
        "floor.test.all.intent_accuracy",
        "small.test.keeps",
        "teacher.latency_ms.32",
        "en.slot_f1",
        "toy.out_of_scope_accepted",
        "bundle_megabytes",
    ],
)
def test_a_name_of_the_scheme_is_known(name: str) -> None:
    assert name in set(known_names(recipe()))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("smal.keeps", "small.keeps"),
        ("teacher.test.fr.intent_accuracy", "teacher.test.en.intent_accuracy"),
        ("en.intent_acuracy", "en.intent_accuracy"),
    ],
)
def test_a_wrong_name_is_refused_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(DataError, match="no figure is called") as caught:
        check_metric_names(recipe(targets=[{"metric": name, "at_least": 0.5}]))
    assert caught.value.hint is not None
    assert near in caught.value.hint


def test_figures_are_found_by_their_names(run: RunResult) -> None:
    found = run.figures
    teacher = found["models"]["teacher"]
    assert look_up(found, "teacher.test.en.accuracy") == teacher["quantised"]["test"]["en"]["intent_accuracy"]
    assert (
        look_up(found, "shipped.float32.dev.toy/es.span_f1")
        == (teacher["float32"]["dev"]["toy/es"]["span_f1"])
    )
    assert look_up(found, "small.latency_ms.16") == found["models"]["small"]["quantised"]["latency_ms"]["16"]
    assert look_up(found, "small-int4.parameters") == 3350
    assert look_up(found, "small.dev.keeps") == look_up(found, "small.keeps")
    assert look_up(found, "floor.dev.all.intent_accuracy") == 1.0
    assert look_up(found, "es.intent_accuracy") == pytest.approx(
        teacher["quantised"]["dev"]["es"]["intent_accuracy"], abs=1e-5
    )


@pytest.mark.parametrize("name", ["nobody.keeps", "teacher.dev.fr.slot_f1", "teacher.dev", "small", "x.y.z"])
def test_what_a_run_has_not_is_none(run: RunResult, name: str) -> None:
    assert look_up(run.figures, name) is None


def test_every_measured_figure_has_a_name_that_was_known_before(run: RunResult) -> None:
    known = set(known_names(recipe()))
    for name, model in run.figures["models"].items():
        assert {f"{name}.{relation}" for relation in model["relations"]} <= known
        for cost in ("tflite_megabytes", "bundle_megabytes", "memory_megabytes", "parameters"):
            assert f"{name}.{cost}" in known
            assert look_up(run.figures, f"{name}.{cost}") is not None


@pytest.mark.parametrize(
    ("asked", "met", "short"),
    [({"at_least": 0.5}, True, 0.0), ({"at_least": 1.25}, False, 0.25), ({"at_most": 0.75}, False, 0.25)],
)
def test_a_gate_says_by_how_much_it_is_missed(asked: dict[str, Any], met: bool, short: float) -> None:
    found: dict[str, Any] = {"headline": {"figure": 1.0}, "models": {}, "model": {"ship": "teacher"}}
    result = judged_metric(found, GateSection(metric="figure", **asked))
    assert (result["met"], result["short_by"]) == (met, short)
    assert in_words(result).startswith("figure is 1.0000, at ")


def test_what_was_tried_stands_where_a_figure_is_missed_and_only_there() -> None:
    found: dict[str, Any] = {"headline": {"figure": 1.0}, "models": {}, "model": {"ship": "teacher"}}
    missed = judged_metric(found, GateSection(metric="figure", at_least=2.0, tried="patience"))
    met = judged_metric(found, GateSection(metric="figure", at_least=0.5, tried="patience"))
    assert target_cells(missed)[-1] == "**missed by 1.0000**. Tried: patience"
    assert target_cells(met)[-1] == "met"


def test_targets_are_reported_met_missed_or_not_measured(report: str) -> None:
    assert "| `small.keeps` | ≥ 5 |" in report
    assert "**missed by 4." in report
    assert "| `teacher.test.en.accuracy` | ≥ 0 |" in report
    assert "| met |" in report
    assert "| `shipped.dev.all.macro_f1` | ≥ 0.5 | – | not measured |" in report


def test_gates_of_a_trial_run_are_reported_and_said_not_to_be_enforced(run: RunResult, report: str) -> None:
    assert run.missed == (
        f"in_scope_accepted is {run.figures['headline']['in_scope_accepted']:.4f}, at least 2 is asked",
    )
    assert "missed: in_scope_accepted" in report
    assert "reported and not enforced" in report


def test_the_report_answers_its_questions_in_order(report: str) -> None:
    headings = [line for line in report.splitlines() if line.startswith("## ")]
    assert headings == [
        "## What it was trained on",
        "## The models",
        "## What smaller costs",
        "## Targets and gates",
        "## The floor: a linear classifier",
        "## By language and set: teacher",
        "## Worst confusions on dev",
        "## Calibration",
        "## Out of scope",
        "## Latency, size, memory",
        "## Provenance",
    ]
    assert "nothing was chosen by it" in report


def test_every_picture_of_the_report_is_beside_it_and_large_enough_to_read(
    run: RunResult, report: str
) -> None:
    folder = run.bundle.parent
    for name in ("pareto.png", "calibration.png", "out_of_scope.png"):
        assert f"]({name})" in report
        width, height = png_size(folder / name)
        assert width >= 600
        assert height >= 500


def test_the_json_is_what_the_run_returned(run: RunResult) -> None:
    read = json.loads((run.bundle.parent / "report.json").read_text(encoding="utf-8"))
    assert read == json.loads(json.dumps(run.figures))


def test_the_card_tells_figures_sources_and_limits(run: RunResult) -> None:
    card = (run.bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    for words in (
        "# toy 0.1.0",
        "## Limits",
        "| test | sentences |",
        "| toy | es | train | CC0 |",
        "`TurnOn`",
    ):
        assert words in card


def test_cells_say_what_is_unknown() -> None:
    assert percent(None) == "–"
    assert percent(0.97304) == "97.30 %"
    assert with_interval({"f": 0.5, "f_interval": {"low": 0.4, "high": 0.6}}, "f") == "50.00 [40.0, 60.0] %"
    assert with_interval({}, "f") == "–"
    assert table(["a"], []) == []


def test_groups_that_are_the_same_sentences_get_one_row() -> None:
    assert distinct({"all": {"x": 1}, "en": {"x": 1}, "es": {"x": 2}}) == ["all", "es"]
