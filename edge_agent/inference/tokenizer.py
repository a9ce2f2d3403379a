"""WordPiece, the tokenizer of BERT: text → token ids, with the place of each in the original text.

Pure: no file, no clock. The ids and spans are those of the Hugging Face ``tokenizers`` library
(``BertNormalizer``, ``BertPreTokenizer``, ``WordPiece``; Apache-2.0), which is the oracle in the tests;
the algorithm is that of Wu et al. 2016 (arXiv:1609.08144) as BERT's reference code has it. Two things
differ on purpose: special tokens written out in a text (``[SEP]``) are plain text, never control tokens, and
lone surrogates, which that library cannot take, vanish like other control characters.

Spans are code-point offsets into the text as it was given, whatever normalising did to it in between.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol
from unicodedata import combining, normalize

from edge_agent.inference.unicode_tables import (
    IDEOGRAPHS,
    LATE_LOWER,
    MARKS,
    PUNCTUATION,
    REMOVED,
    UNDECOMPOSED,
    contains,
)

_CHUNK: Final = re.compile(r"[^\t\n\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_PLAIN: Final = re.compile(r"[!-~]+")
_PLAIN_WORD: Final = re.compile(r"[0-9A-Za-z]+|[!-/:-@\[-`{-~]")

_CACHED_CHUNKS: Final = 8192
_LONGEST_CACHED_CHUNK: Final = 32


@dataclass(frozen=True, slots=True)
class Encoding:
    """A tokenized text. The three sequences have one item a token; WordPiece has [CLS] first and [SEP] last.

    Attributes:
        ids: vocabulary ids.
        spans: start and end (exclusive) in code points of the original text; (0, 0) for tokens of the
            tokenizer's own.
        words: running number of the word (between white space and punctuation) that the token is a
            piece of; -1 for tokens of the tokenizer's own.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    words: tuple[int, ...]


class Tokenizer(Protocol):
    """What a model needs of a tokenizer.

    ``head`` and ``tail`` count the tokens of its own, such as [CLS] and [SEP], that it puts before and after
    those of a text; ``pad_id`` pads a fixed length; ids are smaller than ``vocabulary_size``.
    """

    @property
    def head(self) -> int: ...  # noqa: D102
    @property
    def tail(self) -> int: ...  # noqa: D102
    @property
    def pad_id(self) -> int: ...  # noqa: D102
    @property
    def vocabulary_size(self) -> int: ...  # noqa: D102

    def encode(self, text: str) -> Encoding:
        """Tokenize a text, whole, whatever its length."""


