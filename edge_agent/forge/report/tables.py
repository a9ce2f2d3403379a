"""Figures as the cells of Markdown tables, for reports, model cards and the benchmark page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

UNKNOWN = "–"
_FIGURES = (
    ("intent_accuracy", "accuracy"),
    ("macro_f1", "macro F1"),
    ("macro_f1_of_present", "macro F1, classes of the set"),
    ("span_f1", "span F1"),
    ("slot_f1", "slot F1, gated"),
    ("out_of_scope_recall", "out of scope turned away"),
    ("cosine", "cosine with the teacher"),
    ("spearman", "rank correlation of similarities"),
)
"""Figure and heading, in the order of the columns."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table with an empty line after it; nothing where there are no rows."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return []
    return [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *body, ""]


def percent(share: float | None, digits: int = 2) -> str:
    """``97.30 %`` of 0.973."""
    return UNKNOWN if share is None else f"{share * 100:.{digits}f} %"


def with_interval(group: Mapping[str, Any], figure: str) -> str:
    """A figure of a group with its 95 % interval in brackets, in percent."""
    value, interval = group.get(figure), group.get(f"{figure}_interval")
    if value is None or interval is None:
        return percent(value)
    return f"{value * 100:.2f} [{interval['low'] * 100:.1f}, {interval['high'] * 100:.1f}] %"


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed digits."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def count(value: int | None) -> str:
    """A whole number with commas."""
    return UNKNOWN if value is None else f"{value:,}"


def present(groups: Iterable[Mapping[str, Any]], figure: str) -> bool:
    """Whether a column would have anything to show."""
    return any(group.get(figure) is not None for group in groups)


def distinct(split: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the groups worth a row: those that are not another one under a second name.

    Groups of one split with equal figures hold the same sentences (one language, one source).
    """
    names: list[str] = []
    for name, summary in split.items():
        if all(split[other] != summary for other in names):
            names.append(name)
    return names


def group_words(split: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """A group's name, with its most telling other one: ``all (clinc150/en)`` where there is nothing else."""
    others = [other for other, summary in split.items() if other != name and summary == split[name]]
    return f"{name} ({others[-1]})" if others else name


def target_cells(target: Mapping[str, Any]) -> list[str]:
    """A gate or target as cells: figure, what is asked, what was reached, whether that is enough."""
    bounds = (("≥", target["at_least"]), ("≤", target["at_most"]))
    asked = ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
    verdict = "met"
    if not target["met"]:
        short = target["short_by"]
        verdict = "not measured" if short is None else f"**missed by {short:.4f}**"
        tried = target.get("tried")  # reports of earlier versions have none
        verdict += f". Tried: {tried}" if tried else ""
    return [f"`{target['metric']}`", asked, number(target["value"], 4), verdict]


def short_scheme(scheme: str) -> str:
    """``int8`` of ``int8-per-channel``."""
    return scheme.removesuffix("-per-channel")


def figure_columns(groups: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Figures that at least one of the groups has, with their headings."""
    columns = [(figure, words) for figure, words in _FIGURES if present(groups, figure)]
    same = all(group.get("macro_f1") == group.get("macro_f1_of_present") for group in groups)
    return [column for column in columns if not (same and column[0] == "macro_f1_of_present")]


def figure_cells(group: Mapping[str, Any], columns: Sequence[tuple[str, str]]) -> list[str]:
    """A group's figures as cells; a mean cosine is a number, the others are shares."""
    return [
        number(group.get(figure), 4) if figure in ("cosine", "spearman") else with_interval(group, figure)
        for figure, _ in columns
    ]
