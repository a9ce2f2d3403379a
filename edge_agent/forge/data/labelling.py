"""A table's row → a labelled sentence: label, slots, soft labels, weight and language, each checked.

The columns ``lang``, ``weight`` and ``probabilities`` are read where a file has them; those of the text and
of the label are named by the caller.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.errors import DataError
from edge_agent.forge.data.examples import UNLABELLED, Example, Span
from edge_agent.forge.data.home_assistant import fold
from edge_agent.forge.data.tables import Row, Table

_LONGEST_TAG = 64
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")


class SlotNames:
    """A set's slot names → names that a bundle's tags may have: lower case, digits and ``_``."""

    def __init__(self) -> None:
        self._originals: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The bundle's name of a slot.

        Raises:
            DataError: another slot of this set has got the same name, or nothing of the name is left.
        """
        made = re.sub(r"[^a-z0-9_]", "_", fold(name.strip()))
        if not made.strip("_") or len(made) > _LONGEST_TAG:
            raise DataError(f"slot name {name!r}: it needs 1 to {_LONGEST_TAG} Latin letters or digits")
        original = self._originals.setdefault(made, name)
        if original != name:
            raise DataError(
                f"the slot names {original!r} and {name!r} would both be called {made!r} in the bundle",
                hint="rename one of them in the data",
            )
        return made


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a table's rows.

    Attributes:
        path: of the table, for messages.
        lang: of rows that do not say theirs.
        source: name of the set.
        text, label: columns; no label column: every row is without a label.
        slots: whether the column ``slots`` is read.
        soft_labels: the order in which lists of ``probabilities`` are written.
        names: of the slots.
    """

    path: Path
    lang: str
    source: str
    text: str = "text"
    label: str = "label"
    slots: bool = False
    soft_labels: Sequence[str] = ()
    names: SlotNames = field(default_factory=SlotNames)

    def example(self, row: Row) -> Example:
        """One row's sentence; its spans are None unless ``slots`` are read.

        Raises:
            DataError: a value of the wrong kind; names file, line and column.
        """
        try:
            values = row.values
            probabilities = _probabilities(values.get("probabilities"), self.soft_labels)
            label = _word(values, self.label) if self.label else UNLABELLED
            if not label and probabilities:
                label = max(probabilities, key=lambda pair: pair[1])[0]
            return Example(
                text=_word(values, self.text),
                label=label,
                lang=str(values.get("lang") or "").strip() or self.lang,
                spans=_spans(values.get("slots"), self.names) if self.slots else None,
                source=self.source,
                weight=_weight(values.get("weight")),
                probabilities=probabilities,
                line=row.line,
            )
        except DataError as error:
            raise DataError(f"{self.path}, line {row.line}: {error}", hint=error.hint) from error


def sorted_labels(table: Table, column: str) -> tuple[str, ...]:
    """The labels of a column, sorted: the order in which lists of probabilities are written."""
    found = {str(row.values.get(column) or "").strip() for row in table.rows}
    return tuple(sorted(found - {UNLABELLED}))


def require_columns(table: Table, wanted: Sequence[str], path: Path) -> None:
    """Checks that a table has the columns that are going to be read.

    Raises:
        DataError: names the column that is absent, and those that are there.
    """
    for name in wanted:
        if name not in table.columns:
            there = ", ".join(map(repr, table.columns)) or "none"
            raise DataError(f"{path}: no column {name!r}; its columns are {there}")


def _word(values: Mapping[str, Any], column: str) -> str:
    value = values.get(column)
    if value is None:
        return ""
    if isinstance(value, bool | list | dict):
        raise DataError(f"column {column!r} is not a text")
    text = str(value).strip()
    if _HALF_A_CHARACTER.search(text):
        raise DataError(
            f"column {column!r} has half a character, an unpaired surrogate such as \\ud83d",
            hint="the program that wrote it cut a text in the middle of a character",
        )
    return text


def _weight(value: Any) -> float:
    if value is None or value == "":
        return 1.0
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise DataError("column 'weight' is not a number of 0 or more")
    return weight


def _json(value: Any, column: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise DataError(f"column {column!r} is not JSON") from error


def _probabilities(value: Any, labels: Sequence[str]) -> tuple[tuple[str, float], ...] | None:
    """``{"label": 0.9, …}``, or a list in the order of the labels."""
    if value is None or value == "":
        return None
    content = _json(value, "probabilities")
    if isinstance(content, list):
        if len(content) != len(labels):
            raise DataError(
                f"column 'probabilities' lists {len(content)} figures for {len(labels)} labels",
                hint='give them with their labels: {"label": 0.9, …}',
            )
        content = dict(zip(labels, content, strict=True))
    if not isinstance(content, dict) or not all(map(_is_share, content.values())):
        raise DataError("column 'probabilities' is not an object of label → 0..1")
    unknown = sorted(set(content) - set(labels)) if labels else []
    if unknown:
        raise DataError(
            f"column 'probabilities' names a label that no row has: {unknown[0]!r}",
            hint="spell labels in 'probabilities' as in the label column",
        )
    pairs = tuple((str(label), float(share)) for label, share in content.items())
    if sum(share for _, share in pairs) <= 0:
        raise DataError("column 'probabilities' gives nothing to any label")
    return pairs


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _spans(value: Any, names: SlotNames) -> tuple[Span, ...]:
    """``[{"type": "area", "start": 12, "end": 19}, …]`` → spans in the order of the text."""
    content = _json(value or "[]", "slots")
    if not isinstance(content, list):
        raise DataError('column \'slots\' is not a list of {"type", "start", "end"}')
    spans: list[Span] = []
    for slot in content:
        name = slot.get("type", slot.get("name")) if isinstance(slot, dict) else None
        if not isinstance(name, str) or not _is_offset(slot.get("start")) or not _is_offset(slot.get("end")):
            raise DataError('column \'slots\' holds an entry without "type", "start" and "end"')
        spans.append(Span(names(name), slot["start"], slot["end"]))
    return tuple(sorted(spans, key=lambda span: (span.start, span.end)))


def _is_offset(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
