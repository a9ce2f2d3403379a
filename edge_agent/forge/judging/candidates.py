"""One finished model → its two bundles in the run folder and its figures on dev and test.

A model reads each sentence once in each form. Temperature and threshold come from the dev logits of the
quantised form; the float32 form is judged with the same, so that their difference is that of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.forge.data.corpus import Corpus
from edge_agent.forge.data.examples import OUT_OF_SCOPE, Example
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.judging.assemble import Candidate, write_model
from edge_agent.forge.judging.calibrate import Calibrated, calibrate, reliability
from edge_agent.forge.judging.curves import out_of_scope_curve
from edge_agent.forge.judging.evaluate import (
    Answer,
    Reading,
    agreement,
    decided,
    figures,
    read_sentences,
    worst_pairs,
)
from edge_agent.forge.judging.floor import fit_floor
from edge_agent.forge.recipe import CalibrationSection, Recipe
from edge_agent.inference.decode import softmax
from edge_agent.inference.manifest import Calibration
from edge_agent.inference.model import Model


@dataclass(frozen=True, slots=True)
class Splits:
    """The sentences that models are judged by.

    Attributes:
        dev: to calibrate and choose by; at least one.
        test: to report on; may be empty.
    """

    dev: tuple[Example, ...]
    test: tuple[Example, ...]

    def items(self) -> tuple[tuple[str, tuple[Example, ...]], ...]:
        """Both, by name."""
        return ("dev", self.dev), ("test", self.test)


def judge_candidate(candidate: Candidate, splits: Splits, folder: Path) -> tuple[Calibrated, dict[str, Any]]:
    """Calibrates a model, writes both its bundles and judges them.

    Args:
        candidate: the model.
        splits: dev and test sentences, labelled.
        folder: gets ``float32`` and ``quantised``.

    Returns:
        The calibration, and the model's figures as ``report.json`` has them (costs and relations apart).
    """
    trained, recipe = candidate.trained, candidate.trained.recipe
    quantised = _read_form(candidate, candidate.scheme, folder / "quantised", splits)
    float32 = _read_form(candidate, Scheme.FLOAT32, folder / "float32", splits)
    calibrated = calibrated_on(splits.dev, quantised["dev"], trained.labels, recipe.calibration)
    for form, scheme in (("quantised", candidate.scheme), ("float32", Scheme.FLOAT32)):
        write_model(folder / form, trained, scheme, calibrated=calibrated)
    calibration = as_calibration(calibrated, recipe.calibration)
    served = _answers(quantised, trained.labels, calibration)
    original = _answers(float32, trained.labels, calibration)
    macro = recipe.model.task == "classify"
    found = describe(candidate) | {
        "calibration": {**asdict(calibrated), "margin": recipe.calibration.margin},
        "float32": _figures(splits, original, trained.labels, macro),
        "quantised": _figures(splits, served, trained.labels, macro),
        "agreement": {name: agreement(original[name], served[name]) for name, _ in splits.items()},
        "confusions": worst_pairs(splits.dev, served["dev"]),
        "reliability": _reliability(splits.dev, quantised["dev"], trained.labels, calibrated),
        "out_of_scope_curves": {
            name: out_of_scope_curve(examples, quantised[name].logits, trained.labels, calibrated.temperature)
            for name, examples in splits.items()
        },
    }
    return calibrated, found


def describe(candidate: Candidate) -> dict[str, Any]:
    """What a candidate is, for the report."""
    weights = candidate.trained.weights
    return {
        "role": candidate.role,
        "teacher": candidate.teacher,
        "scheme": candidate.scheme.value,
        "layers": len(weights.layers),
        "hidden": weights.hidden,
        "vocabulary": len(candidate.trained.tokens),
    }


def floor_figures(corpus: Corpus, splits: Splits, recipe: Recipe) -> dict[str, Any] | None:
    """Figures of the linear n-gram classifier on the same training texts, calibrated as the models are.

    None where there are no labels to learn.
    """
    if recipe.model.task == "embed":
        return None
    floor = fit_floor(corpus.training, corpus.labels, seed=recipe.training.seed)
    if floor is None:
        return None
    readings = {name: floor.read(examples) for name, examples in splits.items()}
    calibrated = calibrated_on(splits.dev, readings["dev"], corpus.labels, recipe.calibration)
    answers = _answers(readings, corpus.labels, as_calibration(calibrated, recipe.calibration))
    return {
        "sentences": floor.sentences,
        "calibration": {**asdict(calibrated), "margin": recipe.calibration.margin},
        **_figures(splits, answers, corpus.labels, recipe.model.task == "classify"),
    }


def calibrated_on(
    dev: Sequence[Example], reading: Reading, labels: Sequence[str], section: CalibrationSection
) -> Calibrated:
    """Temperature and threshold from dev."""
    index = {label: number for number, label in enumerate(labels)}
    return calibrate(
        reading.logits,
        _indices(dev, labels),
        sources=[example.source for example in dev],
        out_of_scope=index.get(OUT_OF_SCOPE),
        margin=section.margin,
        accept_in_scope=section.accept_in_scope,
        accept_out_of_scope=section.accept_out_of_scope,
    )


def as_calibration(calibrated: Calibrated, section: CalibrationSection) -> Calibration:
    """What the bundle will decide by."""
    return Calibration(calibrated.temperature, calibrated.threshold, section.margin)


def _read_form(candidate: Candidate, scheme: Scheme, folder: Path, splits: Splits) -> dict[str, Reading]:
    write_model(folder, candidate.trained, scheme, calibrated=None)
    with Model.load(folder, check_golden=False) as model:
        return {name: read_sentences(model, examples) for name, examples in splits.items()}


def _answers(
    readings: Mapping[str, Reading], labels: Sequence[str], calibration: Calibration
) -> dict[str, list[Answer]]:
    return {name: decided(reading, labels, calibration) for name, reading in readings.items()}


def _figures(
    splits: Splits, answers: Mapping[str, Sequence[Answer]], labels: Sequence[str], macro: bool
) -> dict[str, Any]:
    return {name: figures(examples, answers[name], labels, macro=macro) for name, examples in splits.items()}


def _reliability(
    dev: Sequence[Example], reading: Reading, labels: Sequence[str], calibrated: Calibrated
) -> dict[str, list[dict[str, float]]]:
    expected = _indices(dev, labels)
    return {
        name: [
            {
                "sentences": round(share * len(dev)),
                "share": share,
                "confidence": confidence,
                "accuracy": accuracy,
            }
            for share, confidence, accuracy in reliability(softmax(reading.logits, temperature), expected)
        ]
        for name, temperature in (("before", 1.0), ("after", calibrated.temperature))
    }


def _indices(examples: Sequence[Example], labels: Sequence[str]) -> NDArray[np.int64]:
    index = {label: number for number, label in enumerate(labels)}
    return np.asarray([index[example.label] for example in examples], np.int64)
