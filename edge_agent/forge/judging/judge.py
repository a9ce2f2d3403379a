"""A run's finished models → figures, report and the bundle of the one that ships.

Each model is calibrated on dev with the logits of the file that will serve, since that is what will decide,
and judged in that form and in float32. Every figure comes from the device's own code and runtime. The test
split is read once, after everything is chosen; nothing here looks at it before.

Under the run folder: ``models/<name>/{float32,quantised}`` for every model, ``bundle`` for the one that ships
(``rejected`` where it misses a gate), and the report. A bundle that met its gates stays until another one
does: a judgement that is cut off, or whose model misses a gate, does not touch it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import DataError, EdgeAgentError
from edge_agent.files import sync_folder
from edge_agent.forge.data.corpus import Corpus
from edge_agent.forge.data.mixture import WeightedSet
from edge_agent.forge.judging.assemble import (
    About,
    Candidate,
    choose_golden,
    choose_golden_embeddings,
    least_cosine,
    write_model,
)
from edge_agent.forge.judging.calibrate import Calibrated
from edge_agent.forge.judging.candidates import Splits, floor_figures, judge_candidate
from edge_agent.forge.judging.costs import costs, folder_megabytes, latencies
from edge_agent.forge.judging.embedders import judge_embedder, teacher_vectors
from edge_agent.forge.judging.evaluate import labelled
from edge_agent.forge.judging.metric_names import in_words, judged
from edge_agent.forge.judging.relations import headline, quality, relations
from edge_agent.forge.recipe import Recipe
from edge_agent.forge.report.model_card import render_model_card
from edge_agent.forge.report.page import write_report
from edge_agent.inference.model import Model

FORMS = ("float32", "quantised")
_GOLDEN_SENTENCES = 60


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run made: the bundle's folder, its figures, and the gates that it missed."""

    bundle: Path
    figures: Mapping[str, Any]
    missed: tuple[str, ...]


def judge(
    candidates: Sequence[Candidate],
    corpus: Corpus,
    recipe: Recipe,
    out: Path,
    *,
    provenance: Mapping[str, Any],
    enforce: bool,
    stage: Callable[[str], None],
) -> RunResult:
    """Judges every model of a run and writes the bundle of the one that ships.

    Args:
        candidates: the finished models, the teacher first.
        corpus: dev and test sentences, and the training sets for the linear floor.
        recipe: whose calibration, gates and targets count.
        out: the run folder; what an earlier judgement left there is replaced, its bundle last.
        provenance: how the models were made, for the bundle and the report.
        enforce: whether a missed gate fails the run, for the words of the report; the caller raises.
        stage: told the name of each step.

    Returns:
        The bundle under ``out/bundle``, or ``out/rejected`` where a gate is missed; ``out/bundle`` is then
        what it was before.

    Raises:
        DataError: no dev sentences, or no model of the name that ships: nothing is changed; or no sentence on
            which the shipped model agrees with its float32 original: there is a report, and no new bundle.
    """
    shipped = _shipped(candidates, recipe)
    splits = _splits(corpus, recipe)
    _bring_back(out / "bundle")
    for name in ("models", "rejected"):
        shutil.rmtree(out / name, ignore_errors=True)
    found: dict[str, Any] = {"model": _identity(recipe), "data": _data(corpus, splits)}
    stage("fitting the linear floor")
    found["floor"] = floor_figures(corpus, splits, recipe)
    calibrated, found["models"] = _judge_all(candidates, splits, out / "models", stage)
    stage("measuring latency and memory")
    _add_costs(found["models"], candidates, out / "models")
    for name, model in found["models"].items():
        model["relations"] = relations(found["models"], found["floor"], recipe, name)
    found["headline"] = headline(found["models"][shipped.name])
    found["provenance"] = dict(provenance)
    stage("writing the bundle and the report")
    try:
        bundle = _write_bundle(shipped, calibrated[shipped.name], found, splits, out)
        found["headline"]["bundle_megabytes"] = folder_megabytes(bundle)
    except EdgeAgentError:  # no bundle can be made of it; what was found is told all the same
        _report(out, found, recipe, enforce=enforce)
        raise
    _report(out, found, recipe, enforce=enforce)
    if not found["missed_gates"]:
        bundle = _in_place(bundle, out / "bundle")
    return RunResult(bundle, found, tuple(found["missed_gates"]))


def _report(out: Path, found: dict[str, Any], recipe: Recipe, *, enforce: bool) -> None:
    """Holds the figures to gates and targets, and writes them down."""
    found["gates"] = [judged(found, gate) for gate in recipe.gates]
    found["targets"] = [judged(found, target) for target in recipe.targets]
    found["missed_gates"] = [in_words(gate) for gate in found["gates"] if not gate["met"]]
    found["gates_enforced"] = enforce
    write_report(out, found)


def _in_place(new: Path, place: Path) -> Path:
    """Gives a finished folder its name; an earlier one of that name goes when the new one is there."""
    earlier = _earlier(place)
    shutil.rmtree(earlier, ignore_errors=True)
    if place.exists():
        place.rename(earlier)
    new.rename(place)
    sync_folder(place.parent)
    shutil.rmtree(earlier, ignore_errors=True)
    return place


def _bring_back(place: Path) -> None:
    """Undoes an :func:`_in_place` that was cut off between its two renamings."""
    if _earlier(place).exists() and not place.exists():
        _earlier(place).rename(place)


def _earlier(place: Path) -> Path:
    return place.with_name(f".{place.name}.earlier")


