"""What is wrong with a data set, found before hours of training and told in words.

Nothing here reads or changes anything. A message names counts, labels, sets and lines, never a text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge_agent.forge.data.examples import UNLABELLED, Example
from edge_agent.forge.data.languages import guess_language
from edge_agent.forge.data.splits import text_key

_FEW_EXAMPLES = 5
_NAMED_AT_MOST = 5
_MANY_DUPLICATES = 0.1
_MANY_NEAR_DUPLICATES = 0.05
_MANY_LONG = 0.05
_FEW_STRANGERS, _MANY_STRANGERS = 0.002, 0.1  # of a language's rows; a light guess errs in fewer
_GREAT_IMBALANCE = 20.0
_OVERWHELMING_SHARE = 0.8
_SUM_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: ``error``: training on it would teach something false; ``warning``: the model will be worse
            for it, or its figures too good; ``note``: good to know.
        message: one line in words, with counts and labels, without texts.
        examples: how many sentences (of a label's finding: labels) it concerns.
    """

    severity: Literal["error", "warning", "note"]
    message: str
    examples: int


@dataclass(frozen=True, slots=True)
class _Splits:
    training: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]
    template_labels: Collection[str]
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def everything(self) -> Iterator[Example]:
        yield from self.training
        yield from self.dev
        yield from self.test

    def key(self, example: Example) -> str:
        return self.keys[example.text]


def find_problems(
    training: Sequence[Example],
    dev: Sequence[Example],
    test: Sequence[Example] = (),
    *,
    template_labels: Collection[str] = (),
) -> tuple[Finding, ...]:
    """Everything that is worth saying about a data set, gravest first.

    Args:
        training: as read, with the rows that also stand in dev or test.
        dev: sentences to choose by.
        test: sentences to report on.
        template_labels: labels that templates teach as well.
    """
    keys = {example.text: text_key(example.text) for part in (training, dev, test) for example in part}
    splits = _Splits(training, dev, test, template_labels, keys)
    findings = [finding for check in _CHECKS for finding in check(splits)]
    rank = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda finding: rank[finding.severity]))


def check_lengths(
    examples: Sequence[Example],
    count_tokens: Callable[[str], int],
    *,
    max_tokens: int,
    windows: bool = False,
) -> tuple[Finding, ...]:
    """Texts that are longer than the model reads at once.

    Args:
        examples: of any split.
        count_tokens: a text → the number of its tokens, [CLS] and [SEP] included.
        max_tokens: the model's.
        windows: whether longer texts are read in windows, rather than cut.
    """
    beyond = sum(count_tokens(example.text) > max_tokens for example in examples)
    if not beyond:
        return ()
    share = beyond / len(examples)
    what = "are read in windows" if windows else "are cut there"
    grave = share > _MANY_LONG and not windows
    hint = "; beyond = 'window' or a larger max_tokens reads them whole" if grave else ""
    message = f"more than {max_tokens} tokens, which {what}: {_rows(beyond)} ({share:.1%}){hint}"
    return (Finding("warning" if grave else "note", message, beyond),)


def _empty(splits: _Splits) -> Iterator[Finding]:
    empty = [example for example in splits.everything if not splits.key(example)]
    if empty:
        yield Finding("warning", f"{_rows(len(empty))} without a text, left out{_places(empty)}", len(empty))


def _leaks(splits: _Splits) -> Iterator[Finding]:
    """The same text, and nearly the same, in training and in what it is judged by."""
    keys = {splits.key(example) for example in splits.training} - {""}
    near = {_near_key(key) for key in keys}
    for name, part in (("dev", splits.dev), ("test", splits.test)):
        held_out = {splits.key(example) for example in part}
        leaked = [example for example in splits.training if splits.key(example) in held_out - {""}]
        if leaked:
            message = f"left out of training, because {name} has them too: {_rows(len(leaked))}"
            yield Finding("note", message, len(leaked))
        similar = sum(key not in keys and _near_key(key) in near for key in held_out - {""})
        if similar:
            severity: Literal["warning", "note"] = (
                "warning" if similar > _MANY_NEAR_DUPLICATES * len(held_out) else "note"
            )
            message = (
                f"differing from a text of training only in numbers, marks or order of words: "
                f"{_texts(similar)} of {name}; its figures flatter the model a little"
            )
            yield Finding(severity, message, similar)
    dev, test = ({splits.key(e) for e in part} - {""} for part in (splits.dev, splits.test))
    if dev & test:
        message = f"shared by dev and test: {_texts(len(dev & test))}; test is no longer unseen"
        yield Finding("warning", message, len(dev & test))


def _duplicates(splits: _Splits) -> Iterator[Finding]:
    counts = Counter((splits.key(e), e.label, e.lang) for e in splits.training if splits.key(e))
    repeated = sum(count - 1 for count in counts.values())
    if repeated:
        share = repeated / len(splits.training)
        message = f"repeating another row of training with its label: {_rows(repeated)} ({share:.1%})"
        yield Finding("warning" if share > _MANY_DUPLICATES else "note", message, repeated)


def _conflicts(splits: _Splits) -> Iterator[Finding]:
    labels: dict[tuple[str, str], dict[str, Example]] = {}
    for example in splits.everything:
        if example.label != UNLABELLED and splits.key(example):
            labels.setdefault((splits.key(example), example.lang), {}).setdefault(example.label, example)
    torn = [found for found in labels.values() if len(found) > 1]
    if torn:
        pairs = Counter(tuple(sorted(found)[:2]) for found in torn)
        (first, second), count = pairs.most_common(1)[0]
        message = (
            f"more than one label: {_texts(len(torn))}, most often {first!r} and {second!r} ({count})"
            f"{_places(example for found in torn for example in found.values())}"
        )
        yield Finding("warning", message, len(torn))


