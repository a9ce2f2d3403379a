"""Finished models become figures and a bundle; what the report says is what the device answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_agent
from edge_agent.errors import DataError
from edge_agent.forge.data.examples import OUT_OF_SCOPE, Example, Span
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.judging.curves import out_of_scope_curve
from edge_agent.forge.judging.evaluate import Answer, figures, groups, worst_pairs
from edge_agent.forge.judging.judge import RunResult, judge
from edge_agent.forge.judging.memory import memory_megabytes, resident_megabytes
from edge_agent.forge.judging.relations import relations
from edge_agent.inference.model import Model
from edge_agent.types import Slot
from tests.forge.judged import candidates, intent_corpus, judged, opinion_corpus, recipe, sentence_corpus
from tests.inference.support import snapshot

LABELS = ("off", "on", OUT_OF_SCOPE)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return judged(recipe(model={"ship": "small"}), intent_corpus(), tmp_path_factory.mktemp("judged") / "run")


def answer(label: str, *slots: Slot, recognized: bool = True) -> Answer:
    return Answer(label, recognized, np.eye(3, dtype=np.float32)[LABELS.index(label)], slots)


def order(text: str, label: str, *spans: Span, lang: str = "en", source: str = "toy") -> Example:
    return Example(text, label, lang, spans, source)


def without_measurements(found: Any) -> Any:
    """A report without what depends on the machine's mood."""
    measured = {"latency_ms", "memory_megabytes", "speedup", "headline"}
    if isinstance(found, dict):
        return {key: without_measurements(value) for key, value in found.items() if key not in measured}
    return found


def test_every_model_is_judged_in_both_forms_on_both_splits(run: RunResult) -> None:
    assert list(run.figures["models"]) == ["teacher", "small", "small-int4"]
    for model in run.figures["models"].values():
        for form in ("float32", "quantised"):
            assert set(model[form]["dev"]) == {
                "all",
                "en",
                "es",
                "toy",
                "chat",
                "toy/en",
                "toy/es",
                "chat/en",
            }
            assert model[form]["dev"]["all"] == model[form]["test"]["all"]  # the same sentences, turned round
            assert set(model[form]["latency_ms"]) == {"8", "16", "32"}
            assert model[form]["tflite_megabytes"] > 0
    assert run.figures["models"]["small-int4"]["scheme"] == "int4-per-channel"


def test_the_shipped_bundle_serves_and_says_what_it_learned_from(run: RunResult) -> None:
    with edge_agent.load(run.bundle) as model:
        assert model.predict("turn on the light in the kitchen").model == "toy"
    content = json.loads((run.bundle / "bundle.json").read_text(encoding="utf-8"))
    assert content["teacher"]["name"] == "teacher"
    assert content["teacher"]["layers"] == 2
    assert content["teacher"]["speedup"] == run.figures["models"]["small"]["relations"]["speedup"]
    assert content["metrics"]["en.intent_accuracy"] == run.figures["headline"]["en.intent_accuracy"]
    assert content["metrics"]["data"]["dev"] == ["chat", "toy"]
    assert "MODEL_CARD.md" in content["files"]


def test_the_figures_are_what_the_bundle_answers_sentence_by_sentence(run: RunResult) -> None:
    dev = intent_corpus().dev
    own = run.figures["models"]["small"]["quantised"]["dev"]["all"]
    with Model.load(run.bundle) as model:
        said = [model.analyse(example.text) for example in dev]
    inside = [pair for pair in zip(dev, said, strict=True) if pair[0].label != OUT_OF_SCOPE]
    outside = [pair for pair in zip(dev, said, strict=True) if pair[0].label == OUT_OF_SCOPE]
    assert own["intent_accuracy"] == np.mean([said.label == example.label for example, said in inside])
    assert own["in_scope_accepted"] == np.mean([said.recognized for _, said in inside])
    assert own["out_of_scope_recall"] == np.mean([not said.recognized for _, said in outside])


def test_the_linear_floor_is_judged_on_the_same_sentences(run: RunResult) -> None:
    floor = run.figures["floor"]
    assert floor["dev"]["all"]["intent_accuracy"] == 1.0
    assert "span_f1" not in floor["dev"]["all"]
    accuracy = run.figures["models"]["teacher"]["quantised"]["dev"]["all"]["intent_accuracy"]
    assert run.figures["models"]["teacher"]["relations"]["over_floor"] == pytest.approx(accuracy - 1)


def test_to_judge_again_gives_the_same_report_but_for_what_is_measured(run: RunResult) -> None:
    folder = run.bundle.parent
    before = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    again = judged(recipe(model={"ship": "small"}), intent_corpus(), folder)
    after = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert again.bundle == run.bundle
    assert without_measurements(after) == without_measurements(before)


def test_a_missed_gate_leaves_the_bundle_rejected(tmp_path: Path) -> None:
    gates = [{"metric": "bundle_megabytes", "at_most": 0.001}, {"metric": "small.keeps", "at_least": 0}]
    result = judged(recipe(gates=gates), intent_corpus(), tmp_path / "run")
    assert result.bundle == tmp_path / "run" / "rejected"
    assert not (tmp_path / "run" / "bundle").exists()
    assert len(result.missed) == 1
    assert result.missed[0].startswith("bundle_megabytes is 0.0")
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "missed: bundle_megabytes" in report
    assert "met: small.keeps" in report


