"""The data sets of a recipe → labelled sentences with the model's labels.

Each reader knows one format. What a set's labels mean for our model stands in the recipe: mapped to one of
ours, kept, dropped, or, when it says nothing of them, out of scope.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.errors import DataError
from edge_agent.forge.data.examples import OUT_OF_SCOPE, UNLABELLED, Example, read_text
from edge_agent.forge.data.home_assistant import read_home_assistant
from edge_agent.forge.data.home_llm import read_home_llm
from edge_agent.forge.data.labelling import Reading, require_columns, sorted_labels
from edge_agent.forge.data.splits import split_by_text
from edge_agent.forge.data.tables import Row, decode, read_bytes, read_table
from edge_agent.forge.recipe import DataSection

_CLINC150_PARTS = {"train": ("train", "oos_train"), "dev": ("oos_val",), "test": ("oos_test",)}
_CLINC150_OUT_OF_SCOPE = "oos"


def read_section(section: DataSection, path: Path, *, judge_unlabelled: bool = False) -> list[Example]:
    """All sentences of a data section except templates, which are sampled; also those without a text.

    Args:
        section: what to read, and how.
        path: its file.
        judge_unlabelled: keep sentences without a label in dev and test, where a model is judged by what its
            teacher says and not by labels.

    Raises:
        DataError: the file is damaged, lacks a column or a part, or no row is left.
    """
    examples = [replace(e, source=section.name) for e in _READERS[section.kind](section, path)]
    examples = _held_in(section, examples)
    if section.use != "train" and not judge_unlabelled:
        examples = [example for example in examples if example.label != UNLABELLED]
    if section.limit and len(examples) > section.limit:
        chosen = random.Random(0).sample(range(len(examples)), section.limit)
        examples = [examples[index] for index in sorted(chosen)]
    if not examples:
        raise DataError(f"{path}: no sentence is left after mapping, dropping and holding out")
    return examples


def _held_in(section: DataSection, examples: list[Example]) -> list[Example]:
    """The rows of the section's side of the split."""
    if not (section.hold_out or section.hold_out_test):
        return examples
    parts = split_by_text(
        examples, dev=section.hold_out, test=section.hold_out_test, stratified=section.stratified
    )
    if not section.only_held_out:
        return parts["train"]
    return parts["test" if section.use == "test" else "dev"]


def _home_assistant(section: DataSection, path: Path) -> Iterator[Example]:
    with _of_its_kind(section, path):
        yield from read_home_assistant(path)


def _home_llm(section: DataSection, path: Path) -> Iterator[Example]:
    with _of_its_kind(section, path):
        yield from read_home_llm(path, section.lang)


@contextmanager
def _of_its_kind(section: DataSection, path: Path) -> Iterator[None]:
    """Around the reader of a published set, which knows the one form that the set has."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: not a file of the kind {section.kind}", hint='kind = "table" reads CSV, TSV and JSONL'
        ) from error


def _table(section: DataSection, path: Path) -> Iterator[Example]:
    table = read_table(path)
    used = [section.text, *([section.label] if section.label else ()), *(["slots"] if section.slots else ())]
    require_columns(table, [*used, *section.where], path)
    reading = Reading(
        path=path,
        lang=section.lang,
        source=section.name,
        text=section.text,
        label=section.label,
        slots=section.slots,
        soft_labels=sorted_labels(table, section.label) if section.label else (),
    )
    chosen = (row for row in table.rows if _is_chosen(row, section.where))
    yield from _mapped(section, (reading.example(row) for row in chosen))


def _parallel(section: DataSection, path: Path) -> Iterator[Example]:
    """Sentences with their translation, which is what the teacher reads."""
    if section.use != "train":
        raise DataError(f"{section.file}: parallel sentences have no labels, so they are for training only")
    table = read_table(path)
    require_columns(table, [section.text, "translation"], path)
    reading = Reading(path=path, lang=section.lang, source=section.name, text=section.text, label="")
    for row in table.rows:
        translation = str(row.values.get("translation") or "").strip()
        example = replace(reading.example(row), teacher_text=translation, probabilities=None)
        if translation and _is_kept(section, example.text):
            yield example


def _clinc150(section: DataSection, path: Path) -> Iterator[Example]:
    """CLINC150's JSON; by default training takes its rows in scope, dev and test are out of scope alone."""
    with _of_its_kind(section, path):
        content = json.loads(read_text(path))
        if isinstance(content, list):  # oos_train_plus.json
            content = {"all": content}
            names: Iterable[str] = content
        else:
            names = section.parts or _CLINC150_PARTS[section.use]
        for name in names:
            if name not in content:
                raise DataError(f"{path}: no part {name!r}; its parts are {', '.join(content)}")
        rows = [row for name in names for row in content[name]]
        examples = [Example(text, label, section.lang, None, section.name) for text, label in rows]
    yield from _mapped(section, examples, own_out_of_scope=_CLINC150_OUT_OF_SCOPE)


