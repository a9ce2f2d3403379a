"""What all encoder families share: heads over token states, the trace that a student learns from, attention.

A family makes the states: BERT in :mod:`edge_agent.forge.encoders.bert`, MobileBERT in
:mod:`edge_agent.forge.encoders.mobilebert`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.forge.encoders.weights import (
    Activation,
    Dense,
    EncoderWeights,
    FloatArray,
    Linear,
    MobileEncoderWeights,
    Pooling,
)


@dataclass(frozen=True, slots=True)
class Trace:
    """All that a student can learn from: what comes out of a model, and what happens inside.

    Attributes:
        states: the embeddings' output and each layer's, [batch, length, hidden] each.
        pooled: the sentence vector that the label head reads, [batch, hidden].
        label_logits: [batch, labels].
        slot_logits: [batch, length, tags], or None for a classifier.
    """

    states: tuple[Tensor, ...]
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
    def scores(self, layer: int, states: Sequence[Tensor]) -> Tensor:
        """A layer's scaled products of queries and keys before mask and softmax.

        Computed only when asked for: for short sentences they cost a sixth of a layer.

        Args:
            layer: counted from 0.
            states: what :meth:`states` gave.

        Returns:
            [batch, heads, length, length]; padding is not masked in it.
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
        """As :meth:`forward`, with the states on the way."""
        states = self.states(token_ids, mask)
        pooled = self._vector(states[-1], mask)
        slot_logits = self.slot_head(self.dropout(states[-1])) if self.slot_head is not None else None
        return Trace(tuple(states), pooled, self.label_head(self.dropout(pooled)), slot_logits)

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
        """What :class:`~edge_agent.forge.encoders.weights.HeadWeights` holds, as arguments."""
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
    """The fields of :class:`~edge_agent.forge.encoders.weights.HeadWeights`."""

    label_head: Linear
    slot_head: Linear | None
    pooling: Pooling
    pooler: Dense | None


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


def array_of(tensor: Tensor) -> FloatArray:
    """A tensor as float32 NumPy."""
    array: FloatArray = tensor.detach().cpu().float().numpy().astype(np.float32)
    return array


def linear_weights(module: nn.Linear) -> Linear:
    """A matrix product's weights as NumPy."""
    return Linear(array_of(module.weight), array_of(module.bias))
