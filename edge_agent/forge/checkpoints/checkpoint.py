"""A checkpoint folder as a whole: configuration, weights, tokenizer, and that they belong together."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from edge_agent.errors import DataError
from edge_agent.forge.checkpoints.config import Use, parse_config
from edge_agent.forge.checkpoints.files import CHECKPOINT_HINT, read_object, read_tensors, weights_file
from edge_agent.forge.checkpoints.tensors import new_encoder, state_of
from edge_agent.forge.checkpoints.tokenizer import Tokenizer, read_tokenizer
from edge_agent.forge.encoders.bert import EncoderShape
from edge_agent.forge.encoders.family import Encoder, HeadShape
from edge_agent.forge.encoders.mobilebert import MobileShape
from edge_agent.forge.encoders.weights import Pooling
from edge_agent.inference.manifest import LONGEST_INPUT

_HEADS = ("label_head.", "slot_head.", "pooler.")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint folder holds.

    Attributes:
        family: bert, distilbert or mobilebert.
        use: what it was trained for.
        labels: names of the classifier's outputs, in their order; empty where there is none.
        shape: the sizes of our encoder, with the checkpoint's heads.
        state: the weights under our encoder's names, float32.
        tokenizer: its tokenizer.
        weights: the file that they came from.
    """

    family: str
    use: Use
    labels: tuple[str, ...]
    shape: EncoderShape | MobileShape
    state: dict[str, Tensor]
    tokenizer: Tokenizer
    weights: Path

    @property
    def body(self) -> dict[str, Tensor]:
        """The weights without the heads: what other heads can be trained on."""
        return {name: tensor for name, tensor in self.state.items() if not name.startswith(_HEADS)}

    def build(self) -> Encoder:
        """Our encoder with the checkpoint's weights and heads, ready to evaluate."""
        encoder = new_encoder(self.shape)
        encoder.load_state_dict(self.state)
        return encoder.eval()


def load_checkpoint(folder: Path, longest: int = LONGEST_INPUT) -> Checkpoint:
    """Reads a Hugging Face checkpoint folder of any family.

    Args:
        folder: holds ``config.json``, ``model.safetensors`` or ``pytorch_model.bin``, and ``vocab.txt`` or
            ``tokenizer.json``.
        longest: positions to keep at most.

    Raises:
        DataError: missing, damaged, of an unsupported kind, or its files do not belong together; the message
            names the file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", hint=CHECKPOINT_HINT)
    path = folder / "config.json"
    configuration = parse_config(path, read_object(path), longest=longest)
    tokenizer = read_tokenizer(folder)
    if len(tokenizer.tokens) != configuration.shape.vocabulary:
        raise DataError(
            f"{folder}: the tokenizer has {len(tokenizer.tokens)} tokens, the embedding of config.json "
            f"{configuration.shape.vocabulary} rows",
            hint="take all files from the same checkpoint",
        )
    weights = weights_file(folder)
    state = state_of(weights, read_tensors(weights), configuration)
    shape = configuration.shape
    if configuration.use is Use.ENCODER:
        shape = _pooled_as(_sentence_pooling(folder), shape)
        tokenizer = _cut_as_trained(folder / "sentence_bert_config.json", tokenizer)
    return Checkpoint(
        configuration.family, configuration.use, configuration.labels, shape, state, tokenizer, weights
    )


def _pooled_as(pooling: Pooling, shape: EncoderShape | MobileShape) -> EncoderShape | MobileShape:
    if isinstance(shape, MobileShape):
        return replace(shape, head=HeadShape(0, 0, pooling))
    return replace(shape, pooling=pooling)


def _cut_as_trained(path: Path, tokenizer: Tokenizer) -> Tokenizer:
    """With the longest input that ``sentence-transformers`` gives it, where the folder is one of its."""
    longest = read_object(path).get("max_seq_length") if path.exists() else None
    if isinstance(longest, int) and 3 <= longest < tokenizer.max_tokens:
        return replace(tokenizer, max_tokens=longest)
    return tokenizer


def _sentence_pooling(folder: Path) -> Pooling:
    """How ``sentence-transformers`` makes its vector, where the folder is one of its; else the mean.

    Raises:
        DataError: otherwise than by mean or first token, or with a further layer.
    """
    modules = folder / "modules.json"
    if modules.exists() and re.search(r'"type"\s*:\s*"[^"]*\.Dense"', modules.read_text("utf-8", "replace")):
        raise DataError(f"{modules}: a dense layer behind the pooling is not supported")
    path = folder / "1_Pooling" / "config.json"
    if not path.exists():
        return Pooling.MEAN
    chosen = _pooling_modes(read_object(path))
    for pooling, modes in ((Pooling.MEAN, {"mean"}), (Pooling.FIRST, {"cls"})):
        if chosen == modes:
            return pooling
    raise DataError(
        f"{path}: pooling by {', '.join(sorted(chosen)) or 'nothing'} is not supported", hint="mean or cls is"
    )


def _pooling_modes(found: dict[str, Any]) -> set[str]:
    """Both of its forms: ``pooling_mode: "mean"``, and ``pooling_mode_mean_tokens: true``."""
    mode = found.get("pooling_mode")
    if mode is not None:
        return {str(each) for each in mode} if isinstance(mode, list) else {str(mode)}
    prefix = "pooling_mode_"
    on = {name for name, value in found.items() if name.startswith(prefix) and value is True}
    return {name.removeprefix(prefix).removesuffix("_tokens").removesuffix("_token") for name in on}