def _judge_all(
    candidates: Sequence[Candidate], splits: Splits, folder: Path, stage: Callable[[str], None]
) -> tuple[dict[str, Calibrated | None], dict[str, dict[str, Any]]]:
    """Calibrations and figures of every model, by name."""
    calibrated: dict[str, Calibrated | None] = {}
    found: dict[str, dict[str, Any]] = {}
    embeds = candidates[0].trained.recipe.model.task == "embed"
    reference = teacher_vectors(candidates[0], splits, folder / candidates[0].name) if embeds else {}
    for candidate in candidates:
        stage(f"judging {candidate.name}")
        name, own = candidate.name, folder / candidate.name
        if embeds:
            calibrated[name], found[name] = None, judge_embedder(candidate, splits, own, reference)
        else:
            calibrated[name], found[name] = judge_candidate(candidate, splits, own)
    return calibrated, found


def _shipped(candidates: Sequence[Candidate], recipe: Recipe) -> Candidate:
    for candidate in candidates:
        if candidate.name == recipe.model.ship:
            return candidate
    names = ", ".join(candidate.name for candidate in candidates)
    raise DataError(f"the recipe ships {recipe.model.ship}, but the run made {names}")


def _splits(corpus: Corpus, recipe: Recipe) -> Splits:
    if recipe.model.task == "embed":
        splits = Splits(corpus.dev, corpus.test)
    else:
        splits = Splits(labelled(corpus.dev), labelled(corpus.test))
    if not splits.dev:
        raise DataError(
            "there is no dev sentence to calibrate on", hint='a data section with use = "dev" gives some'
        )
    return splits


def _identity(recipe: Recipe) -> dict[str, Any]:
    model = recipe.model
    return {
        "name": model.name,
        "version": model.version,
        "task": model.task,
        "languages": list(model.languages),
        "ship": model.ship,
        "max_tokens": model.max_tokens,
        "beyond": model.beyond,
    }


def _data(corpus: Corpus, splits: Splits) -> dict[str, Any]:
    """What was trained on what, in numbers."""
    return {
        "labels": len(corpus.labels),
        "slots": max(0, (len(corpus.slot_tags) - 1) // 2),
        "training": [
            {
                "source": _set_name(entry),
                "sentences": len(entry.examples) if entry.grammar is None else None,
                "weight": entry.weight,
            }
            for entry in corpus.training
        ],
        "dev": len(splits.dev),
        "test": len(splits.test),
        "left_out": corpus.left_out,
        "slots_not_found": corpus.slots_not_found,
        "findings": [
            {"severity": f.severity, "message": f.message, "count": f.examples} for f in corpus.findings
        ],
    }


def _set_name(entry: WeightedSet) -> str:
    if entry.grammar is not None:
        return f"templates, {entry.grammar.lang}"
    return f"{entry.examples[0].source}, {entry.examples[0].lang}" if entry.examples else "an empty set"


def _add_costs(models: dict[str, dict[str, Any]], candidates: Sequence[Candidate], folder: Path) -> None:
    """Latency, memory and sizes of every form of every model, measured side by side."""
    with ExitStack() as loaded:
        running = {
            f"{name}/{form}": loaded.enter_context(Model.load(folder / name / form, check_golden=False))
            for name in models
            for form in FORMS
        }
        times = latencies(running)
    for candidate in candidates:
        for form in FORMS:
            found = costs(folder / candidate.name / form, candidate.trained.weights)
            models[candidate.name][form] |= {**found, "latency_ms": times[f"{candidate.name}/{form}"]}


def _write_bundle(
    shipped: Candidate, calibrated: Calibrated | None, found: Mapping[str, Any], splits: Splits, out: Path
) -> Path:
    """The shipped model with its golden sentences, card and figures, under ``out/rejected`` for now."""
    folder, work = out / "rejected", out / "models" / shipped.name
    least = least_cosine(shipped.scheme)
    choose = choose_golden_embeddings if shipped.trained.recipe.model.task == "embed" else choose_golden
    with (
        Model.load(work / "float32", check_golden=False) as reference,
        Model.load(work / "quantised", check_golden=False) as served,
    ):
        golden = choose(splits.dev, reference, served, most=_GOLDEN_SENTENCES, min_cosine=least)
    own = found["models"][shipped.name]
    about = About(
        golden=golden,
        card=render_model_card(shipped.trained.recipe, shipped.trained.labels, found),
        metrics={**found["headline"], "data": _data_set_names(splits)},
        provenance=found["provenance"],
        teacher=_teacher(found, own),
    )
    write_model(folder, shipped.trained, shipped.scheme, calibrated=calibrated, about=about)
    with Model.load(folder):  # its own golden sentences, on this machine
        pass
    return folder


def _data_set_names(splits: Splits) -> dict[str, list[str]]:
    return {name: sorted({example.source for example in examples}) for name, examples in splits.items()}


def _teacher(found: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the bundle says of the model that it learned from."""
    teacher = found["models"].get(own["teacher"] or "")
    if teacher is None:
        return None
    return {
        "name": own["teacher"],
        "encoder": found["provenance"].get("encoder"),
        "layers": teacher["layers"],
        "hidden": teacher["hidden"],
        "parameters": teacher["quantised"]["parameters"],
        "quality_on_dev": quality(teacher["quantised"]["dev"]["all"]),
        "kept_on_dev": own["relations"].get("keeps"),
        "speedup": own["relations"].get("speedup"),
        "size_share": own["relations"].get("size_share"),
    }
