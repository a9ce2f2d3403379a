"""BERT's encoder (Devlin et al. 2019), as it trains.

MiniLM, TinyBERT and DistilBERT (Sanh et al. 2019) are the same body by other sizes. It is the one definition
of what :mod:`edge_agent.forge.export.tflite` writes; tests hold the two equal, and equal to ``transformers``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_agent.forge.encoders.family import (
    Encoder,
    HeadShape,
    activated,
    array_of,
    attend,
    linear_weights,
    scaled_products,
)
from edge_agent.forge.encoders.weights import Activation, EncoderWeights, LayerWeights, Norm, Pooling


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

    def scores(self, layer: int, states: Sequence[Tensor]) -> Tensor:
        """A layer's attention before mask and softmax, [batch, heads, length, length]."""
        module = self.layers[layer]
        assert isinstance(module, EncoderLayer)
        return module.attention_scores(states[layer])

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
