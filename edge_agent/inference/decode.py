"""Logits → a decision: calibrated probabilities, the answer or none, slots with their place in the text.

Pure: NumPy arrays and values in, values out. A word's slot tag is the tag of its first piece (Devlin et al.
2019, §5.3); tags are BIO, and an ``I-`` that continues nothing begins a slot of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from unicodedata import combining

import numpy as np
from numpy.typing import NDArray

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
        logits: label logits, [labels], finite.
        labels: their names.
        calibration: temperature, threshold and margin.
        out_of_scope: the label that means "none of these", or None.
        top_k: most alternatives.
    """
    probabilities: list[float] = softmax(logits, calibration.temperature).tolist()
    order = sorted(range(len(labels)), key=probabilities.__getitem__, reverse=True)
    best = order[0]
    confidence = probabilities[best]
    ahead = confidence - probabilities[order[1]]
    recognized = (
        confidence >= calibration.threshold and ahead >= calibration.margin and labels[best] != out_of_scope
    )
    first = 1 if recognized else 0
    further = order[first : first + max(top_k, 0)]
    alternatives = tuple(Ranked(labels[index], probabilities[index]) for index in further)
    return Decision(labels[best], confidence, recognized, alternatives)


class _TaggedWord(NamedTuple):
    """A word with the span of all its pieces and the tag of its first."""

    start: int
    end: int
    tag: str
    probability: float


def decode_slots(
    text: str, encoding: Encoding, logits: NDArray[np.float32], slot_tags: Sequence[str]
) -> tuple[Slot, ...]:
    """Slots in the order of the text.

    Args:
        text: the text that was tokenized.
        encoding: its tokens; the first and the last are [CLS] and [SEP].
        logits: [tokens, tags].
        slot_tags: names of the tags, "O" first, then ``B-<slot>`` and ``I-<slot>``.
    """
    if not logits.argmax(axis=1).any():
        return ()
    probabilities = softmax(logits)
    best: list[int] = probabilities.argmax(axis=1).tolist()
    runs: list[tuple[str, list[_TaggedWord]]] = []
    previous = "O"
    for word in _words(text, encoding, best, probabilities, slot_tags):
        name = word.tag[2:]
        if word.tag[0] == "I" and previous[2:] == name:
            runs[-1][1].append(word)
        elif word.tag != "O":
            runs.append((name, [word]))
        previous = word.tag
    return tuple(_slot(text, name, words) for name, words in runs)


def _words(
    text: str,
    encoding: Encoding,
    best: list[int],
    probabilities: NDArray[np.float64],
    slot_tags: Sequence[str],
) -> list[_TaggedWord]:
    """The words with their tags, each with the combining marks that follow it and belong to no other."""
    words: list[_TaggedWord] = []
    number = -1
    for index in range(1, len(encoding.ids) - 1):
        start, end = encoding.spans[index]
        if encoding.words[index] != number:
            number = encoding.words[index]
            tag = best[index]
            words.append(_TaggedWord(start, end, slot_tags[tag], float(probabilities[index, tag])))
        else:
            words[-1] = words[-1]._replace(end=max(end, words[-1].end))
    limits = [*(word.start for word in words[1:]), len(text)]
    return [
        word._replace(end=_whole_character(text, word.end, limit))
        for word, limit in zip(words, limits, strict=False)
    ]


def _slot(text: str, name: str, words: list[_TaggedWord]) -> Slot:
    start, end = words[0].start, words[-1].end
    confidence = sum(word.probability for word in words) / len(words)
    return Slot(name, text[start:end], start, end, confidence)


def _whole_character(text: str, end: int, limit: int) -> int:
    """``end``, moved past combining marks, which the tokenizer drops, so that no accent is cut off."""
    while end < limit and combining(text[end]):
        end += 1
    return end
