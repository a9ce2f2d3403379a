"""Tensors of a checkpoint → the state of our encoder, each by its name and of the shape it should have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from edge_agent.errors import DataError
from edge_agent.forge.checkpoints.config import Configuration, Use
from edge_agent.forge.encoders.bert import EncoderShape, JointEncoder
from edge_agent.forge.encoders.family import Encoder
from edge_agent.forge.encoders.mobilebert import MobileEncoder, MobileShape

_POSITIONS = "embeddings.position_embeddings.weight"
_TOKEN_TYPES = "embeddings.token_type_embeddings.weight"
_OUTSIDE_LAYERS = {
    "words": "embeddings.word_embeddings",
    "transformation": "embeddings.embedding_transformation",
    "positions": "embeddings.position_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
    "label_head": "classifier",
    "slot_head": "classifier",
    "pooler": "pooler.dense",
}
_BERT_LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}
_DISTILBERT_LAYER = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "attention_output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "intermediate": "ffn.lin1",
    "output": "ffn.lin2",
    "output_norm": "output_layer_norm",
}
_MOBILEBERT_LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    **{
        f"{ours}.{our_part}": f"{theirs}.{their_part}"
        for ours, theirs in (
            ("narrowing", "bottleneck.input"),
            ("shared", "bottleneck.attention"),
            ("attention_output", "attention.output"),
            ("widening", "output.bottleneck"),
        )
        for our_part, their_part in (("dense", "dense"), ("norm", "LayerNorm"))
    },
}
_LAYERS = {"bert": _BERT_LAYER, "distilbert": _DISTILBERT_LAYER, "mobilebert": _MOBILEBERT_LAYER}
_OLD_NORM_NAMES = {"gamma": "weight", "beta": "bias"}  # of the first checkpoints, converted from TensorFlow


def new_encoder(shape: EncoderShape | MobileShape) -> Encoder:
    """An encoder of these sizes with fresh weights."""
    return MobileEncoder(shape) if isinstance(shape, MobileShape) else JointEncoder(shape)


def state_of(path: Path, tensors: Mapping[str, Tensor], configuration: Configuration) -> dict[str, Tensor]:
    """The state of :func:`new_encoder`'s module, float32.

    Token type 0 is added to the positions, and the positions are cut to those of the configuration.

    Args:
        path: of the file, for messages.
        tensors: as the file has them.
        configuration: what they should be.

    Raises:
        DataError: one is missing, of another shape, or holds what is not a finite number.
    """
    source = {_plain_name(name, configuration.family): tensor for name, tensor in tensors.items()}
    _refuse_further_layers(path, source, configuration)
    with torch.device("meta"):
        wanted = new_encoder(configuration.shape).state_dict()
    state: dict[str, Tensor] = {}
    for ours, like in wanted.items():
        module, part = ours.rsplit(".", 1)
        if module == "label_head" and configuration.use is not Use.CLASSIFY:
            state[ours] = _constant_label(like, part)
        elif ours == "positions.weight":
            state[ours] = _positions(path, source, like, configuration.family)
        else:
            theirs = f"{_their_module(module, configuration)}.{part}"
            state[ours] = _taken(path, source, theirs, tuple(like.shape))
    return state


def _plain_name(name: str, family: str) -> str:
    plain = name.removeprefix(f"{family}.")
    module, _, part = plain.rpartition(".")
    return f"{module}.{_OLD_NORM_NAMES.get(part, part)}"


def _refuse_further_layers(path: Path, source: Mapping[str, Tensor], configuration: Configuration) -> None:
    numbers = {int(found[1]) for name in source if (found := re.match(r"\w+\.layer\.(\d+)\.", name))}
    if numbers and max(numbers) >= configuration.shape.layers:
        raise DataError(
            f"{path}: has {max(numbers) + 1} layers, where config.json says {configuration.shape.layers}",
            hint="take config.json and weights from the same checkpoint",
        )


def _their_module(ours: str, configuration: Configuration) -> str:
    family, layered = configuration.family, re.fullmatch(r"layers\.(\d+)\.(.+)", ours)
    if layered is None:
        if ours == "pooler" and family == "distilbert":
            return "pre_classifier"
        return _OUTSIDE_LAYERS[ours]
    number, inner = layered.groups()
    stack = "transformer.layer" if family == "distilbert" else "encoder.layer"
    network = re.fullmatch(r"feed_forwards\.(\d+)\.(.+)", inner)
    if network is None:
        return f"{stack}.{number}.{_LAYERS[family][inner]}"
    assert isinstance(configuration.shape, MobileShape)
    which, rest = int(network[1]), network[2]
    theirs = {"intermediate": "intermediate.dense", "output.dense": "output.dense"}.get(
        rest, "output.LayerNorm"
    )
    # The last of the stack stands where BERT's only one stands.
    is_last = which == configuration.shape.feed_forwards - 1
    return f"{stack}.{number}.{theirs}" if is_last else f"{stack}.{number}.ffn.{which}.{theirs}"


def _positions(path: Path, source: Mapping[str, Tensor], like: Tensor, family: str) -> Tensor:
    longest, hidden = like.shape
    table = _taken(path, source, _POSITIONS, (None, hidden))
    if len(table) < longest:
        raise DataError(
            f"{path}: {_POSITIONS} has {len(table)} rows, where config.json says at least {longest}",
            hint="take config.json and weights from the same checkpoint",
        )
    if family == "distilbert":
        return table[:longest].clone()
    return table[:longest] + _taken(path, source, _TOKEN_TYPES, (None, hidden))[0]


def _constant_label(like: Tensor, part: str) -> Tensor:
    """The head of the one label of a model that only finds slots: a logit of 1, whatever the sentence."""
    return torch.ones(like.shape) if part == "bias" else torch.zeros(like.shape)


def _taken(path: Path, source: Mapping[str, Tensor], name: str, shape: tuple[int | None, ...]) -> Tensor:
    if name not in source:
        raise DataError(f"{path}: {name} is missing", hint="is config.json of the same checkpoint?")
    tensor = source[name]
    fits = tensor.dim() == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        raise DataError(
            f"{path}: {name} is {_shown(tensor.shape)}, where config.json says {_shown(shape)}",
            hint="take config.json and weights from the same checkpoint",
        )
    if not tensor.is_floating_point():
        raise DataError(
            f"{path}: {name} is {tensor.dtype}, not floating point", hint="is it quantised already?"
        )
    if not bool(torch.isfinite(tensor).all()):
        raise DataError(f"{path}: {name} holds numbers that are not finite", hint="its training went wrong")
    return tensor.float()


def _shown(shape: tuple[int | None, ...] | torch.Size) -> str:
    return " × ".join("any" if size is None else str(size) for size in shape)
