"""Whole bundles of a small classifier that is right, and of the same one with something bad in its graph.

The classifier is the mean of word vectors and one layer; its golden logits come from NumPy. What is bad
stands beside it in the same graph: the answers stay right, and only the machine suffers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_agent.forge.export.flatbuffer import FileBuilder, GraphBuilder
from edge_agent.inference.bundle import write_bundle
from edge_agent.inference.decode import decide
from edge_agent.inference.tokenizer import WordPiece
from tests.tiny_bundle import CALIBRATION, LABELS, tiny_manifest
from tests.tiny_embed_bundle import HIDDEN, VOCABULARY, word_vectors

SENTENCES = ("turn on the lamp", "turn off the fan", "play music", "apaga la luz de la kitchen")
TOKENIZER = WordPiece(VOCABULARY)
MAX_TOKENS = 16

_OP = schema.BuiltinOperator
_ENDLESS = 2**31 - 1

Later = tuple[str, GraphBuilder, list[int], list[int]]
"""A further graph of the file: its name, and its inputs and outputs."""
Extra = Callable[[FileBuilder, GraphBuilder], list[Later]]
"""Adds operators to the graph of the classifier; returns graphs that they run, which are numbers 1, 2, …"""


def build_classifier(
    folder: Path, version: str = "1.0.0", extra: Extra | None = None, *, wrong: bool = False
) -> Path:
    """Writes a bundle named ``small`` into the new folder and returns it.

    Args:
        folder: where.
        version: of the bundle.
        extra: what stands beside the classifier in its graph.
        wrong: the second golden sentence expects another label.
    """
    folder.mkdir(parents=True)
    _write_model(folder / "model.tflite", extra)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    golden = [_golden(text) for text in SENTENCES]
    if wrong:
        golden[1]["label"] = next(label for label in LABELS if label != golden[1]["label"])
    (folder / "golden.jsonl").write_text("".join(json.dumps(line) + "\n" for line in golden))
    manifest = tiny_manifest("small", version, max_tokens=MAX_TOKENS, classify=True)
    manifest["variants"][0]["features"] = ["float32"]
    write_bundle(folder, manifest)
    return folder


def loops(times: int = _ENDLESS) -> Extra:
    """A loop that counts so many turns at each answer; by default it outlasts every proof."""

    def add(file: FileBuilder, graph: GraphBuilder) -> list[Later]:
        begin = graph.constant("begin", np.zeros(1, np.int32))
        graph.operator(_OP.WHILE, [begin], graph.tensor("end", [1], np.int32), options=_while())
        body = file.graph()
        before = body.tensor("before", [1], np.int32)
        one = body.constant("one", np.ones(1, np.int32))
        after = body.tensor("after", [1], np.int32)
        body.operator(_OP.ADD, [before, one], after, options=schema.AddOptionsT())
        return [_is_below(file, times), ("body", body, [before], [after])]

    return add


def calls_itself(file: FileBuilder, graph: GraphBuilder) -> list[Later]:
    """A loop whose body runs that very loop: the interpreter prepares it until the stack is full."""
    begin = graph.constant("begin", np.zeros(1, np.int32))
    graph.operator(_OP.WHILE, [begin], graph.tensor("end", [1], np.int32), options=_while())
    body = file.graph()
    before, after = (body.tensor(name, [1], np.int32) for name in ("before", "after"))
    body.operator(_OP.WHILE, [before], after, options=_while())
    return [_is_below(file, 5), ("body", body, [before], [after])]


def splits_into_none(file: FileBuilder, graph: GraphBuilder) -> list[Later]:
    """A tensor split into no parts, which the interpreter does not look for before it divides and reads."""
    options = schema.SplitOptionsT()
    options.numSplits = 0
    axis = graph.constant("axis", np.asarray(0, np.int32))
    whole = graph.constant("whole", np.ones((4, 4), np.float32))
    graph.operator(_OP.SPLIT, [axis, whole], graph.tensor("part", [4, 4]), options=options)
    return []


def takes(megabytes: int) -> Extra:
    """A tensor of so many megabytes that every answer fills."""

    def add(file: FileBuilder, graph: GraphBuilder) -> list[Later]:
        count = megabytes * 250_000
        size = graph.constant("size", np.asarray([count], np.int32))
        value = graph.constant("value", np.asarray(1.0, np.float32))
        filled = graph.tensor("filled", [count])
        graph.operator(_OP.FILL, [size, value], filled, options=schema.FillOptionsT())
        return []

    return add


def _while() -> Any:
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    return options


def _is_below(file: FileBuilder, limit: int) -> Later:
    """A graph that says whether a number is below a limit."""
    graph = file.graph()
    number = graph.tensor("number", [1], np.int32)
    is_below = graph.tensor("is_below", [1], np.int32)
    graph.tensors[is_below].type = schema.TensorType.BOOL
    constant = graph.constant("limit", np.asarray([limit], np.int32))
    graph.operator(_OP.LESS, [number, constant], is_below, options=schema.LessOptionsT())
    return ("condition", graph, [number], [is_below])


def _write_model(path: Path, extra: Extra | None) -> None:
    file = FileBuilder("mean of words")
    graph = file.graph()
    ids = graph.tensor("token_ids", [1, -1], np.int32)
    shape = graph.constant("flat_shape", np.asarray([-1], np.int32))
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = [-1]
    flat = graph.operator(_OP.RESHAPE, [ids, shape], graph.tensor("flat", [-1], np.int32), options=reshape)
    words = graph.constant("words", word_vectors())
    found = graph.operator(_OP.EMBEDDING_LOOKUP, [flat, words], graph.tensor("found", [-1, HIDDEN]))
    mean = schema.ReducerOptionsT()
    mean.keepDims = True
    axes = graph.constant("axes", np.asarray([0], np.int32))
    pooled = graph.operator(_OP.MEAN, [found, axes], graph.tensor("pooled", [1, HIDDEN]), options=mean)
    head = [graph.constant("weight", _head()), graph.constant("bias", np.zeros(len(LABELS), np.float32))]
    logits = graph.tensor("label_logits", [1, len(LABELS)])
    graph.operator(_OP.FULLY_CONNECTED, [pooled, *head], logits, options=schema.FullyConnectedOptionsT())
    later = extra(file, graph) if extra else []
    file.add("serve", graph, [ids], [logits])
    for each in later:
        file.add(*each)
    file.write(path)


def _head() -> Any:
    return (np.random.default_rng(5).standard_normal((len(LABELS), HIDDEN)) * 4).astype(np.float32)


def _golden(text: str) -> dict[str, Any]:
    ids = TOKENIZER.encode(text).ids
    logits = _head() @ word_vectors()[list(ids)].mean(axis=0)
    decision = decide(logits, LABELS, CALIBRATION, out_of_scope="out_of_scope")
    return {
        "text": text,
        "lang": "en",
        "token_ids": list(ids),
        "label_logits": [round(float(logit), 5) for logit in logits],
        "label": decision.best,
        "recognized": decision.recognized,
        "slots": [],
    }
