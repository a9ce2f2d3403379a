"""A checkpoint folder of a few kilobytes, as a recipe's encoder to start from, and a recipe for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

HIDDEN, INTERMEDIATE, LAYERS, HEADS, LONGEST = 48, 96, 3, 4, 64
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORDS = (
    *("turn", "on", "off", "the", "light", "lights", "in", "kitchen", "bedroom", "please"),
    *("tell", "me", "about", "sing", "song", "who", "are", "they"),
)
TOKENS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *(*_LETTERS, *(f"##{letter}" for letter in _LETTERS)),
    *_WORDS,
)
_LINEARS = {
    "attention.self.query": (HIDDEN, HIDDEN),
    "attention.self.key": (HIDDEN, HIDDEN),
    "attention.self.value": (HIDDEN, HIDDEN),
    "attention.output.dense": (HIDDEN, HIDDEN),
    "intermediate.dense": (INTERMEDIATE, HIDDEN),
    "output.dense": (HIDDEN, INTERMEDIATE),
}
ENCODER_SECTION = """
[encoder]
checkpoint = "encoder"
origin = "random numbers"
licence = "CC0"
"""


def write_checkpoint(folder: Path) -> Path:
    """A BERT of three layers of 48 with random weights that are large enough to tell texts apart."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int, spread: float) -> torch.Tensor:
        return torch.empty(shape).normal_(0.0, spread, generator=generator)

    tensors = {
        "embeddings.word_embeddings.weight": drawn(len(TOKENS), HIDDEN, spread=0.5),
        "embeddings.position_embeddings.weight": drawn(LONGEST, HIDDEN, spread=0.1),
        "embeddings.token_type_embeddings.weight": drawn(2, HIDDEN, spread=0.1),
        **_norm("embeddings"),
    }
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for name, shape in _LINEARS.items():
            tensors[f"{layer}.{name}.weight"] = drawn(*shape, spread=0.7 / shape[1] ** 0.5)
            tensors[f"{layer}.{name}.bias"] = torch.zeros(shape[0])
        tensors |= _norm(f"{layer}.attention.output") | _norm(f"{layer}.output")
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in TOKENS), encoding="utf-8")
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": len(TOKENS),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": LONGEST,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _norm(module: str) -> dict[str, torch.Tensor]:
    return {f"{module}.LayerNorm.weight": torch.ones(HIDDEN), f"{module}.LayerNorm.bias": torch.zeros(HIDDEN)}
