"""Encoder weights → a ``.tflite`` file with a dynamic sequence length, batch 1.

Batch 1 needs neither padding nor attention mask, so the graph has none. Every matrix product is fed
2-D ``[length, hidden]``, which makes the runtime quantise the activations per token instead of per
sentence. ``1/sqrt(d)`` of the attention (Vaswani et al. 2017) is folded into the query weights.

The file's contract (PROTOCOL §3): one input ``token_ids`` int32 [1, length]; outputs ``label_logits``
float32 [1, labels] and, with a slot head, ``slot_logits`` float32 [length, tags]. A second graph over the
same constants, under the signature ``batch``, takes several sentences of one length at once, ``token_ids``
[batch, length] → ``label_logits`` [batch, labels], ``slot_logits`` [batch · length, tags].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge_agent.forge.flatbuffer import FileBuilder, GraphBuilder
from edge_agent.forge.quantise import Scheme, finer, quantise
from edge_agent.forge.weights import EncoderWeights, FloatArray, LayerWeights, Linear, Norm

INPUT_NAME = "token_ids"
LABEL_OUTPUT_NAME = "label_logits"
SLOT_OUTPUT_NAME = "slot_logits"
SINGLE_SIGNATURE = "serving_default"
BATCH_SIGNATURE = "batch"

_LENGTH = -1
_FULLY_CONNECTED_VERSION = {
    Scheme.FLOAT32: 1,
    Scheme.INT8_PER_TENSOR: 9,
    Scheme.INT8_PER_CHANNEL: 12,
    Scheme.INT4_PER_CHANNEL: 12,
}
_LOOKUP_VERSION = {
    Scheme.FLOAT32: 1,
    Scheme.INT8_PER_TENSOR: 2,
    Scheme.INT8_PER_CHANNEL: 3,
    Scheme.INT4_PER_CHANNEL: 4,
}

_OP = schema.BuiltinOperator


def export_bert(
    weights: EncoderWeights, path: Path, *, scheme: Scheme = Scheme.INT8_PER_CHANNEL, batch: int = 0
) -> None:
    """Writes the encoder and its heads as a TFLite file.

    Args:
        weights: the trained weights, float32.
        path: the file to write; it appears whole or not at all.
        scheme: how matrices and embedding rows are held. Norms and biases stay float32.
        batch: sentences that the second graph takes at once; 0 leaves it out.

    Raises:
        ValueError: the shapes do not belong together.
    """
    if weights.hidden % weights.heads:
        raise ValueError(f"{weights.heads} heads do not divide the hidden size {weights.hidden}")
    file = FileBuilder(f"edge-agent {scheme.value}")
    _add_graph(file, SINGLE_SIGNATURE, weights, scheme, 1)
    if batch:
        _add_graph(file, BATCH_SIGNATURE, weights, scheme, batch)
    file.write(path)


def _add_graph(
    file: FileBuilder, signature: str, weights: EncoderWeights, scheme: Scheme, batch: int
) -> None:
    graph = _EncoderGraph(file.graph(), weights, scheme, batch)
    token_ids = graph.builder.tensor(INPUT_NAME, [batch, _LENGTH], np.int32)
    states = graph.embeddings(token_ids)
    for number, layer in enumerate(weights.layers):
        states = graph.layer(f"layer{number}", states, layer)
    outputs = [
        graph.linear(LABEL_OUTPUT_NAME, graph.pooled(states), weights.label_head, rows=batch, head=True)
    ]
    if weights.slot_head is not None:
        outputs.append(graph.linear(SLOT_OUTPUT_NAME, states, weights.slot_head, head=True))
    file.add(signature, graph.builder, [token_ids], outputs)


@dataclass(slots=True)
class _EncoderGraph:
    """One graph of the encoder; hidden states are [batch · length, hidden] between its parts."""

    builder: GraphBuilder
    weights: EncoderWeights
    scheme: Scheme
    batch: int

    @property
    def _leading(self) -> list[int]:
        """The batch dimension of shapes that have one: a single sentence does without."""
        return [self.batch] if self.batch > 1 else []

    def _ints(self, name: str, values: list[int]) -> int:
        return self.builder.constant(name, np.asarray(values, np.int32))

    def _states(self, name: str) -> int:
        return self.builder.tensor(name, [_LENGTH, self.weights.hidden])

    def embeddings(self, token_ids: int) -> int:
        builder, weights = self.builder, self.weights
        flat = builder.tensor("token_ids_flat", [_LENGTH], np.int32)
        self._reshape(token_ids, [-1], flat, "token_ids_flat_shape")
        words = self._rows("words", flat, weights.words, self.scheme)
        if self.batch == 1:
            summed = self._add(words, self._positions(flat), self._states("embedded"))
        else:
            summed = self._add_positions_to_each(token_ids, words)
        return self.norm("embedding_norm", summed, weights.embedding_norm)

    def _add_positions_to_each(self, token_ids: int, words: int) -> int:
        builder, by_sentence = self.builder, [self.batch, _LENGTH, self.weights.hidden]
        options = schema.StridedSliceOptionsT()
        options.endMask = 0b10  # to the end of the second dimension
        first = builder.operator(
            _OP.STRIDED_SLICE,
            [
                token_ids,
                self._ints("first/begin", [0, 0]),
                self._ints("first/end", [1, 0]),
                self._ints("first/strides", [1, 1]),
            ],
            builder.tensor("first_sentence", [1, _LENGTH], np.int32),
            options=options,
        )
        flat = self._reshape(
            first, [-1], builder.tensor("first_flat", [_LENGTH], np.int32), "first_flat_shape"
        )
        apart = self._reshape(
            words, by_sentence, builder.tensor("words_apart", by_sentence), "words_apart_shape"
        )
        summed = self._add(apart, self._positions(flat), builder.tensor("embedded_apart", by_sentence))
        return self._reshape(summed, [-1, self.weights.hidden], self._states("embedded"), "embedded_shape")

    def pooled(self, states: int) -> int:
        """The mean over each sentence's tokens, [batch, hidden]."""
        if self.batch == 1:
            return self.mean(states, [0], "pooled", [1, self.weights.hidden])
        builder, hidden = self.builder, self.weights.hidden
        by_sentence = [self.batch, _LENGTH, hidden]
        apart = self._reshape(
            states, by_sentence, builder.tensor("states_apart", by_sentence), "states_apart_shape"
        )
        means = self.mean(apart, [1], "means", [self.batch, 1, hidden])
        return self._reshape(
            means, [self.batch, hidden], builder.tensor("pooled", [self.batch, hidden]), "pooled_shape"
        )

    def _positions(self, flat: int) -> int:
        """The first `length` rows of the position table.

        Their numbers are sliced from a constant, and the rows found as words are: a slice of the table
        itself would need it in float32.
        """
        builder = self.builder
        shape_options = schema.ShapeOptionsT()
        shape_options.outType = schema.TensorType.INT32
        length = builder.operator(
            _OP.SHAPE, [flat], builder.tensor("length", [1], np.int32), options=shape_options
        )
        numbers = np.arange(len(self.weights.positions), dtype=np.int32)
        found = builder.operator(
            _OP.STRIDED_SLICE,
            [
                builder.constant("position_numbers", numbers),
                self._ints("positions_begin", [0]),
                length,
                self._ints("positions_strides", [1]),
            ],
            builder.tensor("positions_read", [_LENGTH], np.int32),
            options=schema.StridedSliceOptionsT(),
        )
        return self._rows("positions", found, self.weights.positions, finer(self.scheme))

    def _rows(self, name: str, numbers: int, table: FloatArray, scheme: Scheme) -> int:
        """The rows of a table [rows, width] by their numbers [length]."""
        return self.builder.operator(
            _OP.EMBEDDING_LOOKUP,
            [numbers, self.builder.constant(name, quantise(table, scheme))],
            self.builder.tensor(f"{name}_found", [_LENGTH, table.shape[1]]),
            version=_LOOKUP_VERSION[scheme],
        )

    def linear(
        self, name: str, states: int, linear: Linear, *, rows: int = _LENGTH, head: bool = False
    ) -> int:
        builder, scheme = self.builder, finer(self.scheme) if head else self.scheme
        weight = builder.constant(f"{name}/weight", quantise(linear.weight, scheme))
        bias = builder.constant(f"{name}/bias", linear.bias.astype(np.float32))
        options = schema.FullyConnectedOptionsT()
        options.asymmetricQuantizeInputs = scheme is not Scheme.FLOAT32
        return builder.operator(
            _OP.FULLY_CONNECTED,
            [states, weight, bias],
            builder.tensor(name, [rows, linear.weight.shape[0]]),
            version=_FULLY_CONNECTED_VERSION[scheme],
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
        summed = self._add(states, update, self._states(f"{name}/sum"))
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
            builder.tensor(f"{name}/scores", [*self._leading, heads, _LENGTH, _LENGTH]),
            options=by_key,
        )
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        shares = builder.operator(
            _OP.SOFTMAX,
            [scores],
            builder.tensor(f"{name}/shares", [*self._leading, heads, _LENGTH, _LENGTH]),
            options=softmax,
        )
        context = builder.operator(
            _OP.BATCH_MATMUL,
            [shares, value],
            builder.tensor(f"{name}/context", [*self._leading, heads, _LENGTH, size]),
            options=schema.BatchMatMulOptionsT(),
        )
        by_token = self._swap_heads_and_tokens(context, f"{name}/by_token", [_LENGTH, heads, size])
        return self._reshape(
            by_token, [-1, self.weights.hidden], self._states(f"{name}/merged"), f"{name}/merged_shape"
        )

    def _split_heads(self, states: int, name: str) -> int:
        """[batch · length, hidden] → [batch, heads, length, hidden / heads]."""
        heads = self.weights.heads
        size = self.weights.hidden // heads
        shape = [*self._leading, _LENGTH, heads, size]
        split = self._reshape(
            states, shape, self.builder.tensor(f"{name}/split", shape), f"{name}/split_shape"
        )
        return self._swap_heads_and_tokens(split, f"{name}/heads", [heads, _LENGTH, size])

    def _swap_heads_and_tokens(self, tensor: int, name: str, shape: list[int]) -> int:
        """Exchanges the two dimensions before the last; ``shape`` is the result's, without the batch."""
        order = [0, 2, 1, 3] if self._leading else [1, 0, 2]
        return self._transpose(tensor, order, self.builder.tensor(name, [*self._leading, *shape]))

    def _add(self, left: int, right: int, output: int) -> int:
        return self.builder.operator(_OP.ADD, [left, right], output, options=schema.AddOptionsT())

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
