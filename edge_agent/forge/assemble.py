"""A trained encoder and its figures → a bundle folder."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.files import write_atomic
from edge_agent.forge.calibrate import Calibrated
from edge_agent.forge.data.examples import OUT_OF_SCOPE, Example
from edge_agent.forge.export import export_bert
from edge_agent.forge.quantise import Scheme
from edge_agent.forge.recipe import Recipe
from edge_agent.forge.weights import EncoderWeights
from edge_agent.inference.bundle import write_bundle
from edge_agent.inference.model import Analysis, Model

_MODEL_FILE = "model.tflite"
_GOLDEN_FILE = "golden.jsonl"
_GOLDEN_PER_LABEL_AND_LANGUAGE = 1
_SURE = 0.9
_LEAST_COSINE = 0.98
_RUNTIMES = {
    Scheme.INT8_PER_CHANNEL: ["ai-edge-litert"],
    Scheme.FLOAT32: ["ai-edge-litert", "tflite-runtime"],
}


@dataclass(frozen=True, slots=True)
class Trained:
    """All that a bundle is made of but its figures."""

    recipe: Recipe
    weights: EncoderWeights
    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    slot_tags: tuple[str, ...]


def write_model(
    folder: Path,
    trained: Trained,
    scheme: Scheme,
    *,
    calibrated: Calibrated | None,
    golden: Sequence[Mapping[str, Any]] = (),
    card: str = "",
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Writes a bundle folder.

    Args:
        folder: created where absent; files of the bundle are replaced.
        trained: weights, tokens, labels.
        scheme: how the weights are held.
        calibrated: temperature and threshold; without, temperature 1 and threshold 0.
        golden: lines of the golden file.
        card: the model card.
        metrics: for ``bundle.json``.
        provenance: for ``bundle.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export_bert(trained.weights, folder / _MODEL_FILE, scheme=scheme, batch=trained.recipe.model.batch)
    write_atomic(folder / "vocab.txt", "".join(f"{token}\n" for token in trained.tokens).encode())
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in golden)
    write_atomic(folder / _GOLDEN_FILE, lines.encode())
    if card:
        write_atomic(folder / "MODEL_CARD.md", card.encode())
    write_bundle(folder, _manifest(trained, scheme, calibrated, metrics or {}, provenance or {}))


def _manifest(
    trained: Trained,
    scheme: Scheme,
    calibrated: Calibrated | None,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
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
                "runtime": _RUNTIMES[scheme],
                "features": [scheme.value],
                "dynamic_length": True,
                "metrics": {},
            }
        ],
        "golden": {"file": _GOLDEN_FILE, "min_cosine": _LEAST_COSINE},
        "metrics": dict(metrics),
        "teacher": None,
        "provenance": dict(provenance),
        "licence": recipe.model.licence,
    }


def choose_golden(
    examples: Sequence[Example],
    reference: Sequence[Analysis],
    served: Model,
    *,
    most: int,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Golden lines: sentences that the float32 reference answers rightly and surely, over all labels.

    Args:
        examples: candidates.
        reference: the float32 model's analyses of them, with the bundle's calibration.
        served: the quantised model; a sentence that it answers otherwise is no candidate.
        most: number of lines at most.
        seed: of the choice.
    """
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)
    agreeing = [i for i in order if _agrees(reference[i], served.analyse(examples[i].text))]
    # A model that is hardly trained is right of nothing; its machine can still be compared with ours.
    candidates = [i for i in agreeing if _is_right(examples[i], reference[i])] or agreeing
    taken: dict[tuple[str, str], int] = {}
    lines: list[dict[str, Any]] = []
    for index in candidates:
        key = (examples[index].label, examples[index].lang)
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= _GOLDEN_PER_LABEL_AND_LANGUAGE and len(lines) < most:
            lines.append(_golden_line(examples[index], reference[index]))
    return lines


def _is_right(example: Example, analysis: Analysis) -> bool:
    expected = {(span.name, span.start, span.end) for span in example.spans or ()}
    found = {(slot.name, slot.start, slot.end) for slot in analysis.slots}
    sure = analysis.decision.confidence >= _SURE
    return sure and analysis.label == example.label and (example.spans is None or expected == found)


def _agrees(reference: Analysis, served: Analysis) -> bool:
    return (
        reference.label == served.label
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
