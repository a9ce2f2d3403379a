"""MobileBERT (Sun et al. 2020, arXiv:2004.02984): deep, with bottlenecks, and without layer norms.

Each layer narrows its input, works on the narrow state with attention and several feed-forward networks, and
widens it again. NoNorm, a gain and an offset per channel, stands where BERT normalises. Embeddings are
narrow too; what enters the first layer is made of the trigram around each token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.forge.encoders.family import (
    Encoder,
    HeadShape,
    activated,
    array_of,
    attend,
    linear_weights,
    scaled_products,
)
from edge_agent.forge.encoders.weights import (
    Activation,
    FeedForward,
    MobileEncoderWeights,
    MobileLayerWeights,
    Norm,
    NormedLinear,
)


@dataclass(frozen=True, slots=True)
class MobileShape:
    """The sizes of a MobileBERT; the defaults are the published model's.

    Attributes:
        vocabulary: number of tokens.
        head: what it ends in.
        embedding: width of the token embeddings.
        hidden: width between layers.
        bottleneck: width inside layers.
        intermediate: width of the feed-forward networks.
        layers: number of layers.
        heads: attention heads; divides bottleneck.
        feed_forwards: feed-forward networks of a layer.
        longest: positions.
        all_in_bottleneck: the whole attention reads the narrowed state; else queries and keys read a narrowed
            state of their own, and values the wide one.
        activation: of the feed-forward networks.
        dropout: share of activations dropped in training.
    """

    vocabulary: int
    head: HeadShape
    embedding: int = 128
    hidden: int = 512
    bottleneck: int = 128
    intermediate: int = 512
    layers: int = 24
    heads: int = 4
    feed_forwards: int = 4
    longest: int = 512
    all_in_bottleneck: bool = False
    activation: Activation = Activation.RELU
    dropout: float = 0.0


class NoNorm(nn.Module):
    """``x * weight + bias``, per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, states: Tensor) -> Tensor:
        """``states`` [..., width]."""
        return states * self.weight + self.bias


class Normed(nn.Module):
    """A matrix product, perhaps with a residual, and NoNorm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)
        self.norm = NoNorm(outputs)

    def forward(self, states: Tensor, residual: Tensor | None = None) -> Tensor:
        """``states`` [..., inputs], ``residual`` [..., outputs]."""
        product = self.dense(states)
        normed: Tensor = self.norm(product if residual is None else product + residual)
        return normed

    def export_weights(self) -> NormedLinear:
        """The weights as NumPy arrays."""
        return NormedLinear(linear_weights(self.dense), _norm(self.norm))


class FeedForwardNetwork(nn.Module):
    """One of a layer's feed-forward networks."""

    def __init__(self, shape: MobileShape) -> None:
        super().__init__()
        self.activation = shape.activation
        self.intermediate = nn.Linear(shape.bottleneck, shape.intermediate)
        self.output = Normed(shape.intermediate, shape.bottleneck)

    def forward(self, states: Tensor) -> Tensor:
        """``states`` [batch, length, bottleneck]."""
        wide = activated(self.intermediate(states), self.activation)
        narrow: Tensor = self.output(wide, states)
        return narrow

    def export_weights(self) -> FeedForward:
        """The weights as NumPy arrays."""
        return FeedForward(linear_weights(self.intermediate), self.output.export_weights())


