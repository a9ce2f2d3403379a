"""One scale a row → one scale a tensor: the same whole numbers, in operators that old runtimes compute right.

tflite-runtime 2.14, the only runtime for 32-bit ARM, takes one scale of an int8 matrix and applies it to
every row, without an error. So here no matrix has more than one: its scale is 1, and the rows' own scales are
applied to what comes out, as a product with a constant; the bias follows. ``(x @ W.T) * s + b`` is what newer
runtimes compute inside one operator, so nothing is quantised again and nothing is lost.

The first graph of a file of :mod:`edge_agent.forge.export.tflite` is rewritten. A graph for batches is left
out: without the newer kernels it gains nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge_agent.forge.export.flatbuffer import TENSOR_TYPES, FileBuilder, GraphBuilder, Quantized
from edge_agent.forge.export.graph import FULLY_CONNECTED_VERSION, LENGTH, LOOKUP_VERSION
from edge_agent.forge.export.quantise import Scheme

_OP = schema.BuiltinOperator
_DTYPES: dict[int, Any] = {number: dtype for dtype, number in TENSOR_TYPES.items()}
_ONE = np.ones(1, np.float32)


def with_row_scales_apart(content: bytes) -> bytes:
    """Rewrites a TFLite file so that each int8 matrix has one scale.

    Args:
        content: of a file that :func:`edge_agent.forge.export.tflite.export_encoder` wrote.

    Raises:
        ValueError: it holds matrices of another kind than float32 and int8.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    file = FileBuilder(_text(model.description) + ", row scales apart")
    graph = file.graph()
    rewriting = _Rewriting(model, graph)
    for operator in model.subgraphs[0].operators:
        rewriting.add(operator)
    signature = model.signatureDefs[0]
    inputs = [rewriting.tensor(number) for number in model.subgraphs[0].inputs]
    outputs = [rewriting.tensor(number) for number in model.subgraphs[0].outputs]
    file.add(_text(signature.signatureKey), graph, inputs, outputs)
    return file.content()


class _Rewriting:
    """Carries one graph over, operator by operator; numbers of tensors are the new graph's where not said."""

    def __init__(self, model: Any, graph: GraphBuilder) -> None:
        self._model = model
        self._tensors = model.subgraphs[0].tensors
        self._graph = graph
        self._carried: dict[int, int] = {}

    def add(self, operator: Any) -> None:
        """Carries an old graph's operator over, with what it reads and writes."""
        code = self._model.operatorCodes[operator.opcodeIndex]
        kind, inputs = max(code.builtinCode, code.deprecatedBuiltinCode), list(operator.inputs)
        output = self.tensor(operator.outputs[0])
        options = operator.builtinOptions or operator.builtinOptions2
        scaled = [number for number in inputs if len(self._scales(number)) > 1]
        if not scaled:
            carried = [self.tensor(number) for number in inputs]
            self._graph.operator(kind, carried, output, version=code.version, options=options)
        elif kind == _OP.FULLY_CONNECTED and scaled == inputs[1:2]:
            self._product(inputs, operator.outputs[0], options)
        elif kind == _OP.EMBEDDING_LOOKUP and scaled == inputs[1:2]:
            self._lookup(inputs, output)
        else:
            raise ValueError(f"operator {kind} reads a matrix with a scale for each row")

    def tensor(self, number: int) -> int:
        """The new graph's tensor for an old one's number; -1 stands for none in both."""
        if number < 0:
            return number
        if number not in self._carried:
            self._carried[number] = self._carry(number)
        return self._carried[number]

    def _carry(self, number: int) -> int:
        old = self._tensors[number]
        if old.type not in _DTYPES:
            raise ValueError(f"{_text(old.name)} is of a type that old runtimes do not have")
        shape, dtype = _shape(old), _DTYPES[old.type]
        data = self._model.buffers[old.buffer].data
        if data is None:
            return self._graph.tensor(_text(old.name), shape, dtype)
        values: NDArray[Any] = np.frombuffer(bytes(data), dtype).reshape(shape)
        scales = self._scales(number)
        if not len(scales):
            return self._graph.constant(_text(old.name), values)
        one = scales if len(scales) == 1 else _ONE
        return self._graph.constant(_text(old.name), Quantized(values, one))

    def _scales(self, number: int) -> NDArray[np.float32]:
        quantization = self._tensors[number].quantization if number >= 0 else None
        found = None if quantization is None else quantization.scale
        return np.asarray([] if found is None else found, np.float32)

    def _product(self, inputs: Sequence[int], output: int, options: Any) -> None:
        """``activation((x @ W.T) * scales + bias)``, ``W`` in whole numbers; of the old graph's tensors."""
        name, scales = self._name(inputs[1]), self._scales(inputs[1])
        shape = _shape(self._tensors[output])
        bare = copy.copy(options)
        bare.fusedActivationFunction = schema.ActivationFunctionType.NONE
        whole = self._graph.tensor(f"{name}/whole", shape)
        read = [self.tensor(inputs[0]), self.tensor(inputs[1]), -1]
        version = FULLY_CONNECTED_VERSION[Scheme.INT8_PER_TENSOR]
        self._graph.operator(_OP.FULLY_CONNECTED, read, whole, version=version, options=bare)
        row = self._graph.constant(f"{name}/scales", scales.reshape(1, -1))
        scaled = self._graph.tensor(f"{name}/scaled", shape)
        self._graph.operator(_OP.MUL, [whole, row], scaled, options=schema.MulOptionsT())
        adding = schema.AddOptionsT()
        adding.fusedActivationFunction = options.fusedActivationFunction
        bias = self._bias(inputs, len(scales))
        self._graph.operator(_OP.ADD, [scaled, bias], self.tensor(output), options=adding)

    def _bias(self, inputs: Sequence[int], width: int) -> int:
        if len(inputs) > 2 and inputs[2] >= 0:
            return self.tensor(inputs[2])
        return self._graph.constant("no_bias", np.zeros(width, np.float32))

    def _lookup(self, inputs: Sequence[int], output: int) -> None:
        """The rows of a table in whole numbers, each times its scale."""
        name, scales = self._name(inputs[1]), self._scales(inputs[1])
        numbers = self.tensor(inputs[0])
        version = LOOKUP_VERSION[Scheme.INT8_PER_TENSOR]
        whole = self._graph.tensor(f"{name}/whole", [LENGTH, self._tensors[inputs[1]].shape[1]])
        self._graph.operator(_OP.EMBEDDING_LOOKUP, [numbers, self.tensor(inputs[1])], whole, version=version)
        column = self._graph.constant(f"{name}/scales", scales.reshape(-1, 1))
        found = self._graph.tensor(f"{name}/scales_found", [LENGTH, 1])
        self._graph.operator(_OP.EMBEDDING_LOOKUP, [numbers, column], found)
        self._graph.operator(_OP.MUL, [whole, found], output, options=schema.MulOptionsT())

    def _name(self, number: int) -> str:
        return _text(self._tensors[number].name)


def _shape(tensor: Any) -> list[int]:
    """With -1 where the sequence's length stands."""
    signature = tensor.shapeSignature
    return [int(size) for size in (tensor.shape if signature is None else signature)]


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
