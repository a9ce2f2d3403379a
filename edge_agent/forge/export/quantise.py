"""Weights → int8 or int4: symmetric, one scale per output channel (or one per tensor for old runtimes).

The scheme of TFLite's dynamic-range kernels: ``scale = max|w| / largest`` with ``largest = 2^(bits-1) - 1``,
zero point 0, values in [-largest, largest]. Activations are quantised by the runtime, per row, when it runs.
Training that simulates quantisation must use these very definitions, so that what is exported is what was
trained.

Source: the TFLite 8-bit quantization specification (restricted-range symmetric weights); int4 is the same
with fewer bits.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from edge_agent.forge.export.flatbuffer import Quantized


class Scheme(str, Enum):
    """How an exported file holds its matrices."""

    INT4_PER_CHANNEL = "int4-per-channel"  # heads and positions at int8: small, and they decide
    INT8_PER_CHANNEL = "int8-per-channel"
    INT8_PER_TENSOR = "int8-per-tensor"  # the only int8 that tflite-runtime 2.14 computes rightly
    FLOAT32 = "float32"


_BITS = {
    Scheme.INT4_PER_CHANNEL: 4,
    Scheme.INT8_PER_CHANNEL: 8,
    Scheme.INT8_PER_TENSOR: 8,
}


def bits_of(scheme: Scheme) -> int | None:
    """Bits of one weight of the encoder's body; None for float32."""
    return _BITS.get(scheme)


def finer(scheme: Scheme) -> Scheme:
    """The scheme of what is small and decides, heads and position table: int8 where all else is int4."""
    return Scheme.INT8_PER_CHANNEL if scheme is Scheme.INT4_PER_CHANNEL else scheme


def largest_value(bits: int) -> int:
    """The largest magnitude of a symmetric integer of ``bits`` bits: 127 for 8, 7 for 4."""
    return int(2 ** (bits - 1)) - 1


def quantise(weight: NDArray[np.float32], scheme: Scheme) -> Quantized | NDArray[np.float32]:
    """Quantises a matrix [outputs, inputs] by the scheme; float32 passes through.

    A row of zeros (or of next to nothing) gets scale 1, so that no scale is 0 and no runtime divides by it.
    """
    bits = bits_of(scheme)
    if bits is None:
        return weight.astype(np.float32)
    most = largest_value(bits)
    axis = None if scheme is Scheme.INT8_PER_TENSOR else 1
    largest = np.max(np.abs(weight), axis=axis, keepdims=True)
    none = largest < most * np.finfo(np.float32).tiny  # its scale would be subnormal, or 0
    scales = np.where(none, 1.0, largest / most).astype(np.float32)
    values = np.clip(np.rint(weight / scales), -most, most).astype(np.int8)
    return Quantized(values, scales.reshape(-1), axis=0, bits=bits)


def dequantise(quantised: Quantized) -> NDArray[np.float32]:
    """The float32 matrix [outputs, inputs] that the quantised one stands for."""
    return quantised.values.astype(np.float32) * quantised.scales[:, None]
