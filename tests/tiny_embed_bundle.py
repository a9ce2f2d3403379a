"""A whole bundle of the task embed, 10 kB: the normalised mean of seeded random word vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.inference.bundle import write_bundle
from edge_agent.inference.tokenizer import WordPiece
from tests.tiny_bundle import tiny_manifest
from tests.tiny_graphs import Array, write_embedder

HIDDEN = 16
WORDS = ("turn", "on", "off", "the", "lamp", "fan", "kitchen", "play", "music", "apaga", "luz", "la", "de")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS)
SENTENCES = (("en", "turn on the lamp"), ("en", "play music"), ("es", "apaga la luz de la kitchen"))
TOKENIZER = WordPiece(VOCABULARY)


def word_vectors() -> Array:
    """One row for each word of VOCABULARY; the special tokens' are small."""
    rows = np.random.default_rng(11).standard_normal((len(VOCABULARY), HIDDEN)).astype(np.float32)
    rows[:4] *= 0.01
    return rows


def reference_embedding(ids: tuple[int, ...]) -> Array:
    """The bundle's vector of one window, in NumPy."""
    mean = word_vectors()[list(ids)].mean(axis=0)
    vector: Array = (mean / np.linalg.norm(mean)).astype(np.float32)
    return vector


def build_tiny_embed_bundle(
    folder: str | Path,
    name: str = "tiny-embed",
    *,
    beyond: str = "truncate",
    wrong_golden: bool = False,
    batch: int = 0,
) -> Path:
    """Write a valid bundle of the task embed into ``folder`` (made if need be) and return it.

    Args:
        folder: where.
        name: of the bundle.
        beyond: ``truncate`` or ``window``.
        wrong_golden: the second golden sentence expects another vector.
        batch: sentences that the file takes at once; 0 for a file without that graph.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    write_embedder(target / "model.tflite", word_vectors(), batch=batch)
    (target / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    golden = [_golden(lang, text) for lang, text in SENTENCES]
    if wrong_golden:
        golden[1]["embedding"] = [-number for number in golden[1]["embedding"]]
    lines = "".join(json.dumps(line) + "\n" for line in golden)
    (target / "golden.jsonl").write_text(lines, encoding="utf-8")
    (target / "MODEL_CARD.md").write_text(f"# {name}\n\nA model for tests.\n", encoding="utf-8")
    manifest = tiny_manifest(name, max_tokens=8, beyond=beyond, window_stride=4)
    manifest |= {"task": "embed", "labels": [], "slot_tags": [], "out_of_scope": None}
    manifest["calibration"] = {"temperature": 1.0, "threshold": 0.0, "margin": 0.0}
    manifest["variants"][0] |= {"features": ["float32"], "runtime": ["ai-edge-litert", "tflite-runtime"]}
    write_bundle(target, manifest)
    return target


def _golden(lang: str, text: str) -> dict[str, Any]:
    ids = TOKENIZER.encode(text).ids
    numbers = [round(float(number), 6) for number in reference_embedding(ids)]
    return {"text": text, "lang": lang, "token_ids": list(ids), "embedding": numbers}
