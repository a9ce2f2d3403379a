"""The encoders that train: what all families share, and BERT's own (Devlin et al. 2019).

MiniLM, TinyBERT and DistilBERT (Sanh et al. 2019) are the same body by other sizes; MobileBERT is in
:mod:`edge_agent.forge.mobilebert`. Each is the one definition of what :mod:`edge_agent.forge.export` writes;
tests hold the two equal, and equal to ``transformers``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.errors import DataError
from edge_agent.forge.weights import (
    Activation,
    Dense,
    EncoderWeights,
    FloatArray,
    LayerWeights,
    Linear,
    MobileEncoderWeights,
    Norm,
    Pooling,
)


@dataclass(frozen=True, slots=True)
class Trace:
    """All that a student can learn from: what comes out of a model, and what happens inside.

    Attributes:
        states: the embeddings' output and each layer's, [batch, length, hidden] each.
        scores: each layer's attention before the softmax, [batch, heads, length, length] each; padding
            is not masked in them.
        pooled: the sentence vector that the label head reads, [batch, hidden].
        label_logits: [batch, labels].
        slot_logits: [batch, length, tags], or None for a classifier.
    """

    states: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]
    pooled: Tensor
    label_logits: Tensor
    slot_logits: Tensor | None


@dataclass(frozen=True, slots=True)
class HeadShape:
    """What an encoder ends in.

    Attributes:
        labels: number of labels; 0 for a bare encoder, whose answer is the sentence vector.
        tags: number of slot tags; 0 for none.
        pooling: how token states become the sentence vector.
        pooler: activation of a dense layer between pooling and label head; None where there is no such layer.
    """

    labels: int
    tags: int
    pooling: Pooling = Pooling.MEAN
    pooler: Activation | None = None


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """The sizes of a BERT-shaped encoder.

    Attributes:
        vocabulary: number of tokens.
        hidden: width.
        intermediate: width of the feed-forward layers.
        layers: number of layers.
        heads: attention heads; divides hidden.
        longest: positions.
        labels: number of labels; 0 for a bare encoder, whose answer is the sentence vector.
        tags: number of slot tags; 0 for a classifier.
        epsilon: of the layer norms.
        dropout: share of activations dropped in training.
        activation: of the feed-forward layers.
        pooling: how token states become the sentence vector.
        pooler: activation of a dense layer between pooling and label head; None where there is no such layer.
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
    activation: Activation = Activation.GELU
    pooling: Pooling = Pooling.MEAN
    pooler: Activation | None = None

    @property
    def head(self) -> HeadShape:
        """What it ends in."""
        return HeadShape(self.labels, self.tags, self.pooling, self.pooler)


def activated(states: Tensor, activation: Activation) -> Tensor:
    """The activation, element by element."""
    if activation is Activation.GELU:
        return functional.gelu(states)
    if activation is Activation.GELU_TANH:
        return functional.gelu(states, approximate="tanh")
    return torch.tanh(states) if activation is Activation.TANH else torch.relu(states)


