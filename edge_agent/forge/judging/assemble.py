"""A trained encoder and its figures → a bundle folder."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edge_agent.errors import DataError
from edge_agent.files import write_atomic
from edge_agent.forge.data.examples import OUT_OF_SCOPE, Example
from edge_agent.forge.encoders.weights import EncoderWeights, MobileEncoderWeights
from edge_agent.forge.export.quantise import Scheme, bits_of
from edge_agent.forge.export.tflite import export_encoder
from edge_agent.forge.judging.calibrate import Calibrated
from edge_agent.forge.judging.old_runtimes import add_old_runtime_variant
from edge_agent.forge.recipe import Recipe
from edge_agent.inference.bundle import write_bundle
from edge_agent.inference.golden import cosine
from edge_agent.inference.model import Analysis, Model

_MODEL_FILE = "model.tflite"
_GOLDEN_FILE = "golden.jsonl"
_FEWEST_GOLDEN = 24
"""Of a model with few labels, too: over all labels and languages together, one of each at least."""
_SURE = 0.9
_LEAST_COSINE = 0.98
_LEAST_COSINE_OF_LOW_BITS = 0.9
"""Int4 is measured at 0.98 after training for it; what a runtime computes wrongly falls under 0.3."""
_ROOM = 0.25
"""Golden sentences keep this share of the way from the least cosine to 1 as room for other processors."""
_RUNTIMES = {Scheme.FLOAT32: ["ai-edge-litert", "tflite-runtime"]}


@dataclass(frozen=True, slots=True)
class Trained:
    """All that a bundle is made of but its figures."""

    recipe: Recipe
    weights: EncoderWeights | MobileEncoderWeights
    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    slot_tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of a run's finished models, as it goes into evaluation.

    Attributes:
        name: ``teacher``, or the name that the recipe gives a student or a low-bit model.
        role: what it is to the others.
        trained: weights, tokens, labels.
        scheme: how its weights are held where it serves; judged beside its float32 form.
        teacher: name of the model that it learned from; None for the teacher.
    """

    name: str
    role: Literal["teacher", "student", "low-bit"]
    trained: Trained
    scheme: Scheme
    teacher: str | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What a finished bundle says of itself beside its weights.

    Attributes:
        golden: lines of the golden file.
        card: the model card, Markdown.
        metrics: for ``bundle.json``.
        provenance: for ``bundle.json``.
        teacher: for ``bundle.json``: what the model learned from; None for one that had no teacher.
    """

    golden: Sequence[Mapping[str, Any]] = ()
    card: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] | None = None


_NOTHING = About()


def write_model(
    folder: Path,
    trained: Trained,
    scheme: Scheme,
    *,
    calibrated: Calibrated | None,
    about: About = _NOTHING,
) -> None:
    """Writes a bundle folder; a finished one in int8 also has its file for 32-bit ARM.

    Args:
        folder: created where absent; files of the bundle are replaced.
        trained: weights, tokens, labels.
        scheme: how the weights are held.
        calibrated: temperature and threshold; without, temperature 1 and threshold 0.
        about: golden sentences, card, figures; a bundle on the way to being judged has none yet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export_encoder(trained.weights, folder / _MODEL_FILE, scheme=scheme, batch=trained.recipe.model.batch)
    write_atomic(folder / "vocab.txt", "".join(f"{token}\n" for token in trained.tokens).encode())
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in about.golden)
    write_atomic(folder / _GOLDEN_FILE, lines.encode())
    if about.card:
        write_atomic(folder / "MODEL_CARD.md", about.card.encode())
    manifest = _manifest(trained, scheme, calibrated)
    manifest |= {
        "metrics": dict(about.metrics),
        "teacher": dict(about.teacher) if about.teacher else None,
        "provenance": dict(about.provenance),
    }
    write_bundle(folder, manifest)
    if about.golden and scheme is Scheme.INT8_PER_CHANNEL:  # finished, and with a second form for 32-bit ARM
        add_old_runtime_variant(folder)


def least_cosine(scheme: Scheme) -> float:
    """How alike a bundle's logits must be to those of its float32 original, for its golden sentences."""
    bits = bits_of(scheme)
    return _LEAST_COSINE if bits is None or bits >= 8 else _LEAST_COSINE_OF_LOW_BITS


