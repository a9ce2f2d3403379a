"""A whole intent bundle of 120 kB that understands a handful of words, made in milliseconds.

Its encoder has seeded random weights; its two heads are fitted to a few sentences by ridge regression. A
forward pass in NumPy, which shares nothing with the exported file, gives the golden logits, so a tiny bundle
that loads has also shown that the exporter, the runtime and the decoding agree.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.forge.encoders.weights import EncoderWeights, Linear
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.export.tflite import export_encoder
from edge_agent.inference.bundle import write_bundle
from edge_agent.inference.decode import decide, decode_slots
from edge_agent.inference.manifest import Calibration
from edge_agent.inference.tokenizer import WordPiece
from edge_agent.types import Slot
from tests.tiny_encoder import Array, random_encoder, reference_logits, token_states

LABELS = ("HassTurnOn", "HassTurnOff", "HassGetState", "out_of_scope")
SLOT_TAGS = ("O", "B-area", "I-area", "B-name", "I-name")
CALIBRATION = Calibration(temperature=1.5, threshold=0.5, margin=0.1)

SENTENCES = (
    ("en", "turn on the lamp in the [kitchen](area)", "HassTurnOn"),
    ("en", "turn on the [fan](name)", "HassTurnOn"),
    ("en", "switch on the [lamp](name) please", "HassTurnOn"),
    ("es", "enciende la luz de la [cocina](area)", "HassTurnOn"),
    ("es", "enciende el [ventilador](name)", "HassTurnOn"),
    ("en", "turn off the [fan](name) in the [living room](area)", "HassTurnOff"),
    ("en", "switch off the [lamp](name)", "HassTurnOff"),
    ("es", "apaga la luz del [salón](area)", "HassTurnOff"),
    ("es", "apaga el [ventilador](name) de la [cocina](area)", "HassTurnOff"),
    ("en", "is the [fan](name) in the [kitchen](area) running", "HassGetState"),
    ("en", "is the [lamp](name) running", "HassGetState"),
    ("es", "¿está encendida la [lámpara](name)?", "HassGetState"),
    ("en", "tell me a joke about cats", "out_of_scope"),
    ("en", "book a table for two", "out_of_scope"),
    ("es", "cuéntame un chiste", "out_of_scope"),
    ("es", "reserva una mesa para dos", "out_of_scope"),
)
"""Language, sentence with its slots as ``[value](name)``, intent."""


def build_tiny_bundle(
    folder: str | Path,
    name: str = "tiny",
    *,
    version: str = "1.0.0",
    scheme: Scheme = Scheme.INT8_PER_CHANNEL,
    max_tokens: int = 32,
    beyond: str = "truncate",
    window_stride: int = 10,
    classify: bool = False,
    wrong_golden: bool = False,
    batch: int = 4,
    seed: int = 7,
) -> Path:
    """Write a valid bundle into ``folder`` (made if need be) and return it.

    Args:
        folder: where.
        name: of the bundle.
        version: of the bundle.
        scheme: of the weights in the file.
        max_tokens: longest input.
        beyond: ``truncate`` or ``window``.
        window_stride: of the windows.
        classify: a classifier, without slots.
        wrong_golden: the third golden sentence expects another label, so that the bundle is intact and
            must not be served.
        batch: sentences that the file takes at once; 0 for a file without that graph.
        seed: of the random weights.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    examples = [(lang, *_parse(marked), label) for lang, marked, label in SENTENCES]
    vocabulary = _vocabulary([text for _, text, _, _ in examples])
    tokenizer = WordPiece(vocabulary)
    weights = _fit(
        random_encoder(len(vocabulary), max_tokens, len(LABELS), len(SLOT_TAGS), seed), tokenizer, examples
    )
    if classify:
        weights = replace(weights, slot_head=None)
    export_encoder(weights, target / "model.tflite", scheme=scheme, batch=batch)
    (target / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    golden = [_golden(weights, tokenizer, lang, text) for lang, text, _, _ in examples]
    if wrong_golden:
        golden[2]["label"] = "HassGetState"
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in golden)
    (target / "golden.jsonl").write_text(lines, encoding="utf-8")
    (target / "MODEL_CARD.md").write_text(f"# {name}\n\nA model for tests.\n", encoding="utf-8")
    write_bundle(target, tiny_manifest(name, version, scheme, max_tokens, beyond, window_stride, classify))
    return target


