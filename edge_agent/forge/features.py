"""Labelled sentences → what the encoder reads: token ids, a label index and a tag for each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.forge.data.examples import Example
from edge_agent.inference.tokenizer import WordPiece

IGNORED = -100
"""Tag of tokens that teach nothing: later pieces of a word, special tokens, sentences without spans."""


@dataclass(frozen=True, slots=True)
class Features:
    """One sentence as the encoder reads it; ``tags`` has one entry a token."""

    token_ids: tuple[int, ...]
    label: int
    tags: tuple[int, ...]


class Featurizer:
    """Turns examples into features.

    Args:
        tokenizer: the student's.
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
        ids = encoding.ids
        if len(ids) > self._max_tokens:
            ids = (*ids[: self._max_tokens - 1], ids[-1])
            tags = [*tags[: self._max_tokens - 1], IGNORED]
        return Features(ids, self._labels[example.label], tuple(tags))

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
