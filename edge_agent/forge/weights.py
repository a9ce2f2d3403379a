"""An encoder's weights as plain NumPy arrays: what training hands to the exporter.

Deliberately without torch, so that a bundle can be written on a machine that has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Linear:
    """``y = x @ weight.T + bias``; weight is [outputs, inputs], bias [outputs]."""

    weight: FloatArray
    bias: FloatArray


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation's gain and offset, both [hidden]."""

    gain: FloatArray
    offset: FloatArray


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


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """A BERT encoder with its heads.

    Attributes:
        words: token embeddings, [vocabulary, hidden].
        positions: position embeddings with the embedding of token type 0 added, [longest, hidden].
        embedding_norm: the norm after their sum.
        layers: the transformer layers, first to last.
        heads: number of attention heads; divides hidden.
        epsilon: of every layer norm.
        label_head: [labels, hidden], reads the mean over all tokens, [CLS] and [SEP] included.
        slot_head: [tags, hidden], reads each token; None for a classifier.
    """

    words: FloatArray
    positions: FloatArray
    embedding_norm: Norm
    layers: tuple[LayerWeights, ...]
    heads: int
    epsilon: float
    label_head: Linear
    slot_head: Linear | None

    @property
    def hidden(self) -> int:
        """Width of the encoder."""
        return int(self.words.shape[1])
