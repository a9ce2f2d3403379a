"""Encoder weights → a ``.tflite`` file with a dynamic sequence length.

The file's contract (PROTOCOL §3): one input ``token_ids`` int32 [1, length]; outputs ``label_logits``
float32 [1, labels] and, with a slot head, ``slot_logits`` float32 [length, tags]; of an encoder without
labels, ``embedding`` float32 [1, hidden] of length 1. A second graph over the same constants, under the
signature ``batch``, takes several sentences of one length at once, ``token_ids`` [batch, length] →
``label_logits`` [batch, labels], ``slot_logits`` [batch · length, tags], ``embedding`` [batch, hidden].

What can be folded into a matrix is: ``1/sqrt(d)`` of the attention into the query (Vaswani et al. 2017),
MobileBERT's NoNorm into the product before it. Both are factors of whole rows, so that weights with one scale
a row are quantised to the same numbers as before. Where only [CLS] is read, the last layer computes no other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_agent.forge.encoders.weights import (
    EncoderWeights,
    LayerWeights,
    Linear,
    MobileEncoderWeights,
    MobileLayerWeights,
    NormedLinear,
    Pooling,
)
from edge_agent.forge.export.flatbuffer import FileBuilder
from edge_agent.forge.export.graph import LENGTH, EncoderGraph
from edge_agent.forge.export.quantise import Scheme

INPUT_NAME = "token_ids"
LABEL_OUTPUT_NAME = "label_logits"
SLOT_OUTPUT_NAME = "slot_logits"
EMBEDDING_OUTPUT_NAME = "embedding"
SINGLE_SIGNATURE = "serving_default"
BATCH_SIGNATURE = "batch"


def export_encoder(
    weights: EncoderWeights | MobileEncoderWeights,
    path: Path,
    *,
    scheme: Scheme = Scheme.INT8_PER_CHANNEL,
    batch: int = 0,
) -> None:
    """Writes an encoder and its heads as a TFLite file.

    Args:
        weights: the trained weights, float32.
        path: the file to write; it appears whole or not at all.
        scheme: how matrices and embedding rows are held. Norms and biases stay float32.
        batch: sentences that the second graph takes at once; 0 leaves it out.

    Raises:
        ValueError: the shapes do not belong together.
    """
    if _attention_width(weights) % weights.heads:
        raise ValueError(f"{weights.heads} heads do not divide the width {_attention_width(weights)}")
    file = FileBuilder(f"edge-agent {scheme.value}")
    _add_graph(file, SINGLE_SIGNATURE, weights, scheme, 1)
    if batch:
        _add_graph(file, BATCH_SIGNATURE, weights, scheme, batch)
    file.write(path)


def _attention_width(weights: EncoderWeights | MobileEncoderWeights) -> int:
    return len(weights.layers[0].query.bias)


def _add_graph(
    file: FileBuilder,
    signature: str,
    weights: EncoderWeights | MobileEncoderWeights,
    scheme: Scheme,
    batch: int,
) -> None:
    graph = EncoderGraph(file.graph(), scheme, batch)
    token_ids = graph.builder.tensor(INPUT_NAME, [batch, LENGTH], np.int32)
    if isinstance(weights, EncoderWeights):
        states = _bert_states(graph, token_ids, weights)
    else:
        states = _mobile_states(graph, token_ids, weights)
    file.add(signature, graph.builder, [token_ids], _outputs(graph, states, weights))


def _outputs(graph: EncoderGraph, states: int, weights: EncoderWeights | MobileEncoderWeights) -> list[int]:
    vector = states
    if not _ends_in_first_tokens(weights):
        vector = graph.pooled(states, weights.pooling, weights.hidden)
    if weights.pooler is not None:
        pooler = weights.pooler
        vector = graph.linear(
            "pooler", vector, pooler.linear, activation=pooler.activation, rows=graph.batch, head=True
        )
    if weights.embeds:
        return [graph.unit_length(EMBEDDING_OUTPUT_NAME, vector, weights.hidden)]
    outputs = [graph.linear(LABEL_OUTPUT_NAME, vector, weights.label_head, rows=graph.batch, head=True)]
    if weights.slot_head is not None:
        outputs.append(graph.linear(SLOT_OUTPUT_NAME, states, weights.slot_head, head=True))
    return outputs


def _ends_in_first_tokens(weights: EncoderWeights | MobileEncoderWeights) -> bool:
    """Whether the last layer computes only what is read of it: the states of [CLS]."""
    only_first = weights.pooling is Pooling.FIRST and weights.slot_head is None
    return only_first and isinstance(weights, EncoderWeights)  # one of MobileBERT's 24 layers is not worth it


def _bert_states(graph: EncoderGraph, token_ids: int, weights: EncoderWeights) -> int:
    """The last layer's states: [batch · length, hidden], or [batch, hidden] where only [CLS] is read."""
    words = graph.rows("words", graph.flat(token_ids), weights.words, graph.scheme)
    states = graph.add_positions(token_ids, words, weights.positions)
    states = graph.layer_norm("embedding_norm", states, weights.embedding_norm, weights.epsilon)
    for number, layer in enumerate(weights.layers[:-1]):
        states = _bert_layer(graph, f"layer{number}", states, states, layer, weights)
    read = states
    if _ends_in_first_tokens(weights):
        read = graph.pooled(states, Pooling.FIRST, weights.hidden)
    return _bert_layer(graph, f"layer{len(weights.layers) - 1}", states, read, weights.layers[-1], weights)


