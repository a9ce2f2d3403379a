"""Home Assistant's test sentences: canonical slot values → spans in the text.

The data gives values, not places: ``{"color": "red"}`` for "pon la lámpara en rojo". A value counts as
found where a reader would point at it: literally (case and accents apart), as digits or as a number
word, as half of the unit before it, or as one of the surface forms below. What is only inferred is left
out: ``domain``, ``device_class`` and ``media_class`` altogether, the name "all", and any value that
cannot be found (the room of "turn on the lights in here").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_agent.forge.data import slot_words as words
from edge_agent.forge.data.examples import Example, Span, read_jsonl

INFERRED_SLOTS = frozenset({"domain", "device_class", "media_class"})


def read_home_assistant(path: Path) -> Iterator[Example]:
    """The sentences of one file, each with the spans that could be found."""
    for row in read_jsonl(path):
        spans = find_slots(row["text"], row["slots"])
        yield Example(row["text"], row["intent"], row["lang"], spans, "home_assistant_intents")


def find_slots(text: str, slots: Mapping[str, object]) -> tuple[Span, ...]:
    """The places of canonical slot values in a sentence.

    Args:
        text: the sentence.
        slots: slot name → canonical value, a number, or a list of accepted values.

    Returns:
        Spans in the order of the text, none overlapping; longer values are placed first, so that
        "kitchen light" as a name is not cut by "kitchen" as an area.
    """
    folded = fold(text)
    wanted = [(name, form) for name, value in slots.items() for form in surface_forms(name, value)]
    found: list[Span] = []
    matches = [
        (match, name)
        for name, pattern in wanted
        for match in re.finditer(pattern, folded)
        if not _is_preposition(folded, match, name)
    ]
    matches.sort(key=lambda item: _preference(folded, *item))
    for match, name in matches:
        start, end = match.span("v")
        placed = any(span.name == name for span in found)
        if not placed and not any(span.start < end and start < span.end for span in found):
            found.append(Span(name, start, end))
    return tuple(sorted(found, key=lambda span: span.start))


def missing_slots(text: str, slots: Mapping[str, object]) -> list[str]:
    """Names of the slots that are annotated and could not be found in the text."""
    found = {span.name for span in find_slots(text, slots)}
    return [name for name, value in slots.items() if list(surface_forms(name, value)) and name not in found]


def fold(text: str) -> str:
    """Lower case without accents, character for character, so that offsets stay."""
    if text.isascii():
        return text.lower()
    return "".join(_fold_character(character) for character in text)


def surface_forms(name: str, value: object) -> Iterator[str]:
    """Patterns over folded text whose group ``v`` is the value; none for a slot that is only inferred."""
    if name in INFERRED_SLOTS:
        return
    for single in value if isinstance(value, list) else [value]:
        if name == "name" and single == "all":
            continue
        base = name.removeprefix("start_")
        if base in words.UNITS and isinstance(single, int | float):
            yield from _duration_forms(base, single)
        elif isinstance(single, int | float):
            yield from _number_forms(name, single)
        else:
            yield from _word_forms(name, str(single))


def _fold_character(character: str) -> str:
    bare = unicodedata.normalize("NFD", character)[0].lower()
    return bare if len(bare) == 1 else character


def _bounded(pattern: str) -> str:
    return rf"(?<![\w.])(?P<v>{pattern})(?!\w)"


def _number_pattern(value: float) -> str:
    value = abs(value)
    whole = int(value)
    if value != whole:
        digits = f"{value:g}".replace(".", "[.,]")
        tenth = round((value - whole) * 10)
        return (
            f"{digits}|(?:{_words(whole)}) (?:point|coma|con) (?:{_words(tenth)})|(?:{_words(whole)}) y medio"
        )
    return "|".join(part for part in (f"{whole}(?:[.,]0)?", _words(whole)) if part)


def _words(number: int) -> str:
    """English and Spanish words for 0..100 as alternatives; empty beyond."""
    parts: list[str] = []
    if number < len(words.NUMBERS_EN):
        parts.append(words.NUMBERS_EN[number])
    if number < len(words.NUMBERS_ES):
        parts.append(words.NUMBERS_ES[number])
    tens, ones = number // 10 * 10, number % 10
    if tens in words.TENS_EN:
        parts.append(words.TENS_EN[tens] + (f"[ -]{words.NUMBERS_EN[ones]}" if ones else ""))
        parts.append(words.TENS_ES[tens] + (f" y {words.NUMBERS_ES[ones]}" if ones else ""))
    if 20 < number < 30:
        parts.append("veinti" + words.NUMBERS_ES[ones])
    return "|".join(parts)


def _duration_forms(unit: str, value: float) -> Iterator[str]:
    number, own = _number_pattern(value), words.UNITS[unit]
    yield rf"(?<![\w.])(?P<v>{number})(?:\s|-)*(?:(?:and a half|y medi[ao]) )?{own}(?!\w)"
    if value == 1:
        yield rf"(?<!\w)(?P<v>an?)\s{own}(?!\w)"
    larger = words.LARGER_UNIT.get(unit)
    if value == 30 and larger:
        yield rf"(?<!\w)(?<!and a )(?P<v>(?:half (?:an? )?|1/2 (?:an? )?|medi[ao] ){larger})(?!\w)"
        yield rf"(?<!\w)and a (?P<v>half) {larger}"
        yield rf"{larger} (?:and a|y) (?P<v>half|medi[ao])(?!\w)"
    if value == 15 and larger:
        yield rf"(?<!\w)(?P<v>(?:a )?quarter of an {larger}|cuarto de {larger})(?!\w)"
        yield rf"{larger} y (?P<v>cuarto)(?!\w)"


def _number_forms(name: str, value: float) -> Iterator[str]:
    yield _bounded(_number_pattern(value))
    if name == "brightness" and value in words.EXTREMES:
        yield rf"(?<!\w){words.EXTREMES[int(value)]}(?!\w)"
    if name == "temperature" and value in words.COLOUR_TEMPERATURES:
        yield _bounded(words.COLOUR_TEMPERATURES[int(value)])


def _word_forms(name: str, value: str) -> Iterator[str]:
    literal = re.escape(fold(value.strip()))
    if name == "volume_step":
        yield _bounded(words.DIRECTIONS.get(value, literal))
    elif name == "state":
        yield _bounded(f"{words.STATES}|{literal}")
    elif name == "color":
        yield _bounded(f"{literal}|{words.COLOURS_ES[value]}" if value in words.COLOURS_ES else literal)
    elif literal:
        yield _bounded(literal)


def _is_preposition(folded: str, match: re.Match[str], name: str) -> bool:
    """Whether a state's "on" is the preposition of "on the first floor"."""
    followed = re.match(r" (?:the|a|my|any)\b", folded[match.end("v") :]) is not None
    return name == "state" and match["v"] == "on" and followed


def _preference(folded: str, match: re.Match[str], name: str) -> tuple[bool, int, int, int]:
    """Sorting key: digits before words ("100" of "100 por cien"), long values before short ones."""
    value = match["v"]
    return (not value[0].isdigit(), -len(value), _timer_distance(folded, match, name), match.start("v"))


def _timer_distance(folded: str, match: re.Match[str], name: str) -> int:
    """Distance to the word "timer", so that ``start_minutes`` gets the nearest number and ``minutes`` not."""
    timers = [timer.start() for timer in re.finditer(r"timer|temporizador|cuenta atras|cronometro", folded)]
    if not timers or name.removeprefix("start_") not in words.UNITS:
        return 0
    distance = min(abs(timer - match.start("v")) for timer in timers)
    return distance if name.startswith("start_") else -distance
