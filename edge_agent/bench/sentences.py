"""Sentences of one length, made of a bundle's own golden sentences. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.inference.tokenizer import Tokenizer

MOST_SENTENCES = 32


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text and its token ids, [CLS] and [SEP] included."""

    text: str
    ids: tuple[int, ...]


def sentences_of_length(
    tokenizer: Tokenizer, texts: Sequence[str], tokens: int, most: int = MOST_SENTENCES
) -> tuple[Sentence, ...]:
    """Different sentences of exactly ``tokens`` tokens, those that have them by themselves first.

    The others are texts near that length, their last words left off or words of other texts added.

    Returns:
        At most ``most``; none where the texts do not allow it.
    """
    encoded = [(text, tokenizer.encode(text).ids) for text in texts]
    encoded.sort(key=lambda item: abs(len(item[1]) - tokens))
    words = [word for text, _ in encoded for word in text.split()]
    found: dict[str, Sentence] = {}
    for start, (text, _) in enumerate(encoded):
        made = _fitted(tokenizer, text.split(), words[start:] + words[:start], tokens)
        if made is not None:
            found.setdefault(made.text, made)
        if len(found) == most:
            break
    return tuple(found.values())


def _fitted(tokenizer: Tokenizer, own: list[str], others: list[str], tokens: int) -> Sentence | None:
    """The longest beginning of ``own`` that fits, filled up with those of ``others`` that do."""
    kept: list[str] = []
    ids: tuple[int, ...] = ()
    for word in (*own, *others):
        trial = tokenizer.encode(" ".join((*kept, word))).ids
        if len(trial) <= tokens:
            kept.append(word)
            ids = trial
        if len(ids) == tokens:
            return Sentence(" ".join(kept), ids)
    return None


def ids_of_length(sentences: Sequence[Sequence[int]], tokens: int) -> tuple[int, ...]:
    """Token ids of any length: [CLS], the inner tokens of the sentences over and over, [SEP]."""
    inner = [token for ids in sentences for token in ids[1:-1]]
    first, last = sentences[0][0], sentences[0][-1]
    repeated = inner * (tokens // len(inner) + 1)
    return (first, *repeated[: tokens - 2], last)
