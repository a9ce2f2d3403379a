"""A bundle's weights as dynamic int8 of ONNX Runtime, per channel: the model of the user's script."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from edge_agent.forge.encoders.bert import JointEncoder
from edge_agent.forge.encoders.rebuild import encoder_of
from tests.oracle import read_encoder_weights

LENGTH = 128
"""What such scripts pad every sentence to."""


class _Padded(torch.nn.Module):
    """The encoder with the inputs that tokenizers give."""

    def __init__(self, encoder: JointEncoder) -> None:
        super().__init__()
        self._encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor | None]:
        label_logits, slot_logits = self._encoder(input_ids, attention_mask.bool())
        return label_logits, slot_logits


def write_onnx(tflite: Path, folder: Path) -> Path:
    """Writes the weights of a ``.tflite`` file as quantised ONNX and returns its path."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    encoder = _Padded(encoder_of(read_encoder_weights(tflite)))
    example = (torch.zeros(1, LENGTH, dtype=torch.int64), torch.ones(1, LENGTH, dtype=torch.int64))
    plain, quantised = folder / "float32.onnx", folder / "int8.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            encoder,
            example,
            str(plain),
            input_names=["input_ids", "attention_mask"],
            output_names=["label_logits", "slot_logits"],
            opset_version=17,
            dynamo=False,
        )
    quantize_dynamic(str(plain), str(quantised), per_channel=True, weight_type=QuantType.QInt8)
    return quantised
