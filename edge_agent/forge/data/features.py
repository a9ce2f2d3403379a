"""Labelled sentences → what the encoder reads: token ids, a label, a tag for each word, soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.forge.data.examples import UNLABELLED, Example
from edge_agent.inference.tokenizer import WordPiece

IGNORED = -100
"""What teaches nothing: the tag of later pieces of a word, of special tokens and of sentences without spans;
the label of a sentence without one."""


@dataclass(frozen=True, slots=True)
class Features:
    """One sentence as the encoder reads it.

    Attributes:
        token_ids: with [CLS] and [SEP].
        label: index of the label, or IGNORED.
        tags: one entry a token: index of its tag, or IGNORED.
        weight: of this sentence's loss.
        probabilities: soft labels in the order of the labels, summing to 1; None: only ``label`` is known.
        teacher_ids: token ids of the sentence that the teacher reads instead; None: it reads the same.
    """

    token_ids: tuple[int, ...]
    label: int
    tags: tuple[int, ...]
    weight: float = 1.0
    probabilities: tuple[float, ...] | None = None
    teacher_ids: tuple[int, ...] | None = None


class Featurizer:
    """Turns examples into features.

    Args:
        tokenizer: the model's.
        labels: in the order of the label head.
        slot_tags: ``O``, ``B-area``, ``I-area`` … in the order of the slot head.
        max_tokens: longer sentences are cut, [SEP] kept.
    """

    def __init__(
        self, tokenizer: WordPiece, labels: Sequence[str], slot_tags: Sequence[str], max_tokens: int
    ) -> None:
        self._tokenizer = tokenizer
        self._labels = {label: index for index, label in enumerate(labels)}
        self._tags = {tag: index for index, tag in enumerate(slot_tags)}
        self._max_tokens = max_tokens

    def __call__(self, example: Example) -> Features:
        """The features of one example."""
        encoding = self._tokenizer.encode(example.text)
        tags = self._tag_words(example, encoding.spans, encoding.words)
        if len(tags) > self._max_tokens:
            tags = [*tags[: self._max_tokens - 1], IGNORED]
        teacher_text = example.teacher_text
        return Features(
            token_ids=self._cut(encoding.ids),
            label=IGNORED if example.label == UNLABELLED else self._labels[example.label],
            tags=tuple(tags),
            weight=example.weight,
            probabilities=self._soft(example),
            teacher_ids=None if teacher_text is None else self._cut(self._tokenizer.encode(teacher_text).ids),
        )

    def _cut(self, ids: Sequence[int]) -> tuple[int, ...]:
        if len(ids) <= self._max_tokens:
            return tuple(ids)
        return (*ids[: self._max_tokens - 1], ids[-1])

    def _soft(self, example: Example) -> tuple[float, ...] | None:
        if example.probabilities is None:
            return None
        total = sum(share for _, share in example.probabilities)
        shares = [0.0] * len(self._labels)
        for label, share in example.probabilities:
            shares[self._labels[label]] += share / total
        return tuple(shares)

    def _tag_words(
        self, example: Example, spans: Sequence[tuple[int, int]], words: Sequence[int]
    ) -> list[int]:
        """B- for the first word that begins inside a slot, I- for its others; later pieces get none."""
        tags = [IGNORED] * len(words)
        if example.spans is None or not self._tags:
            return tags
        begun: set[int] = set()
        for index, word in enumerate(words):
            if word < 0 or word == words[index - 1]:
                continue
            start = spans[index][0]
            number = next((n for n, s in enumerate(example.spans) if s.start <= start < s.end), None)
            if number is None:
                tags[index] = self._tags["O"]
                continue
            prefix = "I-" if number in begun else "B-"
            begun.add(number)
            tags[index] = self._tags[prefix + example.spans[number].name]
        return tags
