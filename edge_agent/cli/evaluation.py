"""Labelled sentences against a model, for ``edge-agent model eval``.

Reads the rows, asks the model, and leaves the counting to :mod:`edge_agent.inference.metrics`, which training
uses too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from edge_agent.errors import DataError
from edge_agent.inference.metrics import Latency, Outcome, SlotPair, Summary, latency, summarize

if TYPE_CHECKING:
    from edge_agent.inference.model import Model

_OUT_OF_SCOPE = "out_of_scope"


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled sentence.

    Attributes:
        expected: the intent, or None for out of scope.
        slots: names and exact slices, or None where the sentence has no slot labels.
        unlocated_slots: labelled values whose place in the text was not found.
    """

    text: str
    lang: str
    expected: str | None
    slots: tuple[SlotPair, ...] | None
    unlocated_slots: int


@dataclass(frozen=True, slots=True)
class Report:
    """Figures over all sentences (``all``) and by language, and the latency of one call."""

    groups: Mapping[str, Summary]
    latency: Latency
    unlocated_slots: int

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "figures": {name: asdict(summary) for name, summary in self.groups.items()},
            "latency": asdict(self.latency),
            "unlocated_slots": self.unlocated_slots,
        }


def read_objects(path: Path) -> Iterator[Mapping[str, Any]]:
    """The objects of a JSON-lines file, plain or ``.xz``.

    Raises:
        DataError: it cannot be read.
    """
    from edge_agent.forge.data.examples import read_jsonl

    return iter(read_jsonl(path))


def read_rows(path: Path) -> Iterator[Row]:
    """The labelled sentences of a JSON-lines file, plain or ``.xz``.

    Raises:
        DataError: it cannot be read, or a line has not the form.
    """
    for number, row in enumerate(read_objects(path), start=1):
        try:
            yield _row(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{path}: sentence {number} is not of the form",
                hint='it needs "text"; see `edge-agent model eval --help` for the rest',
            ) from error


def evaluate_rows(model: Model, rows: Sequence[Row]) -> Report:
    """Asks the model for every row.

    Raises:
        DataError: there are no rows.
    """
    if not rows:
        raise DataError("there are no sentences to evaluate", hint="name a file with some by --data")
    outcomes: dict[str, list[Outcome]] = {}
    milliseconds = []
    for row in rows:
        begun = perf_counter()
        outcome = _ask(model, row)
        milliseconds.append((perf_counter() - begun) * 1e3)
        outcomes.setdefault(row.lang, []).append(outcome)
    groups = {lang: summarize(outcomes[lang]) for lang in sorted(outcomes)}
    everything = summarize(outcome for lang in sorted(outcomes) for outcome in outcomes[lang])
    unlocated = sum(row.unlocated_slots for row in rows)
    return Report({"all": everything, **groups}, latency(milliseconds), unlocated)


def _ask(model: Model, row: Row) -> Outcome:
    analysis = model.analyse(row.text)
    return Outcome(
        expected=row.expected,
        best=analysis.label,
        recognized=analysis.recognized,
        expected_slots=row.slots,
        slots=[(slot.name, slot.value) for slot in analysis.slots],
    )


def _row(row: Mapping[str, Any]) -> Row:
    text = str(row["text"])
    if not text.strip():
        raise ValueError("empty text")
    intent = row.get("intent", row.get("label"))
    slots, unlocated = _slots(text, row.get("slots"))
    return Row(
        text, str(row.get("lang") or "–"), None if intent == _OUT_OF_SCOPE else intent, slots, unlocated
    )


def _slots(text: str, slots: Any) -> tuple[tuple[SlotPair, ...] | None, int]:
    """Names with exact slices, and how many labelled values could not be found in the text."""
    if slots is None:
        return None, 0
    if isinstance(slots, Mapping):
        from edge_agent.forge.data.home_assistant import find_slots, missing_slots

        found = find_slots(text, slots)
        return tuple((span.name, text[span.start : span.end]) for span in found), len(
            missing_slots(text, slots)
        )
    return tuple((slot.get("name") or slot["type"], text[slot["start"] : slot["end"]]) for slot in slots), 0
