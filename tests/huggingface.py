"""``transformers`` as an oracle: models with random weights, and checkpoint folders as it writes them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = (
    *SPECIAL,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    "the",
    "light",
    "room",
    "?",
    ".",
    "ñ",
)
"""Small, and with a piece for every plain word."""
COMMON = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 80}
SIZES: dict[str, dict[str, Any]] = {
    "Bert": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96},
    "DistilBert": {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 96},
    "MobileBert": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "embedding_size": 32,
        "intra_bottleneck_size": 48,
        "num_feedforward_networks": 2,
    },
}


def hugging_face() -> Any:
    """The library; its imports warn about themselves."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers
    return transformers


def random_model(name: str, sizes: dict[str, Any], *, seed: int = 0) -> Any:
    """A model such as ``BertModel`` with random weights, biases and gains, ready to evaluate.

    The library's own random weights are so small that attention hardly sees them, and its norms change
    nothing.
    """
    library = hugging_face()
    family = next(family for family in ("MobileBert", "DistilBert", "Bert") if name.startswith(family))
    config = getattr(library, f"{family}Config")(**sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(library, name)(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for part, parameter in module.named_parameters(recurse=False):
                if isinstance(module, nn.Linear) and part == "weight":
                    parameter.normal_(0.0, 0.7 / parameter.shape[1] ** 0.5, generator=generator)
                elif isinstance(module, nn.Embedding):
                    parameter.normal_(0.0, 0.5, generator=generator)
                elif part == "weight":  # of a norm
                    parameter.uniform_(0.7, 1.1, generator=generator)
                else:
                    parameter.normal_(0.0, 0.05, generator=generator)
    return model.eval()


def save(model: Any, folder: Path, *, vocabulary: tuple[str, ...] = VOCABULARY) -> Path:
    """The checkpoint folder of a model, with a vocabulary beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
    return folder


def small_model(family: str, kind: str, **more: Any) -> Any:
    """A small model over :data:`VOCABULARY`, such as ``("Bert", "ForSequenceClassification")``."""
    return random_model(f"{family}{kind}", {**SIZES[family], **COMMON, **more})