class Encoder(nn.Module, ABC):
    """Any family: token states, a label head over the sentence vector, a slot head over each token.

    A family makes its own modules and then calls :meth:`add_heads`.
    """

    def add_heads(self, hidden: int, shape: HeadShape, dropout: float) -> None:
        """Makes the modules that read the token states [batch, length, hidden]."""
        self.pooling, self.pooler_activation = shape.pooling, shape.pooler
        self.label_head = nn.Linear(hidden, shape.labels) if shape.labels else _no_head(hidden)
        self.slot_head = nn.Linear(hidden, shape.tags) if shape.tags else None
        self.pooler = nn.Linear(hidden, hidden) if shape.pooler else None
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def states(self, token_ids: Tensor, mask: Tensor) -> list[Tensor]:
        """The embeddings' output and each layer's, [batch, length, hidden] each."""

    @abstractmethod
    def scores(self, states: list[Tensor]) -> list[Tensor]:
        """Each layer's scaled products of queries and keys before mask and softmax.

        Args:
            states: what :meth:`states` gave.

        Returns:
            [batch, heads, length, length] each.
        """

    @abstractmethod
    def export_weights(self) -> EncoderWeights | MobileEncoderWeights:
        """The weights as NumPy arrays for the exporter."""

    def forward(self, token_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Label logits [batch, labels] and slot logits [batch, length, tags].

        Args:
            token_ids: int64 [batch, length].
            mask: bool [batch, length], True where a token is.
        """
        states = self.states(token_ids, mask)[-1]
        slot_logits = self.slot_head(self.dropout(states)) if self.slot_head is not None else None
        return self.label_head(self.dropout(self._vector(states, mask))), slot_logits

    def trace(self, token_ids: Tensor, mask: Tensor) -> Trace:
        """As :meth:`forward`, with the states and attention scores on the way."""
        states = self.states(token_ids, mask)
        scores = self.scores(states)
        pooled = self._vector(states[-1], mask)
        slot_logits = self.slot_head(self.dropout(states[-1])) if self.slot_head is not None else None
        return Trace(tuple(states), tuple(scores), pooled, self.label_head(self.dropout(pooled)), slot_logits)

    def embed(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Sentence vectors of length 1, [batch, hidden]: the answer of a bare encoder."""
        return functional.normalize(self._vector(self.states(token_ids, mask)[-1], mask), dim=1)

    def _vector(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.pooling is Pooling.FIRST:
            pooled = states[:, 0]
        else:
            shares = mask.to(states.dtype)[:, :, None]
            pooled = (states * shares).sum(dim=1) / shares.sum(dim=1)
        if self.pooler is None or self.pooler_activation is None:
            return pooled
        return activated(self.pooler(pooled), self.pooler_activation)

    def head_weights(self) -> HeadArguments:
        """What :class:`~edge_agent.forge.weights.HeadWeights` holds, as arguments."""
        pooler = None
        if self.pooler is not None and self.pooler_activation is not None:
            pooler = Dense(linear_weights(self.pooler), self.pooler_activation)
        return {
            "label_head": linear_weights(self.label_head),
            "slot_head": linear_weights(self.slot_head) if self.slot_head is not None else None,
            "pooling": self.pooling,
            "pooler": pooler,
        }


def _no_head(hidden: int) -> nn.Linear:
    """A head without rows, made by hand: the usual initialisation warns of one."""
    head = nn.Linear(hidden, 1)
    head.out_features = 0
    head.weight, head.bias = nn.Parameter(torch.empty(0, hidden)), nn.Parameter(torch.empty(0))
    return head


class HeadArguments(TypedDict):
    """The fields of :class:`~edge_agent.forge.weights.HeadWeights`."""

    label_head: Linear
    slot_head: Linear | None
    pooling: Pooling
    pooler: Dense | None


class EncoderLayer(nn.Module):
    """One post-norm transformer layer."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        hidden = shape.hidden
        self.heads, self.activation = shape.heads, shape.activation
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
        context = attend(self.query(states), self.key(states), self.value(states), mask, self.heads)
        states = self.attention_norm(states + self.dropout(self.attention_output(context)))
        narrowed = self.output(activated(self.intermediate(states), self.activation))
        normed: Tensor = self.output_norm(states + self.dropout(narrowed))
        return normed

    def attention_scores(self, states: Tensor) -> Tensor:
        """Scaled products of queries and keys before mask and softmax, [batch, heads, length, length]."""
        return scaled_products(self.query(states), self.key(states), self.heads)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Attention of all heads, [batch, length, width] from projections of that shape.

    ``mask`` is bool [batch, 1, 1, length], True where a token is.
    """
    context = functional.scaled_dot_product_attention(
        split_heads(query, heads), split_heads(key, heads), split_heads(value, heads), attn_mask=mask
    )
    return context.transpose(1, 2).reshape(query.shape)


def scaled_products(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Q Kᵀ / √d of each head, [batch, heads, length, length]."""
    scale: float = (query.shape[-1] // heads) ** 0.5
    return split_heads(query, heads) @ split_heads(key, heads).transpose(2, 3) / scale


def split_heads(projected: Tensor, heads: int) -> Tensor:
    """[batch, length, width] → [batch, heads, length, width / heads]."""
    return projected.view(*projected.shape[:2], heads, -1).transpose(1, 2)


class JointEncoder(Encoder):
    """BERT, MiniLM, TinyBERT or DistilBERT with its heads."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.heads, self.epsilon, self.activation = shape.heads, shape.epsilon, shape.activation
        self.words = nn.Embedding(shape.vocabulary, shape.hidden)
        self.positions = nn.Embedding(shape.longest, shape.hidden)
        self.embedding_norm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.layers = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.layers))
        self.add_heads(shape.hidden, shape.head, shape.dropout)

    def states(self, token_ids: Tensor, mask: Tensor) -> list[Tensor]:
        """The embeddings' output and each layer's, [batch, length, hidden] each."""
        places = torch.arange(token_ids.shape[1], device=token_ids.device)
        states = [self.dropout(self.embedding_norm(self.words(token_ids) + self.positions(places)))]
        for layer in self.layers:
            states.append(layer(states[-1], mask[:, None, None, :]))
        return states

    def scores(self, states: list[Tensor]) -> list[Tensor]:
        """Each layer's attention before mask and softmax, [batch, heads, length, length] each."""
        scores = []
        for layer, before in zip(self.layers, states, strict=False):  # the last state enters no layer
            assert isinstance(layer, EncoderLayer)
            scores.append(layer.attention_scores(before))
        return scores

    def export_weights(self) -> EncoderWeights:
        """The weights as NumPy arrays for the exporter."""
        return EncoderWeights(
            words=array_of(self.words.weight),
            positions=array_of(self.positions.weight),
            embedding_norm=_norm(self.embedding_norm),
            layers=tuple(_layer(layer) for layer in self.layers),
            heads=self.heads,
            epsilon=self.epsilon,
            activation=self.activation,
            **self.head_weights(),
        )


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


def array_of(tensor: Tensor) -> FloatArray:
    """A tensor as float32 NumPy."""
    array: FloatArray = tensor.detach().cpu().float().numpy().astype(np.float32)
    return array


def linear_weights(module: nn.Linear) -> Linear:
    """A matrix product's weights as NumPy."""
    return Linear(array_of(module.weight), array_of(module.bias))


def _norm(module: nn.LayerNorm) -> Norm:
    return Norm(array_of(module.weight), array_of(module.bias))


def _layer(layer: nn.Module) -> LayerWeights:
    assert isinstance(layer, EncoderLayer)
    return LayerWeights(
        query=linear_weights(layer.query),
        key=linear_weights(layer.key),
        value=linear_weights(layer.value),
        attention_output=linear_weights(layer.attention_output),
        attention_norm=_norm(layer.attention_norm),
        intermediate=linear_weights(layer.intermediate),
        output=linear_weights(layer.output),
        output_norm=_norm(layer.output_norm),
    )
