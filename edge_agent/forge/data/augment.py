"""Variety for a few hundred real sentences: other slot values, and the noise of typing and of speech.

Everything keeps the labels true: a span's text is replaced by a value of the same slot and language, and
the offsets behind it move along.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

from edge_agent.forge.data.examples import Example, Span

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ENDINGS = {
    "en": ("", ".", "!", " please", ", please", "?"),
    "es": ("", ".", "!", " por favor", ", por favor", "?"),
}
_BEGINNINGS = {
    "en": ("please ", "hey ", "ok ", "can you ", "could you ", "i want you to ", "would you "),
    "es": ("por favor ", "oye ", "vale, ", "puedes ", "podrías ", "quiero que ", "necesito "),
}


class ValuePools:
    """Values seen for each (language, label, slot), to swap in for one another."""

    def __init__(self, examples: Iterable[Example]) -> None:
        pools: dict[tuple[str, str, str], dict[str, None]] = {}
        for example in examples:
            for span in example.spans or ():
                value = example.text[span.start : span.end]
                pools.setdefault((example.lang, example.label, span.name), {})[value] = None
        self._pools: Mapping[tuple[str, str, str], list[str]] = {
            key: list(pool) for key, pool in pools.items()
        }

    def swap(self, example: Example, share: float, generator: random.Random) -> Example:
        """The example with each span's value exchanged with probability ``share``."""
        if not example.spans or example.teacher_text is not None:
            return example
        text, spans, at = "", [], 0
        for span in example.spans:
            value = example.text[span.start : span.end]
            pool = self._pools.get((example.lang, example.label, span.name))
            if pool and generator.random() < share:
                value = _matching_kind(value, pool, generator)
            text += example.text[at : span.start]
            spans.append(Span(span.name, len(text), len(text) + len(value)))
            text += value
            at = span.end
        return replace(example, text=text + example.text[at:], spans=tuple(spans))


def add_noise(example: Example, generator: random.Random) -> Example:
    """One kind of noise: a typing slip outside the slots, lost or added punctuation, capitals, politeness.

    A sentence with its translation stays as it is, since the two must go on saying the same.
    """
    if example.teacher_text is not None:
        return example
    kind = generator.randrange(5)
    if kind == 0:
        return _typing_slip(example, generator)
    if kind == 1:
        return _with_text(example, example.text.upper() if generator.random() < 0.2 else example.text.title())
    if kind == 2 and example.label != "HassBroadcast":
        return _prefixed(example, generator.choice(_BEGINNINGS.get(example.lang, ("",))))
    if kind == 3:
        return _without_marks(example)
    ending = generator.choice(_ENDINGS.get(example.lang, ("",)))
    bare = example.text.rstrip("?.! ")
    return replace(example, text=bare + ending) if _last_end(example) <= len(bare) else example


def _matching_kind(value: str, pool: list[str], generator: random.Random) -> str:
    """Another value of the pool: a number for a number and a word for a word."""
    same_kind = [other for other in pool if other[:1].isdigit() == value[:1].isdigit()]
    return generator.choice(same_kind) if same_kind else value


def _with_text(example: Example, text: str) -> Example:
    """The same sentence in other letters, if no letter changed its length."""
    if len(text) != len(example.text):
        return example
    return replace(example, text=text)


def _typing_slip(example: Example, generator: random.Random) -> Example:
    places = [
        index
        for index in range(1, len(example.text))
        if example.text[index].isalpha()
        and example.text[index - 1].isalpha()
        and not any(span.start <= index < span.end for span in example.spans or ())
    ]
    if not places:
        return example
    at = generator.choice(places)
    characters = list(example.text)
    if generator.random() < 0.5:
        characters[at] = generator.choice(_LETTERS)
    elif not any(span.start <= at - 1 < span.end for span in example.spans or ()):
        characters[at - 1], characters[at] = characters[at], characters[at - 1]
    return _with_text(example, "".join(characters))


def _prefixed(example: Example, beginning: str) -> Example:
    spans = None
    if example.spans is not None:
        spans = tuple(Span(s.name, s.start + len(beginning), s.end + len(beginning)) for s in example.spans)
    return replace(example, text=beginning + example.text, spans=spans)


def _without_marks(example: Example) -> Example:
    """Without ¿ ? ¡ ! . at its ends, as speech recognition writes."""
    text = example.text
    if text[:1] in "¿¡":
        if not text[1:2] or any(s.start < 1 for s in example.spans or ()):
            return example
        spans = example.spans
        if spans is not None:
            spans = tuple(Span(s.name, s.start - 1, s.end - 1) for s in spans)
        return _without_marks(replace(example, text=text[1:], spans=spans))
    end = max(len(text.rstrip("?!. ")), _last_end(example))
    return replace(example, text=text[:end])


def _last_end(example: Example) -> int:
    return max((span.end for span in example.spans or ()), default=0)