def _manifest(trained: Trained, scheme: Scheme, calibrated: Calibrated | None) -> dict[str, Any]:
    """``bundle.json`` without what the run found out."""
    recipe = trained.recipe
    return {
        "format": 1,
        "name": recipe.model.name,
        "version": recipe.model.version,
        "task": recipe.model.task,
        "languages": list(recipe.model.languages),
        "labels": list(trained.labels),
        "out_of_scope": OUT_OF_SCOPE if OUT_OF_SCOPE in trained.labels else None,
        "slot_tags": list(trained.slot_tags),
        "tokenizer": {
            "type": "wordpiece",
            "vocabulary": "vocab.txt",
            "lowercase": True,
            "strip_accents": True,
            "max_word_characters": 100,
        },
        "calibration": {
            "temperature": calibrated.temperature if calibrated else 1.0,
            "threshold": calibrated.threshold if calibrated else 0.0,
            "margin": recipe.calibration.margin if calibrated else 0.0,
        },
        "input": {
            "max_tokens": recipe.model.max_tokens,
            "beyond": recipe.model.beyond,
            "window_stride": recipe.model.max_tokens // 2,
        },
        "variants": [
            {
                "file": _MODEL_FILE,
                "runtime": _RUNTIMES.get(scheme, ["ai-edge-litert"]),
                "features": [scheme.value],
                "dynamic_length": True,
                "metrics": {},
            }
        ],
        "golden": {"file": _GOLDEN_FILE, "min_cosine": least_cosine(scheme)},
        "licence": recipe.model.licence,
    }


def choose_golden(
    examples: Sequence[Example],
    reference: Model,
    served: Model,
    *,
    most: int,
    min_cosine: float,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Golden lines: sentences that the float32 reference answers rightly and surely, over all labels.

    Args:
        examples: candidates.
        reference: the float32 model, with the bundle's calibration.
        served: the quantised model; a sentence that it answers otherwise is no candidate.
        most: number of lines at most.
        min_cosine: of the bundle; sentences near it are no candidates.
        seed: of the choice.

    Raises:
        DataError: the two models agree on no sentence.
    """
    right: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    taken: dict[tuple[str, str], int] = {}
    kinds = {(example.label, example.lang) for example in examples}
    of_each = max(1, _FEWEST_GOLDEN // max(1, len(kinds)))
    for example in _shuffled(examples, seed):
        key = (example.label, example.lang)
        if taken.get(key, 0) >= of_each:
            continue
        expected = reference.analyse(example.text)
        if not _agrees(expected, served.analyse(example.text), min_cosine):
            continue
        if _is_right(example, expected):
            taken[key] = taken.get(key, 0) + 1
            right.append(_golden_line(example, expected))
        elif len(others) < most:
            others.append(_golden_line(example, expected))
        if len(right) >= most:
            break
    # A model that is hardly trained is right of nothing; its machine can still be compared with ours.
    return _some(right or others)


def choose_golden_embeddings(
    examples: Sequence[Example],
    reference: Model,
    served: Model,
    *,
    most: int,
    min_cosine: float,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """As :func:`choose_golden`, of models of the task embed: sentences whose vectors are alike."""
    lines: list[dict[str, Any]] = []
    for example in _shuffled(examples, seed):
        expected = reference.embed(example.text)
        if cosine(expected.embedding, served.embed(example.text).embedding) < _with_room(min_cosine):
            continue
        lines.append(
            {
                "text": example.text,
                "lang": example.lang,
                "token_ids": list(expected.token_ids),
                "embedding": [round(float(value), 5) for value in expected.embedding],
            }
        )
        if len(lines) >= most:
            break
    return _some(lines)


def _shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    order = list(examples)
    random.Random(seed).shuffle(order)
    return order


def _some(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not lines:
        raise DataError(
            "the quantised model gives no dev sentence the answer of its float32 original",
            hint="it was hardly trained, or its weights do not bear so few bits: see the report",
        )
    return lines


def _with_room(min_cosine: float) -> float:
    return min_cosine + (1 - min_cosine) * _ROOM


def _is_right(example: Example, analysis: Analysis) -> bool:
    expected = {(span.name, span.start, span.end) for span in example.spans or ()}
    found = {(slot.name, slot.start, slot.end) for slot in analysis.slots}
    sure = analysis.decision.confidence >= _SURE
    return sure and analysis.label == example.label and (example.spans is None or expected == found)


def _agrees(reference: Analysis, served: Analysis, min_cosine: float) -> bool:
    return (
        cosine(reference.label_logits, served.label_logits) >= _with_room(min_cosine)
        and reference.label == served.label
        and reference.recognized == served.recognized
        and reference.slot_spans == served.slot_spans
    )


def _golden_line(example: Example, analysis: Analysis) -> dict[str, Any]:
    return {
        "text": example.text,
        "lang": example.lang,
        "token_ids": list(analysis.token_ids),
        "label_logits": [round(float(logit), 4) for logit in analysis.label_logits],
        "label": analysis.label,
        "recognized": analysis.recognized,
        "slots": [
            {"name": slot.name, "value": slot.value, "start": slot.start, "end": slot.end}
            for slot in analysis.slots
        ],
    }
