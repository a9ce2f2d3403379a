"""Figures as the cells of Markdown tables, for reports, model cards and the benchmark page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

UNKNOWN = "–"


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
