"""A small builder of TFLite graphs with LiteRT's own published flatbuffer schema.

Only what an encoder needs: tensors, constants (float, int32, int8 or int4 with a scale per channel) and
operators. Shapes are given with -1 where the sequence's length stands, which the runtime fills in when
the input is resized. What the graph *means* is in :mod:`edge_agent.forge.export.tflite`.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, as generated into
``ai_edge_litert.schema_py_generated`` (object API).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge_agent.files import write_atomic

_FILE_IDENTIFIER = b"TFL3"
_ALIGNMENT_BYTES = 16  # schema.fbs: `data:[ubyte] (force_align: 16)`, which the object API leaves out

TENSOR_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
}


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A constant's bytes, aligned as the schema asks so that kernels may map them in place."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the object API's name
        if not self.content:
            schema.BufferStart(builder)
            return schema.BufferEnd(builder)
        builder.StartVector(1, len(self.content), _ALIGNMENT_BYTES)
        builder.head -= len(self.content)
        builder.Bytes[builder.head : builder.head + len(self.content)] = self.content
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


@dataclass(frozen=True, slots=True)
class Quantized:
    """Symmetric integer weights: ``real = values * scales`` along ``axis``.

    Attributes:
        values: int8, any shape; within -7 and 7 where they have 4 bits.
        scales: float32, one for each entry of ``axis``, or a single one for the whole tensor.
        axis: the dimension that the scales belong to.
        bits: 8, or 4 for values that the file holds two to a byte.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    axis: int = 0
    bits: int = 8


class _Quantization(schema.QuantizationParametersT):  # type: ignore[misc]
    """Scales of a constant; graphs that share the constant share them, and all of one length the zero points.

    The object API would write 12 bytes for every row of every matrix, once for each graph.
    """

    def __init__(self, quantized: Quantized, zero_points: dict[int, Any]) -> None:
        super().__init__()
        self.scale = quantized.scales.astype(np.float32)
        self.quantizedDimension = quantized.axis
        self._zero_points = zero_points
        self._packed: Any = None

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the object API's name
        if self._packed is None:
            rows = len(self.scale)
            if rows not in self._zero_points:
                self._zero_points[rows] = builder.CreateNumpyVector(np.zeros(rows, np.int64))
            scale = builder.CreateNumpyVector(self.scale)
            schema.QuantizationParametersStart(builder)
            schema.QuantizationParametersAddScale(builder, scale)
            schema.QuantizationParametersAddZeroPoint(builder, self._zero_points[rows])
            schema.QuantizationParametersAddQuantizedDimension(builder, self.quantizedDimension)
            self._packed = schema.QuantizationParametersEnd(builder)
        return self._packed


@dataclass(frozen=True, slots=True)
class _Subgraph:
    """A finished graph and the key of its signature."""

    signature: str
    graph: GraphBuilder
    inputs: Sequence[int]
    outputs: Sequence[int]


class FileBuilder:
    """A TFLite file: its graphs, and the constants that they share; equal constants are stored once."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._buffers: list[_AlignedBuffer] = [_AlignedBuffer(b"")]  # buffer 0 means "no data"
        self._buffer_by_content: dict[bytes, int] = {}
        self._quantizations: dict[bytes, _Quantization] = {}
        self._zero_points: dict[int, Any] = {}
        self._codes: dict[tuple[int, int], int] = {}
        self._subgraphs: list[_Subgraph] = []

    def graph(self) -> GraphBuilder:
        """A new, empty graph of this file."""
        return GraphBuilder(self)

    def add(self, signature: str, graph: GraphBuilder, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Makes a graph part of the file under a signature; the first is what an interpreter runs."""
        self._subgraphs.append(_Subgraph(signature, graph, inputs, outputs))

    def write(self, path: Path) -> None:
        """Writes the file, whole or not at all; to be called once."""
        write_atomic(path, self.content())

    def content(self) -> bytes:
        """The file's bytes; to be called once."""
        model = schema.ModelT()
        model.version = 3
        model.description = self._description
        model.subgraphs = [_subgraph(entry) for entry in self._subgraphs]
        model.signatureDefs = [_signature(index, entry) for index, entry in enumerate(self._subgraphs)]
        model.buffers = self._buffers
        model.operatorCodes = [_operator_code(code, version) for code, version in self._codes]
        builder = flatbuffers.Builder(sum(len(b.content) for b in self._buffers) + (1 << 20))
        builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
        return bytes(builder.Output())

    def buffer(self, content: bytes) -> int:
        """The number of the buffer that holds ``content``."""
        key = hashlib.sha256(content).digest()
        if key not in self._buffer_by_content:
            self._buffers.append(_AlignedBuffer(content))
            self._buffer_by_content[key] = len(self._buffers) - 1
        return self._buffer_by_content[key]

    def quantization(self, quantized: Quantized) -> Any:
        """The scales of a constant, as a tensor refers to them."""
        key = hashlib.sha256(bytes([quantized.axis]) + quantized.scales.tobytes()).digest()
        return self._quantizations.setdefault(key, _Quantization(quantized, self._zero_points))

    def operator_code(self, code: int, version: int) -> int:
        """The number of an operator in the file's table."""
        return self._codes.setdefault((code, version), len(self._codes))


