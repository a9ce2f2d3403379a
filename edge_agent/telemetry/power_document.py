"""The document ``power`` of PROTOCOL §1. Pure: what the sensors said in, JSON out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from edge_agent.telemetry.reading import BatteryReading
from edge_agent.telemetry.snapshot import Snapshot

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def render_power(snapshot: Snapshot, time: str) -> bytes:
    """The document as compact UTF-8 JSON; what is unknown is null.

    Args:
        snapshot: what the sensors said last.
        time: now, as RFC 3339 writes it.
    """
    return _ENCODER.encode(power_document(snapshot, time)).encode("utf-8")


def power_document(snapshot: Snapshot, time: str) -> dict[str, Any]:
    """The document as a JSON object; watts to the milliwatt, joules to a tenth.

    ``energy_window_s`` is told wherever power is measured, so that one sees why joules per answer are not.
    """
    power = snapshot.power
    per_answer = None if power is None else power.per_answer
    return {
        "time": time,
        "power_w": None if power is None else _rounded(power.power_w, 3),
        "energy_j": None if power is None else _rounded(power.energy_j, 1),
        "source": None if power is None else power.source,
        "scope": None if power is None else power.scope.value,
        "quality": None if power is None else power.quality.value,
        "rails": {} if power is None else {name: _rounded(watts, 3) for name, watts in power.rails.items()},
        "energy_per_answer_mj": None if per_answer is None else _significant(per_answer.energy_mj),
        "energy_window_s": None if per_answer is None else _rounded(per_answer.window_seconds, 1),
        "under_voltage": snapshot.latch.now,
        "under_voltage_since_boot": snapshot.latch.since_boot,
        "throttled": snapshot.supply.throttled,
        "temperature_c": _rounded(snapshot.board.temperature_c, 1),
        "battery_percent": _lowest_percent(snapshot.batteries),
    }


def _lowest_percent(batteries: Mapping[str, BatteryReading]) -> float | None:
    """Of several batteries, the one that ends first."""
    known = [reading.percent for reading in batteries.values() if reading.percent is not None]
    return _rounded(min(known), 1) if known else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def _significant(value: float | None) -> float | None:
    """To three digits that count: the sensors do not know more."""
    return None if value is None else float(f"{value:.3g}")
