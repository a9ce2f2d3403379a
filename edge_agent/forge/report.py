"""A run's figures for people: ``report.md``, ``report.json`` and two plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.files import write_atomic
from edge_agent.forge.calibrate import reliability
from edge_agent.forge.corpus import Corpus
from edge_agent.forge.data.examples import OUT_OF_SCOPE
from edge_agent.forge.evaluate import label_logits
from edge_agent.forge.model_card import figure_rows
from edge_agent.forge.recipe import Recipe
from edge_agent.inference.decode import softmax
from edge_agent.inference.model import Analysis


def write_report(
    out: Path, recipe: Recipe, found: Mapping[str, Any], corpus: Corpus, dev: Sequence[Analysis]
) -> None:
    """Writes the report into the run folder.

    Args:
        out: the run folder.
        recipe: the recipe.
        found: the figures, as :mod:`edge_agent.forge.pipeline` collects them.
        corpus: for counts and expected labels.
        dev: the served model's analyses of the dev sentences.
    """
    write_atomic(out / "report.json", (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode())
    _plot_reliability(out / "calibration.png", found, corpus, dev)
    _plot_out_of_scope(out / "out_of_scope.png", found, corpus, dev)
    write_atomic(out / "report.md", _markdown(recipe, found, corpus).encode())


def _markdown(recipe: Recipe, found: Mapping[str, Any], corpus: Corpus) -> str:
    model, calibration = recipe.model, found["calibration"]
    lines = [
        f"# {model.name} {model.version}",
        "",
        f"{len(corpus.labels)} labels, {max(0, (len(corpus.slot_tags) - 1) // 2)} slots, "
        f"languages {', '.join(model.languages)}. Brackets: 95 % bootstrap interval.",
        "",
        "## Quality, int8 on the device's runtime beside float32",
        "",
        "| set | sentences | intent accuracy | float32 | slot F1 | float32 | accepted |",
        "|---|---|---|---|---|---|---|",
        *figure_rows(found),
        "",
        f"Top label of int8 and float32 agree on {found['agreement']:.2%} of these sentences. "
        f"{corpus.left_out} training sentences also stood in dev or test and were left out of training. "
        f"Annotated slot values of dev that the labels' script could not find: {found['slots_not_found']}.",
        "",
        "## Calibration",
        "",
        f"Temperature {calibration['temperature']}, threshold {calibration['threshold']}, margin "
        f"{calibration['margin']}. Expected calibration error {calibration['error_before']:.4f} before, "
        f"{calibration['error_after']:.4f} after.",
        "",
        "![reliability](calibration.png) ![out of scope](out_of_scope.png)",
        "",
        "## Most frequent confusions on dev",
        "",
        "| expected | answered | times |",
        "|---|---|---|",
        *(f"| {expected} | {answered} | {count} |" for expected, answered, count in found["confusions"]),
        "",
        "## Latency in the runtime, one thread, median ms",
        "",
        "| tokens | ms |",
        "|---|---|",
        *(f"| {tokens} | {ms} |" for tokens, ms in found["latency_ms_by_tokens"].items()),
        "",
        "## Gates",
        "",
        *(f"- missed: {gate}" for gate in found["missed_gates"]),
        *([] if found["missed_gates"] else ["All gates of the recipe are met."]),
        "",
        "## Provenance",
        "",
        *(f"- {key}: {value}" for key, value in found["provenance"].items()),
        "",
    ]
    return "\n".join(lines)


def _probabilities(found: Mapping[str, Any], dev: Sequence[Analysis]) -> np.ndarray:
    return softmax(label_logits(dev), found["calibration"]["temperature"])


def _plot_reliability(path: Path, found: Mapping[str, Any], corpus: Corpus, dev: Sequence[Analysis]) -> None:
    index = {label: number for number, label in enumerate(corpus.labels)}
    expected = np.asarray([index[example.label] for example in corpus.dev])
    figure, axes = _axes("confidence", "share that is right")
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="perfectly calibrated")
    for temperature, name in ((1.0, "before"), (found["calibration"]["temperature"], "after")):
        points = reliability(softmax(label_logits(dev), temperature), expected)
        axes.plot([p[1] for p in points], [p[2] for p in points], marker="o", label=name)
    axes.legend()
    figure.savefig(path, dpi=110)


def _plot_out_of_scope(path: Path, found: Mapping[str, Any], corpus: Corpus, dev: Sequence[Analysis]) -> None:
    probabilities = _probabilities(found, dev)
    inside = np.asarray([example.label != OUT_OF_SCOPE for example in corpus.dev])
    best = probabilities.max(axis=1)
    if OUT_OF_SCOPE in corpus.labels:
        best = np.where(probabilities.argmax(axis=1) == corpus.labels.index(OUT_OF_SCOPE), 0.0, best)
    thresholds = np.linspace(0, 1, 101)
    figure, axes = _axes("threshold", "share accepted (dev)")
    for chosen, name in ((inside, "in scope"), (~inside, "out of scope")):
        if chosen.any():
            axes.plot(thresholds, [(best[chosen] > t).mean() for t in thresholds], label=name)
    axes.axvline(found["calibration"]["threshold"], color="0.5", linestyle=":", label="chosen")
    axes.legend()
    figure.savefig(path, dpi=110)


def _axes(x_label: str, y_label: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # heavy, and only the report draws

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    return figure, axes