class GraphBuilder:
    """Collects the tensors and operators of one graph."""

    def __init__(self, file: FileBuilder) -> None:
        self._file = file
        self.tensors: list[Any] = []
        self.operators: list[Any] = []

    def tensor(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> int:
        """Adds a computed tensor; -1 stands for the sequence length. Returns its index."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = [1 if size < 0 else size for size in shape]
        if any(size < 0 for size in shape):
            tensor.shapeSignature = list(shape)
        tensor.type = TENSOR_TYPES[np.dtype(dtype)]
        tensor.buffer = 0
        tensor.hasRank = True
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, name: str, value: NDArray[Any] | Quantized) -> int:
        """Adds a constant, quantised or not. Returns its index."""
        array = value.values if isinstance(value, Quantized) else value
        index = self.tensor(name, array.shape, array.dtype)
        content: NDArray[Any] = np.ascontiguousarray(array)
        if isinstance(value, Quantized):
            if value.bits == 4:
                self.tensors[index].type, content = schema.TensorType.INT4, _packed(content)
            self.tensors[index].quantization = self._file.quantization(value)
        self.tensors[index].buffer = self._file.buffer(content.tobytes())
        return index

    def operator(
        self, code: int, inputs: Sequence[int], output: int, *, version: int = 1, options: Any = None
    ) -> int:
        """Adds an operator that computes ``output``; returns ``output`` for chaining."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._file.operator_code(code, version)
        operator.inputs = list(inputs)
        operator.outputs = [output]
        if options is not None:
            operator.builtinOptions = options
            options_name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options_name, 0)
            if not operator.builtinOptionsType:  # newer operators' options stand in a second union
                operator.builtinOptions = None
                operator.builtinOptions2 = options
                operator.builtinOptions2Type = getattr(schema.BuiltinOptions2, options_name)
        self.operators.append(operator)
        return output


def _packed(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two 4-bit values to a byte, the first in the low half, as ``TensorType.INT4`` is stored."""
    halves = values.reshape(-1).view(np.uint8) & 0x0F
    if len(halves) % 2:
        halves = np.append(halves, np.uint8(0))
    packed: NDArray[np.uint8] = np.bitwise_or(halves[0::2], np.left_shift(halves[1::2], 4)).astype(np.uint8)
    return packed


def _subgraph(entry: _Subgraph) -> Any:
    subgraph = schema.SubGraphT()
    subgraph.name = entry.signature
    subgraph.tensors, subgraph.operators = entry.graph.tensors, entry.graph.operators
    subgraph.inputs, subgraph.outputs = list(entry.inputs), list(entry.outputs)
    return subgraph


def _signature(index: int, entry: _Subgraph) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey = entry.signature
    signature.subgraphIndex = index
    signature.inputs = [_named(entry.graph, tensor) for tensor in entry.inputs]
    signature.outputs = [_named(entry.graph, tensor) for tensor in entry.outputs]
    return signature


def _named(graph: GraphBuilder, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = graph.tensors[tensor].name
    entry.tensorIndex = tensor
    return entry


def _operator_code(code: int, version: int) -> Any:
    entry = schema.OperatorCodeT()
    entry.builtinCode = code
    entry.deprecatedBuiltinCode = min(code, 127)  # the old field is a byte; 127 says "look at the new one"
    entry.version = version
    return entry