def _labels(splits: _Splits) -> Iterator[Finding]:
    counts = Counter(e.label for e in splits.training if e.label != UNLABELLED)
    known = set(counts) | set(splits.template_labels)
    few = sorted(n for n, c in counts.items() if c < _FEW_EXAMPLES and n not in splits.template_labels)
    if few:
        message = f"{_count(len(few), 'label')} with fewer than {_FEW_EXAMPLES} training rows: {_names(few)}"
        yield Finding("warning", message, len(few))
    for name, part in (("dev", splits.dev), ("test", splits.test)):
        unknown = sorted({example.label for example in part} - known - {UNLABELLED})
        if unknown and known:
            rows = sum(example.label in unknown for example in part)
            message = f"{_rows(rows)} of {name} with labels that training lacks: {_names(unknown)}"
            yield Finding("warning", message, rows)
    yield from _twins(known | {e.label for e in (*splits.dev, *splits.test)})
    if len(counts) > 1 and not splits.template_labels:
        yield from _imbalance(counts)


def _twins(labels: Collection[str]) -> Iterator[Finding]:
    by_form: dict[str, list[str]] = {}
    for label in sorted(labels):
        by_form.setdefault(re.sub(r"[\s_-]+", " ", label).strip().casefold(), []).append(label)
    twins = [" / ".join(map(repr, group)) for group in by_form.values() if len(group) > 1]
    if twins:
        message = (
            f"labels that differ only in capitals, spaces or hyphens: {'; '.join(twins[:_NAMED_AT_MOST])}"
        )
        yield Finding("warning", message, len(twins))


def _imbalance(counts: Counter[str]) -> Iterator[Finding]:
    (largest, most), (smallest, least) = counts.most_common()[0], counts.most_common()[-1]
    share = most / counts.total()
    if share > _OVERWHELMING_SHARE:
        message = (
            f"{share:.0%} of training is {largest!r}: a model that always says so is right as often; "
            "look at F1, not at accuracy"
        )
        yield Finding("warning", message, most)
    elif most > _GREAT_IMBALANCE * least:
        yield Finding("note", f"{largest!r} has {most} training rows, {smallest!r} {least}", least)


def _languages(splits: _Splits) -> Iterator[Finding]:
    others: dict[tuple[str, str], list[Example]] = {}
    for example in splits.everything:
        guess = guess_language(example.text)
        if guess is not None and guess != example.lang.lower()[:2]:
            others.setdefault((example.lang, guess), []).append(example)
    total = Counter(example.lang for example in splits.everything)
    for (said, guess), found in sorted(others.items()):
        if len(found) >= max(_FEW_EXAMPLES, _FEW_STRANGERS * total[said]):
            message = f"said to be {said!r}, looking like {guess!r}: {_rows(len(found))}{_places(found)}"
            yield Finding(
                "warning" if len(found) > _MANY_STRANGERS * total[said] else "note", message, len(found)
            )


def _soft_labels(splits: _Splits) -> Iterator[Finding]:
    off = [e for e in splits.everything if e.probabilities and abs(_sum(e) - 1) > _SUM_TOLERANCE]
    if off:
        message = f"probabilities that do not sum to 1, and are scaled: {_rows(len(off))}{_places(off)}"
        yield Finding("warning", message, len(off))


def _slots(splits: _Splits) -> Iterator[Finding]:
    broken = [example for example in splits.everything if not _fit(example)]
    if broken:
        message = (
            f"{_rows(len(broken))} with slots that are empty, overlap or leave the text{_places(broken)}"
        )
        yield Finding("error", message, len(broken))
    ragged = [e for e in splits.everything if _fit(e) and not _at_words(e)]
    if ragged:
        message = f"{_rows(len(ragged))} with slots that begin or end inside a word{_places(ragged)}"
        yield Finding("warning", message, len(ragged))


_CHECKS = (_slots, _empty, _leaks, _conflicts, _duplicates, _labels, _soft_labels, _languages)


def _fit(example: Example) -> bool:
    at = 0
    for span in example.spans or ():
        if not at <= span.start < span.end <= len(example.text):
            return False
        at = span.end
    return True


def _at_words(example: Example) -> bool:
    """Whether every slot begins and ends where words do."""
    text = example.text
    return not any(
        (span.start > 0 and text[span.start - 1].isalnum() and text[span.start].isalnum())
        or (span.end < len(text) and text[span.end - 1].isalpha() and text[span.end].isalpha())
        for span in example.spans or ()
    )


def _near_key(key: str) -> str:
    """A text key without its numbers, marks and order of words."""
    return " ".join(sorted(re.findall(r"\w+", re.sub(r"\d+", "0", key))))


def _sum(example: Example) -> float:
    return sum(share for _, share in example.probabilities or ())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _rows(number: int) -> str:
    return _count(number, "row")


def _texts(number: int) -> str:
    return _count(number, "text")


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_NAMED_AT_MOST]))
    rest = len(names) - _NAMED_AT_MOST
    return f"{shown} and {rest} more" if rest > 0 else shown


def _places(examples: Iterable[Example]) -> str:
    """`` (mine.csv lines 3, 17 …)``: where to look, as far as lines are known."""
    lines: dict[str, list[int]] = {}
    for example in examples:
        if example.line:
            lines.setdefault(example.source, []).append(example.line)
    if not lines:
        return ""
    source, found = max(lines.items(), key=lambda item: len(item[1]))
    found = sorted(set(found))
    word, more = ("line" if len(found) == 1 else "lines"), (" …" if len(found) > _NAMED_AT_MOST else "")
    return f" ({source} {word} {', '.join(map(str, found[:_NAMED_AT_MOST]))}{more})"