def tiny_manifest(
    name: str = "tiny",
    version: str = "1.0.0",
    scheme: Scheme = Scheme.INT8_PER_CHANNEL,
    max_tokens: int = 32,
    beyond: str = "truncate",
    window_stride: int = 10,
    classify: bool = False,
) -> dict[str, Any]:
    """The ``bundle.json`` of a tiny bundle, without its files."""
    runtimes = (
        ["ai-edge-litert"] if scheme is Scheme.INT8_PER_CHANNEL else ["ai-edge-litert", "tflite-runtime"]
    )
    return {
        "format": 1,
        "name": name,
        "version": version,
        "task": "classify" if classify else "intent",
        "languages": ["en", "es"],
        "labels": list(LABELS),
        "out_of_scope": "out_of_scope",
        "slot_tags": [] if classify else list(SLOT_TAGS),
        "tokenizer": {
            "type": "wordpiece",
            "vocabulary": "vocab.txt",
            "lowercase": True,
            "strip_accents": True,
            "max_word_characters": 100,
        },
        "calibration": {
            "temperature": CALIBRATION.temperature,
            "threshold": CALIBRATION.threshold,
            "margin": CALIBRATION.margin,
        },
        "input": {
            "max_tokens": max_tokens,
            "beyond": beyond,
            "window_stride": min(window_stride, max_tokens - 2),
        },
        "variants": [
            {
                "file": "model.tflite",
                "runtime": runtimes,
                "features": [scheme.value],
                "dynamic_length": True,
                "metrics": {},
            }
        ],
        "golden": {"file": "golden.jsonl", "min_cosine": 0.98},
        "metrics": {},
        "teacher": None,
        "provenance": {"made_by": "tests/tiny_bundle.py"},
        "licence": "Apache-2.0",
    }


def _parse(marked: str) -> tuple[str, list[tuple[int, int, str]]]:
    """``"the [fan](name)"`` → ``("the fan", [(4, 7, "name")])``."""
    text = ""
    slots: list[tuple[int, int, str]] = []
    while "[" in marked:
        before, _, rest = marked.partition("[")
        value, _, rest = rest.partition("](")
        slot, _, marked = rest.partition(")")
        text += before
        slots.append((len(text), len(text) + len(value), slot))
        text += value
    return text + marked, slots


def _vocabulary(texts: list[str]) -> list[str]:
    """Special tokens, letters, digits and marks (so that any text has tokens), then the words."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [str(digit) for digit in range(10)]
    first = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *".,!?¿¡"]
    spelled = WordPiece(first)
    words: list[str] = []
    for text in texts:
        encoding = spelled.encode(text)
        for number in range(encoding.words[-2] + 1):
            pieces = [first[i] for i, w in zip(encoding.ids, encoding.words, strict=True) if w == number]
            words.append("".join(piece.removeprefix("##") for piece in pieces))
    return list(dict.fromkeys([*first, *words]))


def _fit(
    weights: EncoderWeights,
    tokenizer: WordPiece,
    examples: list[tuple[str, str, list[tuple[int, int, str]], str]],
) -> EncoderWeights:
    """Fit both heads to the examples: logits of +6 for the right class and -6 for the others."""
    pooled, tokens, labels, tags = [], [], [], []
    for _, text, slots, label in examples:
        encoding = tokenizer.encode(text)
        states = token_states(weights, encoding.ids)
        pooled.append(states.mean(axis=0))
        labels.append(LABELS.index(label))
        tokens += list(states)
        tags += [_tag(span, slots) for span in encoding.spans]
    return replace(
        weights,
        label_head=_ridge(np.stack(pooled), labels, len(LABELS)),
        slot_head=_ridge(np.stack(tokens), tags, len(SLOT_TAGS)),
    )


def _tag(span: tuple[int, int], slots: list[tuple[int, int, str]]) -> int:
    for start, end, name in slots:
        if span[1] and start <= span[0] and span[1] <= end:
            return SLOT_TAGS.index(("B-" if span[0] == start else "I-") + name)
    return 0


def _ridge(inputs: Array, classes: list[int], count: int) -> Linear:
    targets = np.where(np.eye(count)[classes] > 0, 6.0, -6.0)
    extended = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1).astype(np.float64)
    gram = extended.T @ extended + 0.02 * np.eye(extended.shape[1])
    solution = np.linalg.solve(gram, extended.T @ targets).T.astype(np.float32)
    return Linear(np.ascontiguousarray(solution[:, :-1]), np.ascontiguousarray(solution[:, -1]))


def _golden(weights: EncoderWeights, tokenizer: WordPiece, lang: str, text: str) -> dict[str, Any]:
    encoding = tokenizer.encode(text)
    label_logits, slot_logits = reference_logits(weights, encoding.ids)
    decision = decide(label_logits, LABELS, CALIBRATION, out_of_scope="out_of_scope")
    slots: tuple[Slot, ...] = ()
    if decision.recognized and weights.slot_head is not None:
        slots = decode_slots(text, encoding, slot_logits, SLOT_TAGS)
    return {
        "text": text,
        "lang": lang,
        "token_ids": list(encoding.ids),
        "label_logits": [round(float(logit), 5) for logit in label_logits],
        "label": decision.best,
        "recognized": decision.recognized,
        "slots": [{"name": s.name, "value": s.value, "start": s.start, "end": s.end} for s in slots],
    }
