"""The documents of PROTOCOL §1 as ``edge-agent watch`` reads them, whatever else is published there. Pure.

A field of another kind is unknown, and a payload that is no object says nothing. Text is cut, and stripped of
what could move a terminal's cursor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_agent.link.envelope import decode_json
from edge_agent.link.expiry import parse_rfc3339

STATUSES = ("up", "degraded", "down")
LONGEST_NAME = 64
MOST_MODELS = 32
LARGEST_PAYLOAD_BYTES = 65_536
_MOST_REASONS = 8
_LONGEST_TEXT = 200
_LARGEST_NUMBER = 1e12


@dataclass(frozen=True, slots=True)
class ModelPicture:
    """A model of a device; None is unknown.

    Attributes:
        version: that serves.
        state: as ``health`` says: ``serving``, ``failed``.
        latest: a newer version that is offered.
        updating: an update is in progress.
    """

    version: str | None = None
    state: str | None = None
    latest: str | None = None
    updating: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """What is shown of ``health``."""

    status: str | None = None
    reasons: tuple[str, ...] = ()
    time: float | None = None
    models: Mapping[str, ModelPicture] = field(default_factory=dict)
    per_minute: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    queue: int | None = None
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True)
class Info:
    """What is shown of ``info``."""

    agent: str | None = None
    board: str | None = None
    models: Mapping[str, ModelPicture] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Power:
    """What is shown of ``power``."""

    power_w: float | None = None
    estimated: bool = False
    temperature_c: float | None = None
    under_voltage: bool | None = None
    throttled: bool | None = None
    battery_percent: float | None = None


def read_health(document: Mapping[str, Any]) -> Health:
    """Reads ``health``."""
    inference, system = _part(document, "inference"), _part(document, "system")
    reasons = document.get("reasons")
    queue = _number(inference, "queue")
    status = document.get("status")
    return Health(
        status=status if isinstance(status, str) and status in STATUSES else None,
        reasons=tuple(plain_line(reason) for reason in reasons[:_MOST_REASONS] if isinstance(reason, str))
        if isinstance(reasons, list)
        else (),
        time=_time(document),
        models={
            name: ModelPicture(_name(model, "version"), _name(model, "state"))
            for name, model in _models(document)
        },
        per_minute=_number(inference, "per_minute"),
        p50_ms=_number(inference, "p50_ms"),
        p99_ms=_number(inference, "p99_ms"),
        queue=None if queue is None else int(queue),
        temperature_c=_number(system, "temperature_c"),
    )


def read_info(document: Mapping[str, Any]) -> Info:
    """Reads ``info``."""
    return Info(
        agent=_name(document, "agent"),
        board=_name(document, "board"),
        models={name: ModelPicture(_name(model, "version")) for name, model in _models(document)},
    )


def read_power(document: Mapping[str, Any]) -> Power:
    """Reads ``power``."""
    return Power(
        power_w=_number(document, "power_w"),
        estimated=document.get("quality") == "estimated",
        temperature_c=_number(document, "temperature_c"),
        under_voltage=_truth(document, "under_voltage"),
        throttled=_truth(document, "throttled"),
        battery_percent=_number(document, "battery_percent"),
    )


def read_update(document: Mapping[str, Any]) -> ModelPicture:
    """Reads ``model/<name>``."""
    installed, latest = _name(document, "installed_version"), _name(document, "latest_version")
    return ModelPicture(
        version=installed,
        latest=latest if latest != installed else None,
        updating=document.get("in_progress") is True,
    )


def read_object(payload: bytes) -> Mapping[str, Any]:
    """The payload's object; an empty one where it is none, or far too large."""
    if len(payload) > LARGEST_PAYLOAD_BYTES:
        return {}
    try:
        document = decode_json(payload.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = document.get(key)
    return part if isinstance(part, dict) else {}


def _models(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    models = list(_part(document, "models").items())[:MOST_MODELS]
    return [(plain_line(name, LONGEST_NAME), model) for name, model in models if isinstance(model, dict)]


def _number(document: Mapping[str, Any], key: str) -> float | None:
    """A number that can be shown: no truth value, and neither infinite nor absurd."""
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= _LARGEST_NUMBER else None


def _truth(document: Mapping[str, Any], key: str) -> bool | None:
    value = document.get(key)
    return value if isinstance(value, bool) else None


def _name(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    return plain_line(value, LONGEST_NAME) if isinstance(value, str) and value else None


def _time(document: Mapping[str, Any]) -> float | None:
    value = document.get("time")
    try:
        return parse_rfc3339(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def plain_line(text: str, longest: int = _LONGEST_TEXT) -> str:
    """One line that a terminal prints as it stands: no control characters, no change of direction."""
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:longest])
    return plain if len(text) <= longest else plain[:-1] + "…"
