"""The parts that encoders' TFLite graphs are made of: products, norms, attention, pooling.

Between parts, states are 2-D, [batch · length, width]: that makes the runtime quantise the activations per
token instead of per sentence. A graph takes whole sentences of one length, so it has neither padding nor
attention mask. Which parts make an encoder is in :mod:`edge_agent.forge.export.tflite`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge_agent.forge.encoders.weights import Activation, FloatArray, Linear, Norm, Pooling
from edge_agent.forge.export.flatbuffer import GraphBuilder
from edge_agent.forge.export.quantise import Scheme, finer, quantise

LENGTH = -1
"""Stands in shapes where the sequence's length stands, or a multiple of it."""

FULLY_CONNECTED_VERSION = {
    Scheme.FLOAT32: 1,
    Scheme.INT8_PER_TENSOR: 9,
    Scheme.INT8_PER_CHANNEL: 12,
    Scheme.INT4_PER_CHANNEL: 12,
}
LOOKUP_VERSION = {
    Scheme.FLOAT32: 1,
    Scheme.INT8_PER_TENSOR: 2,
    Scheme.INT8_PER_CHANNEL: 3,
    Scheme.INT4_PER_CHANNEL: 4,
}
_OP = schema.BuiltinOperator


@dataclass(slots=True)
class EncoderGraph:
    """One graph in the making; every method adds operators and returns the number of what they compute.

    Attributes:
        builder: collects tensors and operators.
        scheme: how matrices and tables are held.
        batch: sentences of one length that the graph takes at once.
    """

    builder: GraphBuilder
    scheme: Scheme
    batch: int

    def flat(self, token_ids: int) -> int:
        """[batch, length] → [batch · length], int32."""
        return self._reshape("token_ids_flat", token_ids, [LENGTH], np.int32)

    def rows(self, name: str, numbers: int, table: FloatArray, scheme: Scheme) -> int:
        """The rows of a table [rows, width] by their numbers [length]."""
        constant = self.builder.constant(name, quantise(table, scheme))
        shape = [LENGTH, table.shape[1]]
        version = LOOKUP_VERSION[scheme]
        return self._op(_OP.EMBEDDING_LOOKUP, [numbers, constant], f"{name}_found", shape, version=version)

    def add_positions(self, token_ids: int, states: int, table: FloatArray) -> int:
        """Adds to each token's state the row of its place.

        The rows' numbers are sliced from a constant, and the rows found as words are: a slice of the table
        itself would need it in float32.
        """
        first = token_ids
        if self.batch > 1:
            first = self.slice("first_sentence", token_ids, [0, 0], [1, 0], [1, LENGTH], 0b10, np.int32)
        one = self._reshape("first_flat", first, [LENGTH], np.int32)
        shape_options = schema.ShapeOptionsT()
        shape_options.outType = schema.TensorType.INT32
        length = self._op(_OP.SHAPE, [one], "length", [1], shape_options, dtype=np.int32)
        numbers = self.builder.constant("position_numbers", np.arange(len(table), dtype=np.int32))
        inputs = [numbers, self._ints("positions_begin", [0]), length, self._ints("positions_strides", [1])]
        options = schema.StridedSliceOptionsT()
        read = self._op(_OP.STRIDED_SLICE, inputs, "positions_read", [LENGTH], options, dtype=np.int32)
        rows = self.rows("positions", read, table, finer(self.scheme))
        width = table.shape[1]
        apart = self.apart("words_apart", states, width)
        return self.together(
            "embedded", self.add("embedded_apart", apart, rows, self.by_sentence(width)), width
        )

    def by_sentence(self, width: int) -> list[int]:
        """The shape of states with the sentences apart: [batch, length, width], or without the batch of 1."""
        return [*self._leading, LENGTH, width]

    @property
    def _leading(self) -> list[int]:
        return [self.batch] if self.batch > 1 else []

    def apart(self, name: str, states: int, width: int) -> int:
        """[batch · length, width] → :meth:`by_sentence`."""
        return self._reshape(name, states, self.by_sentence(width)) if self.batch > 1 else states

    def together(self, name: str, states: int, width: int) -> int:
        """:meth:`by_sentence` → [batch · length, width]."""
        return self._reshape(name, states, [LENGTH, width]) if self.batch > 1 else states

    def neighbours(self, states: int, width: int) -> int:
        """The states of the next token, the token, and the one before, beside each other; zeros beyond.

        [batch · length, width] → [batch · length, 3 · width], the trigrams of Sun et al. 2020.
        """
        shape, lead = self.by_sentence(width), [0] * len(self._leading)
        apart = self.apart("trigram/apart", states, width)
        around = np.asarray([*([[0, 0]] * len(lead)), [1, 1], [0, 0]], np.int32)
        padding = self.builder.constant("trigram/padding", around)
        padded = self._op(_OP.PAD, [apart, padding], "trigram/padded", shape, schema.PadOptionsT())
        rest = 0b1 if lead else 0  # masks take the whole of a dimension
        following = self.slice(
            "trigram/next", padded, [*lead, 2, 0], [*lead, 0, 0], shape, rest | 0b11 << len(lead)
        )
        before = self.slice(
            "trigram/before", padded, [*lead, 0, 0], [*lead, -2, 0], shape, rest | 0b10 << len(lead)
        )
        options = schema.ConcatenationOptionsT()
        options.axis = len(shape) - 1
        wide = self.by_sentence(3 * width)
        joined = self._op(_OP.CONCATENATION, [following, apart, before], "trigram/joined", wide, options)
        return self.together("trigram", joined, 3 * width)

    def linear(
        self,
        name: str,
        states: int,
        linear: Linear,
        *,
        activation: Activation | None = None,
        rows: int = LENGTH,
        head: bool = False,
    ) -> int:
        """``activation(states @ weight.T + bias)``; heads are held by the finer scheme."""
        scheme, shape = finer(self.scheme) if head else self.scheme, [rows, linear.weight.shape[0]]
        weight = self.builder.constant(f"{name}/weight", quantise(linear.weight, scheme))
        bias = self.builder.constant(f"{name}/bias", linear.bias.astype(np.float32))
        options = schema.FullyConnectedOptionsT()
        options.asymmetricQuantizeInputs = scheme is not Scheme.FLOAT32
        if activation is Activation.RELU:
            options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        version = FULLY_CONNECTED_VERSION[scheme]
        product = self._op(_OP.FULLY_CONNECTED, [states, weight, bias], name, shape, options, version=version)
        if activation in (Activation.GELU, Activation.GELU_TANH):
            gelu = schema.GeluOptionsT()
            gelu.approximate = activation is Activation.GELU_TANH
            return self._op(_OP.GELU, [product], f"{name}/gelu", shape, gelu)
        if activation is Activation.TANH:
            return self._op(_OP.TANH, [product], f"{name}/tanh", shape)
        return product

    def layer_norm(self, name: str, states: int, norm: Norm, epsilon: float) -> int:
        """Layer normalisation (Ba et al. 2016): (x - mean) / sqrt(variance + epsilon) * gain + offset."""
        shape, column = [LENGTH, len(norm.gain)], [LENGTH, 1]
        mean = self._mean(f"{name}/mean", states, [1], column)
        centred = self._op(_OP.SUB, [states, mean], f"{name}/centred", shape, schema.SubOptionsT())
        squared = self.multiply(f"{name}/squared", centred, centred, shape)
        variance = self._mean(f"{name}/variance", squared, [1], column)
        smallest = self.builder.constant(f"{name}/epsilon", np.asarray([[epsilon]], np.float32))
        shifted = self.add(f"{name}/shifted", variance, smallest, column)
        inverse = self._op(_OP.RSQRT, [shifted], f"{name}/inverse", column)
        scaled = self.multiply(f"{name}/scaled", centred, inverse, shape)
        gained = self.multiply(f"{name}/gained", scaled, self.row(f"{name}/gain", norm.gain), shape)
        return self.add(name, gained, self.row(f"{name}/offset", norm.offset), shape)

    def attention(self, name: str, query: int, key: int, value: int, *, heads: int, width: int) -> int:
        """softmax(Q Kᵀ) V for each head (Vaswani et al. 2017); ``1/sqrt(d)`` is in the query already.

        ``query``, ``key`` and ``value`` are [batch · length, width], and so is the result.
        """
        size, lead = width // heads, self._leading
        split = [
            self._split_heads(f"{name}/{part}", projected, heads, size)
            for part, projected in (("query", query), ("key", key), ("value", value))
        ]
        by_key = schema.BatchMatMulOptionsT()
        by_key.adjY = True
        square = [*lead, heads, LENGTH, LENGTH]
        scores = self._op(_OP.BATCH_MATMUL, split[:2], f"{name}/scores", square, by_key)
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        shares = self._op(_OP.SOFTMAX, [scores], f"{name}/shares", square, softmax)
        context = self._op(
            _OP.BATCH_MATMUL,
            [shares, split[2]],
            f"{name}/context",
            [*lead, heads, LENGTH, size],
            schema.BatchMatMulOptionsT(),
        )
        by_token = self._swap_heads_and_tokens(f"{name}/by_token", context, [LENGTH, heads, size])
        return self._reshape(f"{name}/merged", by_token, [LENGTH, width])

    def _split_heads(self, name: str, states: int, heads: int, size: int) -> int:
        """[batch · length, heads · size] → [batch, heads, length, size]."""
        split = self._reshape(f"{name}/split", states, [*self._leading, LENGTH, heads, size])
        return self._swap_heads_and_tokens(f"{name}/heads", split, [heads, LENGTH, size])

    def _swap_heads_and_tokens(self, name: str, tensor: int, shape: list[int]) -> int:
        """Exchanges the two dimensions before the last; ``shape`` is the result's, without the batch."""
        order = self._ints(f"{name}/order", [0, 2, 1, 3] if self._leading else [1, 0, 2])
        result = [*self._leading, *shape]
        return self._op(_OP.TRANSPOSE, [tensor, order], name, result, schema.TransposeOptionsT())

    def pooled(self, states: int, pooling: Pooling, width: int) -> int:
        """The vector of each sentence, [batch, width]."""
        apart = self.apart("states_apart", states, width)
        single, lead = [*self._leading, 1, width], [0] * len(self._leading)
        if pooling is Pooling.MEAN:
            vectors = self._mean("pooled_apart" if lead else "pooled", apart, [len(lead)], single)
        else:
            rest = 0b1 | 0b100 if lead else 0b10
            name = "pooled_apart" if lead else "pooled"
            vectors = self.slice(name, apart, [*lead, 0, 0], [*lead, 1, 0], single, rest)
        return self._reshape("pooled", vectors, [self.batch, width]) if lead else vectors

    def unit_length(self, name: str, vectors: int, width: int) -> int:
        """Each vector divided by its Euclidean length."""
        return self._op(_OP.L2_NORMALIZATION, [vectors], name, [self.batch, width], schema.L2NormOptionsT())

    def add(self, name: str, left: int, right: int, shape: Sequence[int]) -> int:
        """The sum; one side may be broadcast."""
        return self._op(_OP.ADD, [left, right], name, shape, schema.AddOptionsT())

    def multiply(self, name: str, left: int, right: int, shape: Sequence[int]) -> int:
        """The product, element by element; one side may be broadcast."""
        return self._op(_OP.MUL, [left, right], name, shape, schema.MulOptionsT())

    def row(self, name: str, values: FloatArray) -> int:
        """A constant of the shape [1, width]."""
        row: NDArray[np.float32] = values.astype(np.float32).reshape(1, -1)
        return self.builder.constant(name, row)

    def slice(
        self,
        name: str,
        tensor: int,
        begin: list[int],
        end: list[int],
        shape: Sequence[int],
        end_mask: int,
        dtype: Any = np.float32,
    ) -> int:
        """Elements from ``begin`` to ``end``; to the very end where ``end_mask`` has a dimension's bit."""
        options = schema.StridedSliceOptionsT()
        options.endMask = end_mask
        limits = [self._ints(f"{name}/begin", begin), self._ints(f"{name}/end", end)]
        inputs = [tensor, *limits, self._ints(f"{name}/strides", [1] * len(begin))]
        return self._op(_OP.STRIDED_SLICE, inputs, name, shape, options, dtype=dtype)

    def _mean(self, name: str, states: int, axes: list[int], shape: list[int]) -> int:
        options = schema.ReducerOptionsT()
        options.keepDims = True
        return self._op(_OP.MEAN, [states, self._ints(f"{name}/axes", axes)], name, shape, options)

    def _reshape(self, name: str, tensor: int, shape: list[int], dtype: Any = np.float32) -> int:
        options = schema.ReshapeOptionsT()
        options.newShape = shape
        inputs = [tensor, self._ints(f"{name}_shape", shape)]
        return self._op(_OP.RESHAPE, inputs, name, shape, options, dtype=dtype)

    def _ints(self, name: str, values: list[int]) -> int:
        return self.builder.constant(name, np.asarray(values, np.int32))

    def _op(
        self,
        code: int,
        inputs: Sequence[int],
        name: str,
        shape: Sequence[int],
        options: Any = None,
        *,
        version: int = 1,
        dtype: Any = np.float32,
    ) -> int:
        output = self.builder.tensor(name, shape, dtype)
        return self.builder.operator(code, inputs, output, version=version, options=options)
