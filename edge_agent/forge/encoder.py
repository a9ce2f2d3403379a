"""The encoder that trains: BERT (Devlin et al. 2019) with a label head and a slot head.

The one definition of what :mod:`edge_agent.forge.export` writes; a test holds the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.errors import DataError
from edge_agent.forge.weights import EncoderWeights, FloatArray, LayerWeights, Linear, Norm


@dataclass(frozen=True, slots=True)
class Trace:
    """All that a student can learn from: what comes out of a model, and what happens inside.

    Attributes:
        states: the embeddings' output and each layer's, [batch, length, hidden] each.
        scores: each layer's attention before the softmax, [batch, heads, length, length] each; padding
            is not masked in them.
        pooled: the sentence vector, [batch, hidden].
        label_logits: [batch, labels].
        slot_logits: [batch, length, tags], or None for a classifier.
    """

    states: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]
    pooled: Tensor
    label_logits: Tensor
    slot_logits: Tensor | None


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """The sizes of a joint encoder.

    Attributes:
        vocabulary: number of tokens.
        hidden: width.
        intermediate: width of the feed-forward layers.
        layers: number of layers.
        heads: attention heads; divides hidden.
        longest: positions.
        labels: number of labels.
        tags: number of slot tags; 0 for a classifier.
        epsilon: of the layer norms.
        dropout: share of activations dropped in training.
    """

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    longest: int
    labels: int
    tags: int
    epsilon: float = 1e-12
    dropout: float = 0.1


class EncoderLayer(nn.Module):
    """One post-norm transformer layer."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        hidden = shape.hidden
        self.heads = shape.heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=shape.epsilon)
        self.intermediate = nn.Linear(hidden, shape.intermediate)
        self.output = nn.Linear(shape.intermediate, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=shape.epsilon)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """``states`` [batch, length, hidden]; ``mask`` bool [batch, 1, 1, length], True where a token is."""
        batch, length, hidden = states.shape

        def split(projected: Tensor) -> Tensor:
            return projected.view(batch, length, self.heads, -1).transpose(1, 2)

        context = functional.scaled_dot_product_attention(
            split(self.query(states)), split(self.key(states)), split(self.value(states)), attn_mask=mask
        )
        context = context.transpose(1, 2).reshape(batch, length, hidden)
        states = self.attention_norm(states + self.dropout(self.attention_output(context)))
        narrowed = self.output(functional.gelu(self.intermediate(states)))
        normed: Tensor = self.output_norm(states + self.dropout(narrowed))
        return normed

    def attention_scores(self, states: Tensor) -> Tensor:
        """Scaled products of queries and keys before mask and softmax, [batch, heads, length, length]."""
        batch, length, hidden = states.shape
        query = self.query(states).view(batch, length, self.heads, -1).transpose(1, 2)
        key = self.key(states).view(batch, length, self.heads, -1).transpose(1, 2)
        scores: Tensor = query @ key.transpose(2, 3) / (hidden // self.heads) ** 0.5
        return scores


class JointEncoder(nn.Module):
    """Encoder, label head over the mean of the tokens, slot head over each token."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.heads, self.epsilon = shape.heads, shape.epsilon
        self.words = nn.Embedding(shape.vocabulary, shape.hidden)
        self.positions = nn.Embedding(shape.longest, shape.hidden)
        self.embedding_norm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.layers = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.layers))
        self.label_head = nn.Linear(shape.hidden, shape.labels)
        self.slot_head = nn.Linear(shape.hidden, shape.tags) if shape.tags else None
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, token_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Label logits [batch, labels] and slot logits [batch, length, tags].

        Args:
            token_ids: int64 [batch, length].
            mask: bool [batch, length], True where a token is.
        """
        states = self._states(token_ids, mask)[-1]
        slot_logits = self.slot_head(self.dropout(states)) if self.slot_head is not None else None
        return self.label_head(self.dropout(_mean(states, mask))), slot_logits

    def trace(self, token_ids: Tensor, mask: Tensor) -> Trace:
        """As :meth:`forward`, with the states and attention scores on the way."""
        states = self._states(token_ids, mask)
        scores = []
        for layer, before in zip(self.layers, states, strict=False):  # the last state enters no layer
            assert isinstance(layer, EncoderLayer)
            scores.append(layer.attention_scores(before))
        pooled = _mean(states[-1], mask)
        slot_logits = self.slot_head(self.dropout(states[-1])) if self.slot_head is not None else None
        return Trace(tuple(states), tuple(scores), pooled, self.label_head(self.dropout(pooled)), slot_logits)

    def _states(self, token_ids: Tensor, mask: Tensor) -> list[Tensor]:
        places = torch.arange(token_ids.shape[1], device=token_ids.device)
        states = [self.dropout(self.embedding_norm(self.words(token_ids) + self.positions(places)))]
        for layer in self.layers:
            states.append(layer(states[-1], mask[:, None, None, :]))
        return states

    def export_weights(self) -> EncoderWeights:
        """The weights as NumPy arrays for the exporter."""
        return EncoderWeights(
            words=_array(self.words.weight),
            positions=_array(self.positions.weight),
            embedding_norm=_norm(self.embedding_norm),
            layers=tuple(_layer(layer) for layer in self.layers),
            heads=self.heads,
            epsilon=self.epsilon,
            label_head=_linear(self.label_head),
            slot_head=_linear(self.slot_head) if self.slot_head is not None else None,
        )


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over each sentence's tokens, [batch, hidden]."""
    shares = mask.to(states.dtype)[:, :, None]
    return (states * shares).sum(dim=1) / shares.sum(dim=1)


def load_bert_state(folder: Path, longest: int) -> dict[str, Tensor]:
    """A Hugging Face BERT checkpoint's tensors under :class:`JointEncoder`'s names, heads apart.

    Args:
        folder: holds ``model.safetensors``.
        longest: positions to keep; the embedding of token type 0 is added to them.

    Raises:
        DataError: no BERT checkpoint.
    """
    path = folder / "model.safetensors"
    if not path.exists():
        raise DataError(f"{path}: no such checkpoint")
    source = {name.removeprefix("bert."): tensor.float() for name, tensor in load_file(path).items()}
    try:
        return _renamed(source, longest)
    except KeyError as error:
        raise DataError(f"{path}: not a BERT encoder: {error} is missing") from error


def _renamed(source: dict[str, Tensor], longest: int) -> dict[str, Tensor]:
    token_type = source["embeddings.token_type_embeddings.weight"][0]
    state = {
        "words.weight": source["embeddings.word_embeddings.weight"],
        "positions.weight": source["embeddings.position_embeddings.weight"][:longest] + token_type,
    }
    modules = {"embedding_norm": "embeddings.LayerNorm"}
    layer_count = sum(name.endswith("attention.self.query.weight") for name in source)
    for number in range(layer_count):
        ours, theirs = f"layers.{number}", f"encoder.layer.{number}"
        modules |= {
            f"{ours}.query": f"{theirs}.attention.self.query",
            f"{ours}.key": f"{theirs}.attention.self.key",
            f"{ours}.value": f"{theirs}.attention.self.value",
            f"{ours}.attention_output": f"{theirs}.attention.output.dense",
            f"{ours}.attention_norm": f"{theirs}.attention.output.LayerNorm",
            f"{ours}.intermediate": f"{theirs}.intermediate.dense",
            f"{ours}.output": f"{theirs}.output.dense",
            f"{ours}.output_norm": f"{theirs}.output.LayerNorm",
        }
    for ours, theirs in modules.items():
        for part in ("weight", "bias"):
            state[f"{ours}.{part}"] = source[f"{theirs}.{part}"]
    return state


def _array(tensor: Tensor) -> FloatArray:
    array: FloatArray = tensor.detach().cpu().float().numpy().astype(np.float32)
    return array


def _linear(module: nn.Linear) -> Linear:
    return Linear(_array(module.weight), _array(module.bias))


def _norm(module: nn.LayerNorm) -> Norm:
    return Norm(_array(module.weight), _array(module.bias))


def _layer(layer: nn.Module) -> LayerWeights:
    assert isinstance(layer, EncoderLayer)
    return LayerWeights(
        query=_linear(layer.query),
        key=_linear(layer.key),
        value=_linear(layer.value),
        attention_output=_linear(layer.attention_output),
        attention_norm=_norm(layer.attention_norm),
        intermediate=_linear(layer.intermediate),
        output=_linear(layer.output),
        output_norm=_norm(layer.output_norm),
    )