def test_a_missed_target_and_an_empty_test_split_fail_nothing(tmp_path: Path) -> None:
    targets = [{"metric": "shipped.test.all.intent_accuracy", "at_least": 0.9}]
    corpus = opinion_corpus()
    corpus = replace(corpus, test=(), dev=(*corpus.dev, Example("nice now", "", "en", None, "toy")))
    result = judged(recipe("classify", targets=targets), corpus, tmp_path / "run")
    own = result.figures["models"]["teacher"]["quantised"]
    assert result.missed == ()
    assert result.bundle.name == "bundle"
    assert result.figures["targets"][0]["short_by"] is None
    assert own["test"] == {}
    assert own["dev"]["es"]["macro_f1"] is not None
    assert own["dev"]["all"]["sentences"] == len(corpus.dev) - 1  # the one without a label is not judged


def test_models_of_sentence_vectors_are_judged_by_their_teacher(tmp_path: Path) -> None:
    result = judged(recipe("embed"), sentence_corpus(), tmp_path / "run")
    models = result.figures["models"]
    assert models["teacher"]["float32"]["dev"]["all"]["cosine"] == pytest.approx(1.0, abs=1e-5)
    assert models["teacher"]["quantised"]["dev"]["all"]["cosine"] > 0.99
    assert models["small"]["quantised"]["dev"]["all"]["cosine"] < 0.99
    assert models["small"]["quantised"]["dev"]["all"]["spearman"] <= 1.0
    with Model.load(result.bundle) as model:
        assert len(model.embed("turn on the light").embedding) == 16


def test_a_run_without_dev_sentences_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "run"
    (out / "bundle").mkdir(parents=True)
    (out / "bundle" / "earlier").write_text("kept", encoding="utf-8")
    before = snapshot(tmp_path)
    with pytest.raises(DataError, match="no dev sentence"):
        judged(recipe(), replace(intent_corpus(), dev=()), out)
    assert snapshot(tmp_path) == before


def test_groups_are_languages_sets_and_both() -> None:
    found = groups([order("a", "on"), order("b", "on", lang="es"), order("c", "on", source="chat")])
    assert found["all"] == [0, 1, 2]
    assert (found["en"], found["es"], found["toy"], found["chat/en"]) == ([0, 2], [1], [0, 1], [2])
    assert groups([]) == {}


def test_span_f1_looks_at_every_sentence_and_slot_f1_at_what_would_be_answered() -> None:
    kitchen = Slot("area", "kitchen", 3, 10, 0.9)
    example = order("in kitchen", "on", Span("area", 3, 10))
    found = figures([example] * 2, [answer("on", kitchen), answer("off", kitchen, recognized=False)], LABELS)
    assert found["all"]["span_f1"] == 1.0
    assert found["all"]["slot_f1"] == pytest.approx(2 / 3)
    assert found["all"]["slot_recall"] == 0.5


def test_a_span_is_right_only_in_its_own_place() -> None:
    example = order("hall or hall", "on", Span("area", 0, 4))
    found = figures([example], [answer("on", Slot("area", "hall", 8, 12, 0.9))], LABELS)
    assert found["all"]["span_f1"] == 0.0
    assert found["all"]["slot_f1"] == 1.0


def test_out_of_scope_counts_by_the_threshold_and_by_the_label_alone() -> None:
    stranger = order("sing", OUT_OF_SCOPE)
    said = [answer("on", recognized=False), answer(OUT_OF_SCOPE, recognized=False), answer("on")]
    found = figures([stranger] * 3, said, LABELS)["all"]
    assert found["out_of_scope_recall"] == pytest.approx(2 / 3)
    assert found["out_of_scope_argmax_recall"] == pytest.approx(1 / 3)
    assert found["out_of_scope_accepted"] == pytest.approx(1 / 3)
    assert found["intent_accuracy"] is None


def test_macro_f1_of_the_present_classes_leaves_the_others_out_of_the_choice() -> None:
    labels = ("negative", "neutral", "positive")
    unsure = Answer("neutral", True, np.asarray([0.1, 2.0, 1.0], np.float32), None)
    bad = Answer("negative", True, np.asarray([3.0, 0.0, 1.0], np.float32), None)
    examples = [Example("a", "positive", "en", None, "s"), Example("b", "negative", "en", None, "s")]
    found = figures(examples, [unsure, bad], labels, macro=True)["all"]
    assert found["macro_f1"] == 0.5
    assert found["macro_f1_of_present"] == 1.0


def test_the_worst_pairs_come_first_and_ties_by_name() -> None:
    examples = [order("a", "on"), order("b", "on"), order("c", "off")]
    pairs = worst_pairs(examples, [answer("off"), answer("off"), answer("on")])
    assert pairs == [("on", "off", 2), ("off", "on", 1)]