def _bert_layer(
    graph: EncoderGraph, name: str, states: int, read: int, layer: LayerWeights, weights: EncoderWeights
) -> int:
    """One layer over the tokens ``read``, whose attention sees ``states``."""
    shape = [LENGTH, weights.hidden]
    context = graph.attention(
        name,
        graph.linear(f"{name}/query", read, _scaled(layer.query, weights.heads)),
        graph.linear(f"{name}/key", states, layer.key),
        graph.linear(f"{name}/value", states, layer.value),
        heads=weights.heads,
        width=len(layer.query.bias),
    )
    attended = graph.linear(f"{name}/attention_output", context, layer.attention_output)
    summed = graph.add(f"{name}/attention/sum", read, attended, shape)
    states = graph.layer_norm(f"{name}/attention/norm", summed, layer.attention_norm, weights.epsilon)
    wide = graph.linear(f"{name}/intermediate", states, layer.intermediate, activation=weights.activation)
    narrow = graph.linear(f"{name}/output", wide, layer.output)
    summed = graph.add(f"{name}/feed_forward/sum", states, narrow, shape)
    return graph.layer_norm(f"{name}/feed_forward/norm", summed, layer.output_norm, weights.epsilon)


def _mobile_states(graph: EncoderGraph, token_ids: int, weights: MobileEncoderWeights) -> int:
    words = graph.rows("words", graph.flat(token_ids), weights.words, graph.scheme)
    trigrams = graph.neighbours(words, weights.words.shape[1])
    normed = NormedLinear(weights.transformation, weights.embedding_norm)
    states = graph.linear("transformation", trigrams, normed.folded())
    # What is added before the norm goes through its gain; the offset is in the product already.
    states = graph.add_positions(token_ids, states, weights.positions * weights.embedding_norm.gain)
    for number, layer in enumerate(weights.layers):
        states = _mobile_layer(graph, f"layer{number}", states, layer, weights)
    return states


def _mobile_layer(
    graph: EncoderGraph, name: str, states: int, layer: MobileLayerWeights, weights: MobileEncoderWeights
) -> int:
    narrow = graph.linear(f"{name}/narrowing", states, layer.narrowing.folded())
    scored, valued = narrow, narrow
    if layer.shared is not None:
        scored, valued = graph.linear(f"{name}/shared", states, layer.shared.folded()), states
    context = graph.attention(
        name,
        graph.linear(f"{name}/query", scored, _scaled(layer.query, weights.heads)),
        graph.linear(f"{name}/key", scored, layer.key),
        graph.linear(f"{name}/value", valued, layer.value),
        heads=weights.heads,
        width=len(layer.query.bias),
    )
    inner = _with_residual(graph, f"{name}/attention_output", context, layer.attention_output, narrow)
    for number, each in enumerate(layer.feed_forwards):
        part = f"{name}/feed_forward{number}"
        wide = graph.linear(f"{part}/intermediate", inner, each.intermediate, activation=weights.activation)
        inner = _with_residual(graph, f"{part}/output", wide, each.output, inner)
    return _with_residual(graph, f"{name}/widening", inner, layer.widening, states)


def _with_residual(graph: EncoderGraph, name: str, inputs: int, normed: NormedLinear, residual: int) -> int:
    """NoNorm of a matrix product and its residual, with the norm folded into the product."""
    shape = [LENGTH, len(normed.norm.gain)]
    product = graph.linear(name, inputs, normed.folded())
    gain = graph.row(f"{name}/gain", normed.norm.gain)
    return graph.add(f"{name}/sum", product, graph.multiply(f"{name}/residual", residual, gain, shape), shape)


def _scaled(query: Linear, heads: int) -> Linear:
    """The query's product with ``1/sqrt(d)`` inside, d being the width of one head."""
    scale = np.float32(1.0 / np.sqrt(len(query.bias) // heads))
    return Linear(query.weight * scale, query.bias * scale)
