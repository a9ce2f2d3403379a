"""Encoder weights → a ``.tflite`` file with a dynamic sequence length, batch 1.

Batch 1 needs neither padding nor attention mask, so the graph has none. Every matrix product is fed
2-D ``[length, hidden]``, which makes the runtime quantise the activations per token instead of per
sentence. ``1/sqrt(d)`` of the attention (Vaswani et al. 2017) is folded into the query weights.

The file's contract (PROTOCOL §3): one input ``token_ids`` int32 [1, length]; outputs ``label_logits``
float32 [1, labels] and, with a slot head, ``slot_logits`` float32 [length, tags].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge_agent.forge.flatbuffer import GraphBuilder
from edge_agent.forge.quantise import Scheme, quantise_int8
from edge_agent.forge.weights import EncoderWeights, FloatArray, LayerWeights, Linear, Norm

INPUT_NAME = "token_ids"
LABEL_OUTPUT_NAME = "label_logits"
SLOT_OUTPUT_NAME = "slot_logits"

_LENGTH = -1
_FULLY_CONNECTED_VERSION = {Scheme.FLOAT32: 1, Scheme.INT8_PER_TENSOR: 9, Scheme.INT8_PER_CHANNEL: 12}
_LOOKUP_VERSION = {Scheme.FLOAT32: 1, Scheme.INT8_PER_TENSOR: 2, Scheme.INT8_PER_CHANNEL: 3}

_OP = schema.BuiltinOperator


def export_bert(weights: EncoderWeights, path: Path, *, scheme: Scheme = Scheme.INT8_PER_CHANNEL) -> None:
    """Writes the encoder and its heads as a TFLite file.

    Args:
        weights: the trained weights, float32.
        path: the file to write; it appears whole or not at all.
        scheme: how matrices and embedding rows are held. Norms, biases and positions stay float32.

    Raises:
        ValueError: the shapes do not belong together.
    """
    if weights.hidden % weights.heads:
        raise ValueError(f"{weights.heads} heads do not divide the hidden size {weights.hidden}")
    graph = _EncoderGraph(GraphBuilder("encoder"), weights, scheme)
    token_ids = graph.builder.tensor(INPUT_NAME, [1, _LENGTH], np.int32)
    states = graph.embeddings(token_ids)
    for number, layer in enumerate(weights.layers):
        states = graph.layer(f"layer{number}", states, layer)
    pooled = graph.mean(states, [0], "pooled", [1, weights.hidden])
    outputs = [graph.linear(LABEL_OUTPUT_NAME, pooled, weights.label_head, rows=1)]
    if weights.slot_head is not None:
        outputs.append(graph.linear(SLOT_OUTPUT_NAME, states, weights.slot_head))
    graph.builder.write(path, inputs=[token_ids], outputs=outputs, description=f"edge-agent {scheme.value}")


@dataclass(slots=True)
class _EncoderGraph:
    builder: GraphBuilder
    weights: EncoderWeights
    scheme: Scheme

    def _ints(self, name: str, values: list[int]) -> int:
        return self.builder.constant(name, np.asarray(values, np.int32))

    def _states(self, name: str) -> int:
        return self.builder.tensor(name, [_LENGTH, self.weights.hidden])

    def embeddings(self, token_ids: int) -> int:
        builder, weights = self.builder, self.weights
        flat = builder.tensor("token_ids_flat", [_LENGTH], np.int32)
        self._reshape(token_ids, [-1], flat, "token_ids_flat_shape")
        table = builder.constant("words", quantise_int8(weights.words, self.scheme))
        words = builder.operator(
            _OP.EMBEDDING_LOOKUP,
            [flat, table],
            self._states("words_found"),
            version=_LOOKUP_VERSION[self.scheme],
        )
        positions = self._positions(flat)
        summed = builder.operator(
            _OP.ADD, [words, positions], self._states("embedded"), options=schema.AddOptionsT()
        )
        return self.norm("embedding_norm", summed, weights.embedding_norm)

    def _positions(self, flat: int) -> int:
        """The first `length` rows of the position table."""
        builder = self.builder
        shape_options = schema.ShapeOptionsT()
        shape_options.outType = schema.TensorType.INT32
        length = builder.operator(
            _OP.SHAPE, [flat], builder.tensor("length", [1], np.int32), options=shape_options
        )
        table = builder.constant("positions", self.weights.positions.astype(np.float32))
        end = builder.tensor("positions_end", [2], np.int32)
        concatenation = schema.ConcatenationOptionsT()
        builder.operator(
            _OP.CONCATENATION,
            [length, self._ints("hidden", [self.weights.hidden])],
            end,
            options=concatenation,
        )
        return builder.operator(
            _OP.STRIDED_SLICE,
            [table, self._ints("positions_begin", [0, 0]), end, self._ints("positions_strides", [1, 1])],
            self._states("positions_found"),
            options=schema.StridedSliceOptionsT(),
        )

    def linear(self, name: str, states: int, linear: Linear, *, rows: int = _LENGTH) -> int:
        builder = self.builder
        weight = builder.constant(f"{name}/weight", quantise_int8(linear.weight, self.scheme))
        bias = builder.constant(f"{name}/bias", linear.bias.astype(np.float32))
        options = schema.FullyConnectedOptionsT()
        options.asymmetricQuantizeInputs = self.scheme is not Scheme.FLOAT32
        return builder.operator(
            _OP.FULLY_CONNECTED,
            [states, weight, bias],
            builder.tensor(name, [rows, linear.weight.shape[0]]),
            version=_FULLY_CONNECTED_VERSION[self.scheme],
            options=options,
        )

    def mean(self, states: int, axes: list[int], name: str, shape: list[int]) -> int:
        options = schema.ReducerOptionsT()
        options.keepDims = True
        return self.builder.operator(
            _OP.MEAN,
            [states, self._ints(f"{name}/axes", axes)],
            self.builder.tensor(name, shape),
            options=options,
        )

    def norm(self, name: str, states: int, norm: Norm) -> int:
        """Layer normalisation (Ba et al. 2016): (x - mean) / sqrt(variance + epsilon) * gain + offset."""
        builder = self.builder
        column = [_LENGTH, 1]
        mean = self.mean(states, [1], f"{name}/mean", column)
        centred = builder.operator(
            _OP.SUB, [states, mean], self._states(f"{name}/centred"), options=schema.SubOptionsT()
        )
        squared = self._multiply(f"{name}/squared", centred, centred)
        variance = self.mean(squared, [1], f"{name}/variance", column)
        epsilon = builder.constant(f"{name}/epsilon", np.asarray([[self.weights.epsilon]], np.float32))
        shifted = builder.operator(
            _OP.ADD,
            [variance, epsilon],
            builder.tensor(f"{name}/shifted", column),
            options=schema.AddOptionsT(),
        )
        inverse = builder.operator(_OP.RSQRT, [shifted], builder.tensor(f"{name}/inverse", column))
        scaled = self._multiply(f"{name}/scaled", centred, inverse)
        gained = self._multiply(f"{name}/gained", scaled, self._row(f"{name}/gain", norm.gain))
        return builder.operator(
            _OP.ADD,
            [gained, self._row(f"{name}/offset", norm.offset)],
            self._states(name),
            options=schema.AddOptionsT(),
        )

    def layer(self, name: str, states: int, layer: LayerWeights) -> int:
        attended = self.linear(
            f"{name}/attention_output", self._attention(name, states, layer), layer.attention_output
        )
        states = self._residual(f"{name}/attention", states, attended, layer.attention_norm)
        widened = self.linear(f"{name}/intermediate", states, layer.intermediate)
        activated = self.builder.operator(
            _OP.GELU,
            [widened],
            self.builder.tensor(f"{name}/gelu", [_LENGTH, layer.intermediate.weight.shape[0]]),
            options=schema.GeluOptionsT(),
        )
        narrowed = self.linear(f"{name}/output", activated, layer.output)
        return self._residual(f"{name}/feed_forward", states, narrowed, layer.output_norm)

    def _residual(self, name: str, states: int, update: int, norm: Norm) -> int:
        summed = self.builder.operator(
            _OP.ADD, [states, update], self._states(f"{name}/sum"), options=schema.AddOptionsT()
        )
        return self.norm(f"{name}/norm", summed, norm)

    def _attention(self, name: str, states: int, layer: LayerWeights) -> int:
        builder, heads = self.builder, self.weights.heads
        size = self.weights.hidden // heads
        scale = 1.0 / np.sqrt(size)
        query_weights = Linear(
            (layer.query.weight * scale).astype(np.float32), (layer.query.bias * scale).astype(np.float32)
        )
        query = self._split_heads(self.linear(f"{name}/query", states, query_weights), f"{name}/query")
        key = self._split_heads(self.linear(f"{name}/key", states, layer.key), f"{name}/key")
        value = self._split_heads(self.linear(f"{name}/value", states, layer.value), f"{name}/value")
        by_key = schema.BatchMatMulOptionsT()
        by_key.adjY = True
        scores = builder.operator(
            _OP.BATCH_MATMUL,
            [query, key],
            builder.tensor(f"{name}/scores", [heads, _LENGTH, _LENGTH]),
            options=by_key,
        )
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        shares = builder.operator(
            _OP.SOFTMAX,
            [scores],
            builder.tensor(f"{name}/shares", [heads, _LENGTH, _LENGTH]),
            options=softmax,
        )
        context = builder.operator(
            _OP.BATCH_MATMUL,
            [shares, value],
            builder.tensor(f"{name}/context", [heads, _LENGTH, size]),
            options=schema.BatchMatMulOptionsT(),
        )
        by_token = self._transpose(
            context, [1, 0, 2], builder.tensor(f"{name}/by_token", [_LENGTH, heads, size])
        )
        return self._reshape(
            by_token, [-1, self.weights.hidden], self._states(f"{name}/merged"), f"{name}/merged_shape"
        )

    def _split_heads(self, states: int, name: str) -> int:
        """[length, hidden] → [heads, length, hidden / heads]."""
        builder, heads = self.builder, self.weights.heads
        size = self.weights.hidden // heads
        split = builder.tensor(f"{name}/split", [_LENGTH, heads, size])
        self._reshape(states, [-1, heads, size], split, f"{name}/split_shape")
        return self._transpose(split, [1, 0, 2], builder.tensor(f"{name}/heads", [heads, _LENGTH, size]))

    def _multiply(self, name: str, left: int, right: int) -> int:
        return self.builder.operator(_OP.MUL, [left, right], self._states(name), options=schema.MulOptionsT())

    def _row(self, name: str, values: FloatArray) -> int:
        row: NDArray[np.float32] = values.astype(np.float32).reshape(1, -1)
        return self.builder.constant(name, row)

    def _reshape(self, tensor: int, shape: list[int], output: int, name: str) -> int:
        options = schema.ReshapeOptionsT()
        options.newShape = shape
        return self.builder.operator(_OP.RESHAPE, [tensor, self._ints(name, shape)], output, options=options)

    def _transpose(self, tensor: int, order: list[int], output: int) -> int:
        permutation = self._ints(f"permutation{output}", order)
        return self.builder.operator(
            _OP.TRANSPOSE, [tensor, permutation], output, options=schema.TransposeOptionsT()
        )
