"""How the devices of a fleet are, and who lags behind. Pure.

A device lags when it serves an older version of a model than most of its group do, or is offline. The version
that most have counts, not the newest: a canary does not make everybody else late.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import gmtime, strftime
from typing import Any, Final

from edge_agent.fleet.repository.layout import order
from edge_agent.fleet.rollout.documents import ModelWord
from edge_agent.inference.manifest import is_version

COLUMNS: Final = (
    "device", "groups", "status", "health", "reason", "seen", "model", "version", "update", "update_reason",
    "power_w", "temperature_c", "strain", "straggler",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Row:
    """A device; None is unknown.

    Attributes:
        device: its id.
        groups: that it is in.
        status: ``online`` or ``offline``.
        health: ``up``, ``degraded`` or ``down``.
        reasons: why it is not up.
        models: by name.
        waiting: models for which a command stands that it has not begun.
        power_w: watts, where they were heard.
        estimated: the watts are reckoned, not measured.
        temperature_c: of the processor.
        strain: what ails the board: ``under-voltage``, ``throttled``, ``battery 12 %``.
        seen: when it was last heard, seconds since the epoch.
        lags: why it is a straggler, in words; empty where it is none.
    """

    device: str
    groups: tuple[str, ...] = ()
    status: str | None = None
    health: str | None = None
    reasons: tuple[str, ...] = ()
    models: Mapping[str, ModelWord] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()
    power_w: float | None = None
    estimated: bool = False
    temperature_c: float | None = None
    strain: tuple[str, ...] = ()
    seen: float | None = None
    lags: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether it is online, up and no straggler."""
        return self.status == "online" and self.health == "up" and not self.lags


def with_stragglers(rows: Sequence[Row]) -> list[Row]:
    """The rows, each with why it lags; the stragglers first, then by name."""
    usual = _usual(rows)
    found = [replace(row, lags=tuple(_lags(row, usual))) for row in rows]
    return sorted(found, key=lambda row: (row.is_well, not row.lags, row.device))


def _usual(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """Group and model → the version that most of its devices serve; of equals the newer."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        for name, model in row.models.items():
            if model.installed is not None and is_version(model.installed):
                for group in row.groups or ("",):
                    counts.setdefault((group, name), Counter())[model.installed] += 1
    return {
        key: max(found, key=lambda version: (found[version], order(version))) for key, found in counts.items()
    }


def _lags(row: Row, usual: Mapping[tuple[str, str], str]) -> Iterable[str]:
    if row.status == "offline":
        yield f"offline since {_time(row.seen)}" if row.seen is not None else "offline"
    elif row.status is None:
        yield "never seen" if row.health is None and not row.models else "says neither online nor offline"
    for name, model in row.models.items():
        newest = [usual[group, name] for group in row.groups or ("",) if (group, name) in usual]
        best = max(newest, key=order, default=None)
        if model.installed is None and best is not None:
            yield f"{name}: none serves, most have {best}"
        elif model.installed is not None and best is not None:
            is_older = not is_version(model.installed) or order(model.installed) < order(best)
            if is_older:
                yield f"{name} {model.installed}, most have {best}"


def update_words(row: Row, name: str) -> str:
    """How the update of a model stands, in words; empty where there is nothing to say."""
    model = row.models[name]
    if model.waits:
        return str(model.reason)
    if model.state not in (None, "idle", "kept"):
        percent = "" if model.percentage is None else f" {model.percentage:.0f} %"
        return f"{model.state}{percent}".replace("_", " ")
    return "asked" if name in row.waiting else ""


def as_document(row: Row) -> dict[str, Any]:
    """A row for programs."""
    return {
        "device": row.device,
        "groups": list(row.groups),
        "status": row.status,
        "health": row.health,
        "reasons": list(row.reasons),
        "seen": None if row.seen is None else _time(row.seen),
        "models": {
            name: {
                "version": model.installed,
                "latest": model.latest,
                "state": model.state,
                "percentage": model.percentage,
                "reason": model.reason,
                "asked": name in row.waiting,
            }
            for name, model in row.models.items()
        },
        "power_w": row.power_w,
        "power_estimated": row.estimated if row.power_w is not None else None,
        "temperature_c": row.temperature_c,
        "strain": list(row.strain),
        "straggler": list(row.lags),
    }


def as_csv(rows: Iterable[Row]) -> str:
    """A table for spreadsheets (RFC 4180): a line for each model of each device."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in rows:
        for name in row.models or ("",):
            model = row.models.get(name, ModelWord())
            writer.writerow(
                [
                    row.device,
                    _cell(" ".join(row.groups)),
                    row.status or "",
                    row.health or "",
                    _cell("; ".join(row.reasons)),
                    "" if row.seen is None else _time(row.seen),
                    _cell(name),
                    _cell(model.installed or ""),
                    _cell(update_words(row, name) if name in row.models else ""),
                    _cell(model.reason or ""),
                    "" if row.power_w is None else f"{row.power_w:.2f}",
                    "" if row.temperature_c is None else f"{row.temperature_c:.1f}",
                    _cell("; ".join(row.strain)),
                    _cell("; ".join(row.lags)),
                ]
            )
    return out.getvalue()


def _cell(text: str) -> str:
    """What a device wrote is no formula: spreadsheets run what begins like one."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _time(seconds: float) -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds))
