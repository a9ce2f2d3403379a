"""A BERT encoder of two small layers in NumPy: weights, and a forward pass of its own to compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.forge.encoders.weights import EncoderWeights, LayerWeights, Linear, Norm

Array = NDArray[np.float32]

HIDDEN = 64
HEADS = 2


def random_encoder(vocabulary_size: int, positions: int, labels: int, tags: int, seed: int) -> EncoderWeights:
    """Two layers of seeded random weights, with heads of zeros."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, size: float) -> Array:
        return (random.standard_normal((rows, columns)) * size).astype(np.float32)

    def linear(outputs: int, inputs: int, size: float) -> Linear:
        return Linear(matrix(outputs, inputs, size / np.sqrt(inputs)), matrix(1, outputs, 0.01)[0])

    def norm() -> Norm:
        return Norm(np.ones(HIDDEN, np.float32), np.zeros(HIDDEN, np.float32))

    layers = tuple(
        LayerWeights(
            query=linear(HIDDEN, HIDDEN, 0.5),
            key=linear(HIDDEN, HIDDEN, 0.5),
            value=linear(HIDDEN, HIDDEN, 0.5),
            attention_output=linear(HIDDEN, HIDDEN, 0.3),
            attention_norm=norm(),
            intermediate=linear(2 * HIDDEN, HIDDEN, 0.5),
            output=linear(HIDDEN, 2 * HIDDEN, 0.3),
            output_norm=norm(),
        )
        for _ in range(2)
    )
    return EncoderWeights(
        words=matrix(vocabulary_size, HIDDEN, 1.0),
        positions=matrix(positions, HIDDEN, 0.05),
        embedding_norm=norm(),
        layers=layers,
        heads=HEADS,
        epsilon=1e-12,
        label_head=Linear(np.zeros((labels, HIDDEN), np.float32), np.zeros(labels, np.float32)),
        slot_head=Linear(np.zeros((tags, HIDDEN), np.float32), np.zeros(tags, np.float32)),
    )


def reference_logits(weights: EncoderWeights, ids: tuple[int, ...]) -> tuple[Array, Array]:
    """Label logits [labels] and slot logits [tokens, tags] of the encoder, in NumPy, float32."""
    states = token_states(weights, ids)
    labels = _linear(weights.label_head, states.mean(axis=0))
    return labels, _linear(weights.slot_head, states) if weights.slot_head else np.zeros(
        (len(ids), 1), np.float32
    )


def token_states(weights: EncoderWeights, ids: tuple[int, ...]) -> Array:
    """What the heads read: [tokens, hidden], float32."""
    states = weights.words[list(ids)] + weights.positions[: len(ids)]
    states = _norm(weights, weights.embedding_norm, states)
    for layer in weights.layers:
        attended = _linear(layer.attention_output, _attention(weights.heads, layer, states))
        states = _norm(weights, layer.attention_norm, states + attended)
        widened = _linear(layer.intermediate, states)
        update = _linear(layer.output, _gelu(widened))
        states = _norm(weights, layer.output_norm, states + update)
    return states


def _attention(heads: int, layer: LayerWeights, states: Array) -> Array:
    def split(linear: Linear) -> Array:
        return _linear(linear, states).reshape(len(states), heads, -1).transpose(1, 0, 2)

    query, key, value = split(layer.query), split(layer.key), split(layer.value)
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(np.float32(query.shape[-1]))
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    merged: Array = (shares @ value).transpose(1, 0, 2).reshape(len(states), -1)
    return merged


def _linear(linear: Linear, states: Array) -> Array:
    product: Array = states @ linear.weight.T + linear.bias
    return product


def _norm(weights: EncoderWeights, norm: Norm, states: Array) -> Array:
    centred = states - states.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    normed: Array = centred / np.sqrt(variance + weights.epsilon) * norm.gain + norm.offset
    return normed


def _gelu(values: Array) -> Array:
    """The exact GELU, by a series of erf (Abramowitz & Stegun 7.1.26, error under 1.5e-7)."""
    x = np.abs(values) / np.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * x)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(values) * (1.0 - poly * np.exp(-x * x))
    activated: Array = (values * 0.5 * (1.0 + erf)).astype(np.float32)
    return activated