class MobileLayer(nn.Module):
    """One layer; its parts are those of :class:`~edge_agent.forge.encoders.weights.MobileLayerWeights`."""

    def __init__(self, shape: MobileShape) -> None:
        super().__init__()
        inner, outer = shape.bottleneck, shape.hidden
        self.heads = shape.heads
        self.narrowing = Normed(outer, inner)
        self.shared = None if shape.all_in_bottleneck else Normed(outer, inner)
        self.query = nn.Linear(inner, inner)
        self.key = nn.Linear(inner, inner)
        self.value = nn.Linear(inner if shape.all_in_bottleneck else outer, inner)
        self.attention_output = Normed(inner, inner)
        self.feed_forwards = nn.ModuleList(FeedForwardNetwork(shape) for _ in range(shape.feed_forwards))
        self.widening = Normed(inner, outer)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """``states`` [batch, length, hidden]; ``mask`` bool [batch, 1, 1, length], True where a token is."""
        narrow = self.narrowing(states)
        scored, valued = (narrow, narrow) if self.shared is None else (self.shared(states), states)
        context = attend(self.query(scored), self.key(scored), self.value(valued), mask, self.heads)
        inner = self.attention_output(context, narrow)
        for network in self.feed_forwards:
            inner = network(inner)
        widened: Tensor = self.widening.norm(self.dropout(self.widening.dense(inner)) + states)
        return widened

    def attention_scores(self, states: Tensor) -> Tensor:
        """Scaled products of queries and keys before mask and softmax, [batch, heads, length, length]."""
        scored = (self.narrowing if self.shared is None else self.shared)(states)
        return scaled_products(self.query(scored), self.key(scored), self.heads)

    def export_weights(self) -> MobileLayerWeights:
        """The weights as NumPy arrays."""
        networks = [each for each in self.feed_forwards if isinstance(each, FeedForwardNetwork)]
        return MobileLayerWeights(
            narrowing=self.narrowing.export_weights(),
            shared=None if self.shared is None else self.shared.export_weights(),
            query=linear_weights(self.query),
            key=linear_weights(self.key),
            value=linear_weights(self.value),
            attention_output=self.attention_output.export_weights(),
            feed_forwards=tuple(network.export_weights() for network in networks),
            widening=self.widening.export_weights(),
        )


class MobileEncoder(Encoder):
    """MobileBERT with its heads."""

    def __init__(self, shape: MobileShape) -> None:
        super().__init__()
        self.heads, self.activation = shape.heads, shape.activation
        self.words = nn.Embedding(shape.vocabulary, shape.embedding)
        self.transformation = nn.Linear(3 * shape.embedding, shape.hidden)
        self.positions = nn.Embedding(shape.longest, shape.hidden)
        self.embedding_norm = NoNorm(shape.hidden)
        self.layers = nn.ModuleList(MobileLayer(shape) for _ in range(shape.layers))
        self.add_heads(shape.hidden, shape.head, shape.dropout)

    def states(self, token_ids: Tensor, mask: Tensor) -> list[Tensor]:
        """The embeddings' output and each layer's, [batch, length, hidden] each."""
        places = torch.arange(token_ids.shape[1], device=token_ids.device)
        transformed = self.transformation(_trigrams(self.words(token_ids), mask))
        states = [self.dropout(self.embedding_norm(transformed + self.positions(places)))]
        for layer in self.layers:
            states.append(layer(states[-1], mask[:, None, None, :]))
        return states

    def scores(self, layer: int, states: Sequence[Tensor]) -> Tensor:
        """A layer's attention before mask and softmax, [batch, heads, length, length]."""
        module = self.layers[layer]
        assert isinstance(module, MobileLayer)
        return module.attention_scores(states[layer])

    def export_weights(self) -> MobileEncoderWeights:
        """The weights as NumPy arrays for the exporter."""
        layers = [layer for layer in self.layers if isinstance(layer, MobileLayer)]
        return MobileEncoderWeights(
            words=array_of(self.words.weight),
            transformation=linear_weights(self.transformation),
            positions=array_of(self.positions.weight),
            embedding_norm=_norm(self.embedding_norm),
            layers=tuple(layer.export_weights() for layer in layers),
            heads=self.heads,
            activation=self.activation,
            **self.head_weights(),
        )


def _trigrams(words: Tensor, mask: Tensor) -> Tensor:
    """The embeddings of the next token, the token and the one before, [batch, length, 3 · embedding].

    Zeros stand beyond both ends of a sentence, so that the padding behind a shorter one changes nothing.
    """
    present = words * mask.to(words.dtype)[:, :, None]
    following = functional.pad(present[:, 1:], (0, 0, 0, 1))
    before = functional.pad(present[:, :-1], (0, 0, 1, 0))
    return torch.cat([following, present, before], dim=2)


def _norm(norm: NoNorm) -> Norm:
    return Norm(array_of(norm.weight), array_of(norm.bias))
