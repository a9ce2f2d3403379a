"""Small real ``.tflite`` files: the mean of word vectors, and what stands behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge_agent.forge.export.flatbuffer import FileBuilder, GraphBuilder

Array = NDArray[np.float32]

_OP = schema.BuiltinOperator


def write_embedder(path: Path, words: Array, *, batch: int = 0) -> Path:
    """``token_ids`` int32 [1, any] → ``embedding`` float32 [1, hidden], the normalised mean of the words.

    With ``batch``, a second graph takes so many sentences of one length.
    """
    file = FileBuilder("mean of words")
    graph = file.graph()
    ids = graph.tensor("token_ids", [1, -1], np.int32)
    mean = _mean_of_words(graph, ids, words, -1)
    embedding = graph.tensor("embedding", [1, words.shape[1]])
    graph.operator(_OP.L2_NORMALIZATION, [mean], embedding, options=schema.L2NormOptionsT())
    file.add("serve", graph, [ids], [embedding])
    if batch:
        _add_batch(file, words, batch)
    file.write(path)
    return path


def _add_batch(file: FileBuilder, words: Array, batch: int) -> None:
    graph = file.graph()
    hidden = words.shape[1]
    ids = graph.tensor("token_ids", [batch, -1], np.int32)
    apart = graph.tensor("apart", [batch, -1, hidden])
    _reshape(graph, _look_up(graph, ids, words, -1, "words"), [batch, -1, hidden], "apart", output=apart)
    options = schema.ReducerOptionsT()
    axes = graph.constant("axes", np.asarray([1], np.int32))
    mean = graph.operator(_OP.MEAN, [apart, axes], graph.tensor("mean", [batch, hidden]), options=options)
    embedding = graph.tensor("embedding", [batch, hidden])
    graph.operator(_OP.L2_NORMALIZATION, [mean], embedding, options=schema.L2NormOptionsT())
    file.add("batch", graph, [ids], [embedding])


def write_word_vector_classifier(  # as Model Maker's average_word_vec, with names as a converter gives them
    path: Path,
    words: Array,
    head: Array,
    length: int,
    *,
    softmax: bool = True,
    sigmoid: bool = False,
    id_type: Any = np.int32,
) -> Path:
    """int32 [1, length] → float32 [1, labels]: mean of all words, padding too, a layer, a softmax."""
    file = FileBuilder("average word vectors")
    graph = file.graph()
    ids = graph.tensor("serving_default_input_1:0", [1, length], id_type)
    scores = _layer(graph, _mean_of_words(graph, ids, words, length), head, softmax and not sigmoid)
    if sigmoid:
        scores = graph.operator(_OP.LOGISTIC, [scores], graph.tensor("sigmoid", [1, len(head)]))
    file.add("serving_default", graph, [ids], [scores])
    file.write(path)
    return path


def write_masked_classifier(
    path: Path,
    words: Array,
    segments: Array,
    head: Array,
    length: int,
    *,
    order: str = "ids mask segment_ids",
    softmax: bool = True,
) -> Path:
    """Ids, mask and segment ids, int32 [1, length] each, in any order → float32 [1, labels].

    The sum of the word vectors where the mask is 1, and of one vector for each segment; a layer, a softmax. A
    wrong order of the inputs, a wrong mask or wrong segments give another answer, as in a BERT.
    """
    file = FileBuilder("masked words")
    graph = file.graph()
    inputs = {
        "ids": graph.tensor("serving_default_input_word_ids:0", [1, length], np.int32),
        "mask": graph.tensor("serving_default_input_mask:0", [1, length], np.int32),
        "segment_ids": graph.tensor("serving_default_input_type_ids:0", [1, length], np.int32),
    }
    hidden = words.shape[1]
    found = _look_up(graph, inputs["ids"], words, length, "words")
    typed = _look_up(graph, inputs["segment_ids"], segments, length, "segments")
    added = graph.operator(
        _OP.ADD, [found, typed], graph.tensor("added", [length, hidden]), options=schema.AddOptionsT()
    )
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = schema.TensorType.INT32, schema.TensorType.FLOAT32
    mask = graph.operator(_OP.CAST, [inputs["mask"]], graph.tensor("mask_float", [1, length]), options=cast)
    column = _reshape(graph, mask, [length, 1], "mask_column")
    kept = graph.operator(
        _OP.MUL, [added, column], graph.tensor("kept", [length, hidden]), options=schema.MulOptionsT()
    )
    summed = _reduce(graph, _OP.SUM, kept, hidden)
    scores = _layer(graph, summed, head, softmax)
    file.add("serving_default", graph, [inputs[name] for name in order.split()], [scores])
    file.write(path)
    return path


def _mean_of_words(graph: GraphBuilder, ids: int, words: Array, length: int) -> int:
    return _reduce(graph, _OP.MEAN, _look_up(graph, ids, words, length, "words"), words.shape[1])


def _look_up(graph: GraphBuilder, ids: int, rows: Array, length: int, name: str) -> int:
    flat = graph.tensor(f"{name}_ids", [length], np.int32)
    _reshape(graph, ids, [-1], f"{name}_ids", output=flat)
    found = graph.tensor(f"{name}_found", [length, rows.shape[1]])
    return graph.operator(_OP.EMBEDDING_LOOKUP, [flat, graph.constant(name, rows)], found)


def _reduce(graph: GraphBuilder, code: int, rows: int, hidden: int) -> int:
    options = schema.ReducerOptionsT()
    options.keepDims = True
    axes = graph.constant("axes", np.asarray([0], np.int32))
    return graph.operator(code, [rows, axes], graph.tensor("pooled", [1, hidden]), options=options)


def _layer(graph: GraphBuilder, states: int, head: Array, softmax: bool) -> int:
    bias = graph.constant("bias", np.zeros(len(head), np.float32))
    logits = graph.tensor("logits" if softmax else "StatefulPartitionedCall:0", [1, len(head)])
    graph.operator(
        _OP.FULLY_CONNECTED,
        [states, graph.constant("weight", head), bias],
        logits,
        options=schema.FullyConnectedOptionsT(),
    )
    if not softmax:
        return logits
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    shares = graph.tensor("StatefulPartitionedCall:0", [1, len(head)])
    return graph.operator(_OP.SOFTMAX, [logits], shares, options=options)


def _reshape(
    graph: GraphBuilder, tensor: int, shape: list[int], name: str, *, output: int | None = None
) -> int:
    options = schema.ReshapeOptionsT()
    options.newShape = shape
    target = graph.tensor(name, shape) if output is None else output
    constant = graph.constant(f"{name}_shape", np.asarray(shape, np.int32))
    return graph.operator(_OP.RESHAPE, [tensor, constant], target, options=options)
