"""Plain weights → an encoder that trains: the way back from :meth:`JointEncoder.export_weights`."""

from __future__ import annotations

import numpy as np
import torch

from edge_agent.forge.encoders.bert import EncoderShape, JointEncoder
from edge_agent.forge.encoders.weights import EncoderWeights, FloatArray, Linear, Norm

_LINEARS = ("query", "key", "value", "attention_output", "intermediate", "output")
_NORMS = ("attention_norm", "output_norm")


def encoder_of(weights: EncoderWeights, *, dropout: float = 0.1) -> JointEncoder:
    """A BERT encoder with these weights, ready to evaluate.

    Args:
        weights: of a BERT-shaped encoder.
        dropout: of the encoder, should it be trained on.
    """
    encoder = JointEncoder(
        EncoderShape(
            vocabulary=len(weights.words),
            hidden=weights.hidden,
            intermediate=len(weights.layers[0].intermediate.bias),
            layers=len(weights.layers),
            heads=weights.heads,
            longest=len(weights.positions),
            labels=len(weights.label_head.bias),
            tags=len(weights.slot_head.bias) if weights.slot_head else 0,
            epsilon=weights.epsilon,
            dropout=dropout,
            activation=weights.activation,
            pooling=weights.pooling,
            pooler=weights.pooler.activation if weights.pooler else None,
        )
    )
    encoder.load_state_dict({name: torch.from_numpy(array) for name, array in state_of(weights).items()})
    return encoder.eval()


def state_of(weights: EncoderWeights) -> dict[str, FloatArray]:
    """The weights under the names of the encoder's state."""
    state = {"words.weight": weights.words, "positions.weight": weights.positions}
    state |= _norm_state("embedding_norm", weights.embedding_norm)
    state |= _linear_state("label_head", weights.label_head)
    if weights.pooler is not None:
        state |= _linear_state("pooler", weights.pooler.linear)
    if weights.slot_head is not None:
        state |= _linear_state("slot_head", weights.slot_head)
    for number, layer in enumerate(weights.layers):
        for name in _LINEARS:
            state |= _linear_state(f"layers.{number}.{name}", getattr(layer, name))
        for name in _NORMS:
            state |= _norm_state(f"layers.{number}.{name}", getattr(layer, name))
    return {name: np.ascontiguousarray(array, np.float32) for name, array in state.items()}


def _linear_state(name: str, linear: Linear) -> dict[str, FloatArray]:
    return {f"{name}.weight": linear.weight, f"{name}.bias": linear.bias}


def _norm_state(name: str, norm: Norm) -> dict[str, FloatArray]:
    return {f"{name}.weight": norm.gain, f"{name}.bias": norm.offset}
