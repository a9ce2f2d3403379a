"""What several sources say of the supply, as one: what any says holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

from edge_agent.telemetry.reading import SupplyReading

_VALUES = ("supply_v", "supply_a", "supply_max_ma")
_FLAGS = tuple(field.name for field in fields(SupplyReading) if field.name not in _VALUES)


def merge_supply(readings: Sequence[SupplyReading]) -> SupplyReading:
    """One reading of all: true where one says so, false where one denies it, else unknown.

    Volts and amperes are those of the first that knows them.
    """
    if len(readings) == 1:
        return readings[0]
    flags = {name: _any_of(getattr(reading, name) for reading in readings) for name in _FLAGS}
    return SupplyReading(
        **flags,
        supply_v=next((r.supply_v for r in readings if r.supply_v is not None), None),
        supply_a=next((r.supply_a for r in readings if r.supply_a is not None), None),
        supply_max_ma=next((r.supply_max_ma for r in readings if r.supply_max_ma is not None), None),
    )


def _any_of(values: Iterable[bool | None]) -> bool | None:
    known = [value for value in values if value is not None]
    return any(known) if known else None