def test_the_out_of_scope_curve_runs_from_letting_all_in_to_letting_none_in() -> None:
    examples = [order("a", "on"), order("b", "off"), order("c", OUT_OF_SCOPE), order("d", OUT_OF_SCOPE)]
    logits = np.asarray([[0, 5, 0], [3, 0, 0], [0, 1, 0], [0, 0, 4]], np.float32)
    curve = out_of_scope_curve(examples, logits, LABELS, 1.0)
    assert curve[0]["in_scope_accepted"] == 1.0
    assert (curve[-1]["in_scope_accepted"], curve[-1]["out_of_scope_recall"]) == (0.0, 1.0)
    recalls = [point["out_of_scope_recall"] for point in curve]
    assert recalls == sorted(recalls)
    assert out_of_scope_curve(examples[:2], logits[:2], LABELS, 1.0) == []


def test_a_student_is_compared_with_its_teacher_as_both_serve() -> None:
    def model(accuracy: float, megabytes: float, milliseconds: float, teacher: str | None) -> dict[str, Any]:
        form = {
            "dev": {"all": {"intent_accuracy": accuracy}},
            "test": {},
            "tflite_megabytes": megabytes,
            "latency_ms": {"16": milliseconds, "32": milliseconds * 2},
        }
        return {"teacher": teacher, "quantised": form, "float32": form}

    models = {"teacher": model(0.96, 20, 2, None), "small": model(0.94, 11, 1, "teacher")}
    models["small-int4"] = model(0.93, 6, 1, "small")
    floor = {"dev": {"all": {"intent_accuracy": 0.9}}, "test": {}}
    found = relations(models, floor, recipe(), "small")
    assert found["keeps"] == found["dev.keeps"] == pytest.approx(0.94 / 0.96, abs=1e-6)
    assert (found["speedup"], found["size_share"], found["over_floor"]) == (2.0, 0.55, 0.04)
    assert found["test.keeps"] is None
    low = relations(models, floor, recipe(), "small-int4")
    assert low["keeps_of_int8"] == pytest.approx(0.93 / 0.94, abs=1e-6)
    assert low["size_of_int8"] == pytest.approx(6 / 11, abs=1e-6)


def test_memory_is_measured_in_a_fresh_process_or_unknown(run: RunResult, tmp_path: Path) -> None:
    megabytes = memory_megabytes(run.bundle)
    assert megabytes is not None
    assert 0 < megabytes < 200
    assert memory_megabytes(tmp_path / "absent") is None
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t  2000 kB\n", encoding="ascii")
    assert resident_megabytes(tmp_path / "status") == pytest.approx(2.048)
    assert resident_megabytes(tmp_path / "absent") is None


def test_candidates_of_the_toy_recipe_are_those_it_names() -> None:
    own = recipe()
    names = [candidate.name for candidate in candidates(own, intent_corpus())]
    assert names == ["teacher", *(s.name for s in own.student), *(s.name for s in own.low_bit)]


def test_a_model_that_gets_no_golden_sentence_leaves_a_report_and_the_earlier_bundle(tmp_path: Path) -> None:
    out = tmp_path / "run"
    earlier = snapshot(judged(recipe(), intent_corpus(), out).bundle)
    (out / "report.md").unlink()
    hopeless = replace(intent_corpus(), dev=(Example(" ".join(["light"] * 40), "TurnOn", "en", (), "toy"),))
    own = recipe(model={"ship": "small-int4"})
    models = [replace(each, scheme=Scheme.INT4_PER_CHANNEL) for each in candidates(own, hopeless)]
    weights = models[2].trained.weights
    head = replace(weights.label_head, weight=weights.label_head.weight * 0, bias=weights.label_head.bias * 0)
    models[2] = replace(
        models[2], trained=replace(models[2].trained, weights=replace(weights, label_head=head))
    )
    with pytest.raises(DataError, match="no dev sentence the answer"):
        judge(models, hopeless, own, out, provenance={}, enforce=True, stage=lambda _: None)
    assert snapshot(out / "bundle") == earlier
    assert (out / "report.md").exists()


def test_an_earlier_bundle_outlives_a_missed_gate_and_a_cut_between_two_names(tmp_path: Path) -> None:
    run = tmp_path / "run"
    earlier = snapshot(judged(recipe(), intent_corpus(), run).bundle)
    (run / "bundle").rename(run / ".bundle.earlier")  # where a power cut leaves it
    gates = [{"metric": "bundle_megabytes", "at_most": 0.001}]
    result = judged(recipe(gates=gates), intent_corpus(), run)
    assert result.bundle == run / "rejected"
    assert snapshot(run / "bundle") == earlier
    assert not (run / ".bundle.earlier").exists()


def test_a_model_of_few_labels_gets_several_golden_sentences_of_each(tmp_path: Path) -> None:
    corpus = intent_corpus()
    bundle = judged(recipe(), corpus, tmp_path / "run").bundle
    lines = (bundle / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = {(example.label, example.lang) for example in corpus.dev}
    assert len(lines) > len(kinds) or len(lines) == len(corpus.dev)
