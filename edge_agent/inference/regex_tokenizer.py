"""Words between delimiters: the tokenizer of average-word-vector models. Pure.

As TFLite's Task Library has it (``RegexTokenizer`` of tensorflow/tflite-support): the text is split at a
regular expression, each piece is looked up whole, an unknown one becomes ``<UNKNOWN>``, and ``<START>``
stands first where the vocabulary has it. Two things are as the models were trained
(``AverageWordVecModelSpec`` of Model Maker) and not as that library does them: letters are folded where the
settings say so, and classes such as ``\\w`` know all of Unicode.

A pattern out of a foreign file may take exponential time, so only those are taken that cannot: one character
class, perhaps repeated, which is what Model Maker writes (``[^\\w\\']+``).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Final

from edge_agent.inference.tokenizer import Encoding

PAD: Final = "<PAD>"
START: Final = "<START>"
UNKNOWN: Final = "<UNKNOWN>"

_LONGEST_PATTERN: Final = 200
_MOST_IDS: Final = 1 << 31
_ESCAPE: Final = r"\\[wWsSdDtnrfv]|\\[^0-9A-Za-z\s]"
_CLASS: Final = rf"\[\^?(?:{_ESCAPE}|[^\\\[\]])+\]|{_ESCAPE}|[^\\\[\](){{}}*+?|.^$]"
_DELIMITER: Final = re.compile(rf"(?:{_CLASS})\+?", re.DOTALL)


class RegexTokenizer:
    """Splits at delimiters and looks words up. Safe to share between threads.

    Args:
        vocabulary: words with their ids; ``<PAD>`` and ``<UNKNOWN>`` among them, ``<START>`` perhaps.
        pattern: of the delimiters, one character class, perhaps with ``+``.
        lowercase: fold case before a word is looked up.

    Attributes:
        head: tokens before those of the text: 1 where there is a ``<START>``.
        tail: tokens after them: none.
        pad_id: what a fixed length is padded with.
        vocabulary_size: one more than the largest id.

    Raises:
        ValueError: a special word is missing, or the pattern is not one that is taken.
    """

    tail = 0

    def __init__(self, vocabulary: Mapping[str, int], *, pattern: str, lowercase: bool) -> None:
        for special in (PAD, UNKNOWN):
            if special not in vocabulary:
                raise ValueError(f"the vocabulary has no {special}")
        self._ids = vocabulary
        self._delimiter = compile_delimiter(pattern)
        self._lowercase = lowercase
        self._unknown = vocabulary[UNKNOWN]
        start = vocabulary.get(START)
        self._first = () if start is None else (start,)
        self.head = len(self._first)
        self.pad_id = vocabulary[PAD]
        self.vocabulary_size = max(vocabulary.values()) + 1

    def encode(self, text: str) -> Encoding:
        """Tokenize ``text``, whole, whatever its length; each word is one token."""
        spans: list[tuple[int, int]] = []
        begin = 0
        for match in self._delimiter.finditer(text):
            if match.start() > begin:
                spans.append((begin, match.start()))
            begin = match.end()
        if begin < len(text):
            spans.append((begin, len(text)))
        words = text.lower() if self._lowercase else text
        if len(words) != len(text):  # a letter whose small form is two: the places count, so fold each word
            found = [text[start:end].lower() for start, end in spans]
        else:
            found = [words[start:end] for start, end in spans]
        ids = [self._ids.get(word, self._unknown) for word in found]
        return Encoding(
            (*self._first, *ids),
            (*[(0, 0)] * self.head, *spans),
            (*[-1] * self.head, *range(len(spans))),
        )


def compile_delimiter(pattern: str) -> re.Pattern[str]:
    """A delimiter's pattern, if it is of the kind that takes linear time.

    Raises:
        ValueError: it is not one character class, perhaps repeated by ``+``, or too long.
    """
    if len(pattern) > _LONGEST_PATTERN:
        raise ValueError(f"the delimiter's pattern is longer than {_LONGEST_PATTERN} characters")
    if not _DELIMITER.fullmatch(pattern):
        raise ValueError("the delimiter's pattern is not a single character class, such as [^\\w']+")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what may mean something else in a later Python
            return re.compile(pattern)
    except (re.error, Warning) as error:
        raise ValueError("the delimiter's pattern is not a regular expression") from error


def parse_word_index(content: bytes) -> dict[str, int]:
    """The words of a vocabulary with a word and its id, separated by a space, on each line.

    Raises:
        ValueError: it is not UTF-8, or a line is not of the form, or a word stands twice.
    """
    ids: dict[str, int] = {}
    for number, line in enumerate(content.decode("utf-8").split("\n"), start=1):
        if not line.strip("\r"):
            continue
        word, _, digits = line.rstrip("\r").partition(" ")
        if not word or not re.fullmatch("[0-9]{1,10}", digits) or int(digits) >= _MOST_IDS:
            raise ValueError(f"line {number} is not a word and its id")
        if word in ids:
            raise ValueError(f"line {number}: its word stands twice")
        ids[word] = int(digits)
    return ids