class _Pieces(NamedTuple):
    """A tokenized stretch without white space; spans and words count from its own start."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    words: tuple[int, ...]
    word_count: int


class _Word(NamedTuple):
    """A normalised word and, for each of its characters, the offset of the character it came from."""

    text: str
    sources: Sequence[int]


class WordPiece:
    """Greedy longest-match-first WordPiece over a fixed vocabulary.

    Safe to share between threads. Remembers the pieces of a bounded number of short words.

    Args:
        vocabulary: the tokens in the order of their ids, with ``[PAD]``, ``[UNK]``, ``[CLS]`` and ``[SEP]``
            somewhere among them; a token that continues a word starts with ``##``.
        lowercase: fold case first (character by character; no locale, no final sigma).
        strip_accents: decompose (NFD) and drop non-spacing marks first.
        max_word_characters: a normalised word with more characters is one ``[UNK]``.

    Raises:
        ValueError: a special token is missing, or a token occurs twice.
    """

    head = 1
    tail = 1

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        lowercase: bool = True,
        strip_accents: bool = True,
        max_word_characters: int = 100,
    ) -> None:
        self._ids = {token: number for number, token in enumerate(vocabulary)}
        if len(self._ids) != len(vocabulary):
            raise ValueError("a token occurs twice in the vocabulary")
        self.pad_id = self._special("[PAD]")
        self.unk_id = self._special("[UNK]")
        self.cls_id = self._special("[CLS]")
        self.sep_id = self._special("[SEP]")
        self.vocabulary_size = len(vocabulary)
        self._longest_piece = max(len(token) for token in vocabulary)
        self._lowercase = lowercase
        self._strip_accents = strip_accents
        self._max_word_characters = max_word_characters
        self._cache: dict[str, _Pieces] = {}

    def encode(self, text: str) -> Encoding:
        """Tokenize ``text``, whole, whatever its length; text without a word gives [CLS] [SEP] alone."""
        ids = [self.cls_id]
        spans = [(0, 0)]
        words = [-1]
        word_count = 0
        for match in _CHUNK.finditer(text):
            chunk = match.group()
            pieces = self._cache.get(chunk) or self._pieces(chunk)
            at = match.start()
            if len(pieces.ids) == 1:  # most words are one token
                ids.append(pieces.ids[0])
                start, end = pieces.spans[0]
                spans.append((at + start, at + end))
                words.append(word_count)
            else:
                ids += pieces.ids
                spans += [(at + start, at + end) for start, end in pieces.spans]
                words += [word_count + word for word in pieces.words]
            word_count += pieces.word_count
        ids.append(self.sep_id)
        spans.append((0, 0))
        words.append(-1)
        return Encoding(tuple(ids), tuple(spans), tuple(words))

    def _special(self, token: str) -> int:
        try:
            return self._ids[token]
        except KeyError:
            raise ValueError(f"the vocabulary has no {token}") from None

    def _pieces(self, chunk: str) -> _Pieces:
        """Tokenize a stretch without white space and remember it when it is short."""
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        numbers: list[int] = []
        words = self._plain_words(chunk) if _PLAIN.fullmatch(chunk) else self._words(chunk)
        for number, word in enumerate(words):
            for token, start, end in self._match(word.text):
                ids.append(token)
                spans.append((word.sources[start], word.sources[end - 1] + 1))
                numbers.append(number)
        pieces = _Pieces(tuple(ids), tuple(spans), tuple(numbers), len(words))
        if len(chunk) <= _LONGEST_CACHED_CHUNK:
            if len(self._cache) >= _CACHED_CHUNKS:
                self._cache.clear()
            self._cache[chunk] = pieces
        return pieces

    def _plain_words(self, chunk: str) -> list[_Word]:
        """The words of printable ASCII, where every character stays where it is."""
        folded = chunk.lower() if self._lowercase else chunk
        return [_Word(match.group(), range(*match.span())) for match in _PLAIN_WORD.finditer(folded)]

    def _words(self, chunk: str) -> list[_Word]:
        """The normalised words of any stretch without white space."""
        words: list[_Word] = []
        for characters, sources in self._stretches(chunk):
            text: list[str] = []
            places: list[int] = []
            for character, source in zip(characters, sources, strict=True):
                if self._strip_accents and contains(MARKS, character):
                    continue
                if contains(PUNCTUATION, character):
                    words += [_Word("".join(text), places), _Word(character, [source])]
                    text, places = [], []
                else:
                    folded = _lower(character) if self._lowercase else character
                    text += folded
                    places += [source] * len(folded)
            words.append(_Word("".join(text), places))
        return [word for word in words if word.text]

    def _stretches(self, chunk: str) -> list[tuple[list[str], list[int]]]:
        """Cleaned, decomposed characters with their sources, an ideograph in a stretch of its own."""
        stretches: list[tuple[list[str], list[int]]] = [([], [])]
        for source, character in enumerate(chunk):
            if contains(REMOVED, character):
                continue
            alone = contains(IDEOGRAPHS, character)
            if alone:
                stretches.append(([], []))
            decompose = self._strip_accents and character not in UNDECOMPOSED
            characters = normalize("NFD", character) if decompose else character
            stretches[-1][0].extend(characters)
            stretches[-1][1].extend([source] * len(characters))
            if alone:
                stretches.append(([], []))
        if self._strip_accents:
            return [_in_canonical_order(*stretch) for stretch in stretches]
        return stretches

    def _match(self, word: str) -> list[tuple[int, int, int]]:
        """Pieces of a normalised word as (id, start, end); one [UNK] when they do not cover it."""
        unknown = [(self.unk_id, 0, len(word))]
        if len(word) > self._max_word_characters:
            return unknown
        pieces: list[tuple[int, int, int]] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(min(len(word), start + self._longest_piece), start, -1):
                token = self._ids.get(prefix + word[start:end])
                if token is not None:
                    break
            else:
                return unknown
            pieces.append((token, start, end))
            start = end
        return pieces


def _lower(character: str) -> str:
    return LATE_LOWER.get(character) or character.lower()


def _in_canonical_order(characters: list[str], sources: list[int]) -> tuple[list[str], list[int]]:
    """Sort each run of combining characters by its class (Unicode §3.11); the sources keep ascending.

    As in the oracle, a character that decomposing added stands where the one before it stands, and all
    others take the original places one after the other.
    """
    classes = [combining(character) for character in characters]
    order: list[int] = []
    run: list[int] = []
    for index, mark in enumerate(classes):
        if not mark:
            order += sorted(run, key=classes.__getitem__)
            run = []
            order.append(index)
        else:
            run.append(index)
    order += sorted(run, key=classes.__getitem__)
    places = iter(dict.fromkeys(sources))
    ordered: list[int] = []
    for index in order:
        added = index > 0 and sources[index] == sources[index - 1]
        ordered.append(ordered[-1] if added else next(places))
    return [characters[index] for index in order], ordered
