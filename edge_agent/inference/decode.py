"""Logits → a decision: calibrated probabilities, the answer or none, slots with their place in the text.

Pure: NumPy arrays and values in, values out. A word's slot tag is the tag of its first piece (Devlin et al.
2019, §5.3); tags are BIO, and an ``I-`` that continues nothing begins a slot of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite
from unicodedata import combining

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import RuntimeFailure
from edge_agent.inference.manifest import Calibration
from edge_agent.inference.tokenizer import Encoding
from edge_agent.types import Ranked, Slot


@dataclass(frozen=True, slots=True)
class Decision:
    """What the label logits say.

    Attributes:
        best: the most probable label, recognized or not.
        confidence: its calibrated probability.
        recognized: it passes threshold and margin and is not the out-of-scope class.
        alternatives: at most ``top_k`` further labels, best first, without the answer; when nothing is
            recognized there is no answer, and ``best`` leads them.
    """

    best: str
    confidence: float
    recognized: bool
    alternatives: tuple[Ranked, ...]


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities along the last axis of ``logits / temperature``, float64, each row summing to 1."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=-1, keepdims=True)
    return scaled


def decide(
    logits: NDArray[np.float32],
    labels: Sequence[str],
    calibration: Calibration,
    *,
    out_of_scope: str | None,
    top_k: int = 3,
) -> Decision:
    """The decision on one text.

    Args:
        logits: label logits, [labels].
        labels: their names; a single one is certain.
        calibration: temperature, threshold and margin.
        out_of_scope: the label that means "none of these", or None.
        top_k: most alternatives.

    Raises:
        RuntimeFailure: a logit is not finite.
    """
    # The softmax of a few dozen numbers is faster without NumPy, and most of its terms only count in the sum.
    values: list[float] = logits.tolist()
    _refuse_unless_finite(sum(values))
    order = sorted(range(len(values)), key=values.__getitem__, reverse=True)
    best = order[0]
    highest, sharpness = values[best], 1.0 / calibration.temperature
    total = sum([exp((value - highest) * sharpness) for value in values])
    confidence = 1.0 / total
    ahead = confidence
    if len(order) > 1:
        ahead -= exp((values[order[1]] - highest) * sharpness) / total
    recognized = (
        confidence >= calibration.threshold and ahead >= calibration.margin and labels[best] != out_of_scope
    )
    first = 1 if recognized else 0
    further = order[first : first + max(top_k, 0)]
    alternatives = tuple(
        [Ranked(labels[index], exp((values[index] - highest) * sharpness) / total) for index in further]
    )
    return Decision(labels[best], confidence, recognized, alternatives)


@dataclass(slots=True)
class _Run:
    """The words of one slot, while they are read.

    Attributes:
        name: of the slot.
        start: of its first word.
        end: of its last word so far.
        limit: where the next word begins; combining marks before it belong to the slot.
        firsts: the first token of each of its words.
    """

    name: str
    start: int
    end: int
    limit: int
    firsts: list[int]


def decode_slots(
    text: str, encoding: Encoding, logits: NDArray[np.float32], slot_tags: Sequence[str]
) -> tuple[Slot, ...]:
    """Slots in the order of the text.

    Args:
        text: the text that was tokenized.
        encoding: its tokens; the first and the last are [CLS] and [SEP].
        logits: [tokens, tags].
        slot_tags: names of the tags, "O" first, then ``B-<slot>`` and ``I-<slot>``.

    Raises:
        RuntimeFailure: a logit is not finite.
    """
    # As in `decide`: the runtime has just swept the caches, and each NumPy call comes from memory.
    rows: list[list[float]] = logits.tolist()
    _refuse_unless_finite(sum(map(sum, rows)))
    best = [row.index(max(row)) for row in rows]
    runs = _runs(encoding, best, slot_tags, len(text))
    return tuple([_slot(text, run, [_certainty(rows[index]) for index in run.firsts]) for run in runs])


def _refuse_unless_finite(total: float) -> None:
    """A sum is finite only if every term is."""
    if not isfinite(total):
        raise RuntimeFailure("the model computed logits that are not numbers")


def _certainty(row: list[float]) -> float:
    """The probability of the best of these logits."""
    highest = max(row)
    return 1.0 / sum([exp(value - highest) for value in row])


def _runs(encoding: Encoding, best: list[int], slot_tags: Sequence[str], length: int) -> list[_Run]:
    runs: list[_Run] = []
    current: _Run | None = None
    number = -1
    for index in range(1, len(encoding.ids) - 1):
        start, end = encoding.spans[index]
        if encoding.words[index] == number:
            if current is not None:
                current.end = max(current.end, end)
            continue
        number = encoding.words[index]
        if current is not None:
            current.limit = start
        tag = slot_tags[best[index]]
        if tag == "O":
            current = None
        elif tag[0] == "I" and current is not None and current.name == tag[2:]:
            current.end, current.limit = end, length
            current.firsts.append(index)
        else:
            current = _Run(tag[2:], start, end, length, [index])
            runs.append(current)
    return runs


def _slot(text: str, run: _Run, probabilities: list[float]) -> Slot:
    end = _whole_character(text, run.end, run.limit)
    return Slot(run.name, text[run.start : end], run.start, end, sum(probabilities) / len(probabilities))


def _whole_character(text: str, end: int, limit: int) -> int:
    """``end``, moved past combining marks, which the tokenizer drops, so that no accent is cut off."""
    while end < limit and combining(text[end]):
        end += 1
    return end
