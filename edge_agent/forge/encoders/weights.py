"""An encoder's weights as plain NumPy arrays: what training hands to the exporter.

Deliberately without torch, so that a bundle can be written on a machine that has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Activation(str, Enum):
    """What stands between two matrix products."""

    GELU = "gelu"  # x Φ(x) by erf (Hendrycks & Gimpel 2016, arXiv:1606.08415)
    GELU_TANH = "gelu_tanh"  # its approximation by tanh, of the same paper; "gelu_new" elsewhere
    RELU = "relu"
    TANH = "tanh"


class Pooling(str, Enum):
    """How token states become one vector of the sentence."""

    MEAN = "mean"  # over all tokens, [CLS] and [SEP] included
    FIRST = "first"  # the state of [CLS]


@dataclass(frozen=True, slots=True)
class Linear:
    """``y = x @ weight.T + bias``; weight is [outputs, inputs], bias [outputs]."""

    weight: FloatArray
    bias: FloatArray


@dataclass(frozen=True, slots=True)
class Norm:
    """Gain and offset of a layer normalisation, or of MobileBERT's NoNorm, both [hidden]."""

    gain: FloatArray
    offset: FloatArray


@dataclass(frozen=True, slots=True)
class Dense:
    """A matrix product and what is applied to it."""

    linear: Linear
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadWeights:
    """What every family ends in.

    Attributes:
        label_head: [labels, hidden], reads the sentence vector; with no rows, the answer is that vector
            itself, scaled to length 1.
        slot_head: [tags, hidden], reads each token; None for a classifier.
        pooling: how token states become the sentence vector.
        pooler: applied to the pooled state, [hidden, hidden]; BERT's pooler, DistilBERT's pre-classifier.
    """

    label_head: Linear
    slot_head: Linear | None
    pooling: Pooling = Pooling.MEAN
    pooler: Dense | None = None

    @property
    def embeds(self) -> bool:
        """Whether the sentence vector is the answer."""
        return not len(self.label_head.bias)


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One transformer layer, post-norm as BERT has it (Devlin et al. 2019)."""

    query: Linear
    key: Linear
    value: Linear
    attention_output: Linear
    attention_norm: Norm
    intermediate: Linear
    output: Linear
    output_norm: Norm


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderWeights(HeadWeights):
    """A BERT, MiniLM, TinyBERT or DistilBERT with its heads.

    Attributes:
        words: token embeddings, [vocabulary, hidden].
        positions: position embeddings, with the embedding of token type 0 added where there are types,
            [longest, hidden].
        embedding_norm: the norm after their sum.
        layers: the transformer layers, first to last.
        heads: number of attention heads; divides hidden.
        epsilon: of every layer norm.
        activation: of the feed-forward layers.
    """

    words: FloatArray
    positions: FloatArray
    embedding_norm: Norm
    layers: tuple[LayerWeights, ...]
    heads: int
    epsilon: float
    activation: Activation = Activation.GELU

    @property
    def hidden(self) -> int:
        """Width of the encoder."""
        return int(self.words.shape[1])


@dataclass(frozen=True, slots=True)
class NormedLinear:
    """A matrix product with a NoNorm behind it (Sun et al. 2020, arXiv:2004.02984).

    ``(x @ weight.T + bias + r) * gain + offset``, where ``r`` is the residual, if there is one. The gain is
    per channel, so it folds into the matrix.
    """

    linear: Linear
    norm: Norm

    def folded(self) -> Linear:
        """The matrix product with gain and offset inside; what is left is ``r * gain``."""
        gain = self.norm.gain
        return Linear(self.linear.weight * gain[:, None], self.linear.bias * gain + self.norm.offset)


@dataclass(frozen=True, slots=True)
class FeedForward:
    """One of MobileBERT's stacked feed-forward networks, with its residual connection."""

    intermediate: Linear
    output: NormedLinear


@dataclass(frozen=True, slots=True)
class MobileLayerWeights:
    """One layer of MobileBERT.

    Attributes:
        narrowing: hidden → bottleneck, what the layer works on.
        shared: hidden → bottleneck, what queries and keys are made of; None where all of the attention
            reads what ``narrowing`` gives.
        query: [bottleneck, bottleneck].
        key: likewise.
        value: [bottleneck, hidden] with ``shared``, else [bottleneck, bottleneck].
        attention_output: with its residual, the narrowed state.
        feed_forwards: first to last.
        widening: bottleneck → hidden, with its residual, the layer's input.
    """

    narrowing: NormedLinear
    shared: NormedLinear | None
    query: Linear
    key: Linear
    value: Linear
    attention_output: NormedLinear
    feed_forwards: tuple[FeedForward, ...]
    widening: NormedLinear


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileEncoderWeights(HeadWeights):
    """A MobileBERT (Sun et al. 2020) with its heads.

    Attributes:
        words: token embeddings, [vocabulary, embedding].
        transformation: [hidden, 3 · embedding]; reads the embeddings of the next token, the token, the one
            before it, in this order, zeros beyond the ends.
        positions: position embeddings with the embedding of token type 0 added, [longest, hidden].
        embedding_norm: the NoNorm after their sum.
        layers: first to last.
        heads: number of attention heads; divides the bottleneck's width.
        activation: of the feed-forward networks.
    """

    words: FloatArray
    transformation: Linear
    positions: FloatArray
    embedding_norm: Norm
    layers: tuple[MobileLayerWeights, ...]
    heads: int
    activation: Activation = Activation.RELU

    @property
    def hidden(self) -> int:
        """Width of the encoder between its layers."""
        return int(self.positions.shape[1])
