"""Cutting an encoder's vocabulary to what a model's languages need, and widening it by whole words.

Kept: the special tokens, every single character, and every piece that occurs in the texts. Added: the
words of a lexicon (another language → the encoder's own) and frequent words that the encoder would cut
to pieces. An added word starts with the embedding of its translation, else with the mean of its pieces
(Sachidananda et al. 2021, "Efficient domain adaptation of language models via adaptive tokenization"),
so that an encoder that knows only English reads "cocina" as it reads "kitchen".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.errors import DataError
from edge_agent.forge.data.examples import read_text
from edge_agent.forge.data.home_assistant import fold
from edge_agent.forge.encoders.weights import FloatArray
from edge_agent.inference.tokenizer import WordPiece

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ADD_FROM_COUNT = 2
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A student's tokens and the embeddings that they start with.

    Attributes:
        tokens: WordPiece tokens in the order of their ids.
        rows: initial embeddings, float32 [tokens, hidden].
        added: how many tokens the original encoder did not have.
    """

    tokens: tuple[str, ...]
    rows: FloatArray
    added: int


def read_lexicon(path: Path) -> dict[str, str]:
    """A tab-separated file, word and translation a line, keyed by the folded word.

    Raises:
        DataError: a line without exactly two columns that say something; names it.
    """
    lexicon: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != 2 or not all(column.strip() for column in columns):
            raise DataError(f"{path}, line {number}: expected a word, a tab and its translation")
        lexicon.setdefault(fold(columns[0].strip()), columns[1].strip())
    return lexicon


def choose_vocabulary(
    base_tokens: Sequence[str],
    base_rows: FloatArray,
    own_texts: Iterable[str],
    other_texts: Iterable[str],
    lexicon: Mapping[str, str],
    *,
    largest: int,
    unseen_words: bool = True,
    keep_commonest: int = 0,
) -> Vocabulary:
    """Chooses the tokens of a student.

    Args:
        base_tokens: the encoder's vocabulary.
        base_rows: its embeddings, [tokens, hidden].
        own_texts: texts in the language that the encoder knows.
        other_texts: texts in the other languages.
        lexicon: folded word of another language → translation.
        largest: no more tokens than this; the rarest pieces go first.
        unseen_words: whether words of the lexicon that no text has become tokens, too.
        keep_commonest: the first so many of the encoder's tokens are kept even where no text has them, as
            far as there is room; BERT's vocabularies begin with the commonest.
    """
    tokenizer = WordPiece(base_tokens)
    own_words = _count_words(own_texts)
    other_words = _count_words(other_texts)
    known = [word for word in lexicon if unseen_words or word in other_words]
    foreign = [word for word, count in other_words.items() if count >= _ADD_FROM_COUNT]
    added = [word for word in dict.fromkeys([*known, *foreign]) if _is_cut(word, tokenizer)]
    whole = set(added)
    cut = Counter({word: count for word, count in other_words.items() if word not in whole})
    pieces = _count_pieces(tokenizer, own_words) + _count_pieces(tokenizer, cut)
    required = [
        token for token in base_tokens if token in SPECIAL_TOKENS or len(token.removeprefix("##")) == 1
    ]
    room = max(0, largest - len(required) - len(added))
    ranked = dict.fromkeys(base_tokens[index] for index, _ in pieces.most_common())
    ranked |= dict.fromkeys(base_tokens[:keep_commonest])
    kept = dict.fromkeys([*required, *[token for token in ranked if token not in set(required)][:room]])
    position = {token: index for index, token in enumerate(base_tokens)}
    rows = [
        _translated(token, lexicon, tokenizer, base_rows)
        if token in lexicon and token not in own_words
        else base_rows[position[token]]
        for token in kept
    ]
    rows += [_initial_row(word, lexicon, tokenizer, base_rows) for word in added]
    return Vocabulary((*kept, *added), np.stack(rows).astype(np.float32), len(added))


def _is_cut(word: str, tokenizer: WordPiece) -> bool:
    """Whether the encoder reads a word as several pieces that it knows."""
    ids = tokenizer.encode(word).ids
    return " " not in word and len(ids) > 3 and tokenizer.unk_id not in ids


def _count_words(texts: Iterable[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_WORD.findall(fold(text)))
    return counts


def _count_pieces(tokenizer: WordPiece, words: Counter[str]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for word, count in words.items():
        for index in tokenizer.encode(word).ids[1:-1]:
            counts[index] += count
    return counts


def _initial_row(
    word: str, lexicon: Mapping[str, str], tokenizer: WordPiece, base_rows: FloatArray
) -> FloatArray:
    if word in lexicon:
        return _translated(word, lexicon, tokenizer, base_rows)
    return _mean_of_pieces(word, tokenizer, base_rows)


def _translated(
    word: str, lexicon: Mapping[str, str], tokenizer: WordPiece, base_rows: FloatArray
) -> FloatArray:
    return _mean_of_pieces(lexicon[word], tokenizer, base_rows)


def _mean_of_pieces(text: str, tokenizer: WordPiece, base_rows: FloatArray) -> FloatArray:
    ids = list(tokenizer.encode(text).ids[1:-1])
    mean: FloatArray = base_rows[ids].mean(axis=0).astype(np.float32)
    return mean