def _goemotions(section: DataSection, path: Path) -> Iterator[Example]:
    """GoEmotions as three polarities, by the authors' grouping of the emotions beside the file.

    A comment is negative or positive when all its emotions are, neutral when that is its only one; others
    say nothing clear and are left out.
    """
    emotions = read_text(path.parent / "labels.txt").split()
    groups: Mapping[str, list[str]] = json.loads(read_text(path.parent / "sentiment_mapping.json"))
    group_of = {emotion: group for group, members in groups.items() for emotion in members}
    for number, line in enumerate(decode(read_bytes(path), path).split("\n"), start=1):
        if not line:
            continue
        try:
            text, numbers, _ = line.split("\t")
            found = {group_of[emotions[int(index)]] for index in numbers.split(",")}
        except (ValueError, IndexError, KeyError) as error:
            raise DataError(f"{path}, line {number}: not text, label numbers and id") from error
        polarity = found.pop() if len(found) == 1 else "ambiguous"
        if polarity == "ambiguous" or polarity in section.drop or not _is_kept(section, text):
            continue
        label = section.map.get(polarity, polarity)
        yield Example(text.strip(), label, section.lang, None, section.name, line=number)


_READERS: Mapping[str, Callable[[DataSection, Path], Iterable[Example]]] = {
    "home_assistant": _home_assistant,
    "home_llm": _home_llm,
    "table": _table,
    "parallel": _parallel,
    "clinc150": _clinc150,
    "goemotions": _goemotions,
}


def _is_chosen(row: Row, where: Mapping[str, Any]) -> bool:
    """Whether a row has the values that the section asks for; "1" is 1, and "true" is true."""
    return all(str(row.values.get(k, "")).casefold() == str(v).casefold() for k, v in where.items())


def _is_kept(section: DataSection, text: str) -> bool:
    return not (section.drop_matching and re.search(section.drop_matching, text, re.IGNORECASE))


def _mapped(
    section: DataSection, examples: Iterable[Example], *, own_out_of_scope: str = OUT_OF_SCOPE
) -> Iterator[Example]:
    """Examples with the model's labels; an out-of-scope sentence has no slots."""
    for example in examples:
        if example.label in section.drop or not _is_kept(section, example.text):
            continue
        label = _model_label(section, example.label, own_out_of_scope)
        if label is None:
            continue
        spans = () if label == OUT_OF_SCOPE else example.spans
        soft = _model_probabilities(section, example, own_out_of_scope)
        yield replace(example, label=label, spans=spans, probabilities=soft)


def _model_label(section: DataSection, label: str, own_out_of_scope: str) -> str | None:
    if label in section.map:
        return section.map[label]
    if label in (own_out_of_scope, OUT_OF_SCOPE):
        return OUT_OF_SCOPE
    if label == UNLABELLED and section.label:  # an empty cell says nothing, not even out of scope
        return UNLABELLED if section.others == "keep" else None
    return {"out_of_scope": OUT_OF_SCOPE, "keep": label, "drop": None}[section.others]


def _model_probabilities(
    section: DataSection, example: Example, own_out_of_scope: str
) -> tuple[tuple[str, float], ...] | None:
    """Soft labels with the model's names; those of one name add up, those of dropped labels are left out."""
    if example.probabilities is None:
        return None
    shares: dict[str, float] = {}
    for name, share in example.probabilities:
        label = None if name in section.drop else _model_label(section, name, own_out_of_scope)
        if label is not None:
            shares[label] = shares.get(label, 0.0) + share
    return tuple(shares.items()) if sum(shares.values()) > 0 else None
