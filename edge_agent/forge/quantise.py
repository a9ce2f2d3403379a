"""Weights → int8: symmetric, one scale per output channel (or one per tensor for old runtimes).

The scheme of TFLite's dynamic-range kernels: ``scale = max|w| / 127``, zero point 0, values in
[-127, 127]. Activations are quantised by the runtime, per row, when it runs. Training that simulates
quantisation must use these very functions, so that what is exported is what was trained.

Source: the TFLite 8-bit quantization specification (restricted-range symmetric weights).
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from edge_agent.forge.flatbuffer import Quantized

_LARGEST_INT8 = 127


class Scheme(str, Enum):
    """How an exported file holds its matrices."""

    INT8_PER_CHANNEL = "int8-per-channel"
    INT8_PER_TENSOR = "int8-per-tensor"  # the only int8 that tflite-runtime 2.14 computes rightly
    FLOAT32 = "float32"


def quantise_int8(weight: NDArray[np.float32], scheme: Scheme) -> Quantized | NDArray[np.float32]:
    """Quantises a matrix [outputs, inputs] by the scheme; float32 passes through.

    A row of zeros gets scale 1, so that no scale is 0 and no runtime divides by it.
    """
    if scheme is Scheme.FLOAT32:
        return weight.astype(np.float32)
    axis = 1 if scheme is Scheme.INT8_PER_CHANNEL else None
    largest = np.max(np.abs(weight), axis=axis, keepdims=True)
    scales = np.where(largest > 0, largest / _LARGEST_INT8, 1.0).astype(np.float32)
    values = np.clip(np.rint(weight / scales), -_LARGEST_INT8, _LARGEST_INT8).astype(np.int8)
    return Quantized(values, scales.reshape(-1), axis=0)


def dequantise(quantised: Quantized) -> NDArray[np.float32]:
    """The float32 matrix [outputs, inputs] that the quantised one stands for."""
    return quantised.values.astype(np.float32) * quantised.scales[:, None]
