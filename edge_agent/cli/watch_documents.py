"""The documents of PROTOCOL §1 as ``edge-agent watch`` reads them, whatever else is published there. Pure.

How a field is read, and what is unknown, is :mod:`edge_agent.link.documents`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_agent.link.documents import LONGEST_NAME, name_in, number_in, part_in, plain_line, time_in, truth_in

STATUSES = ("up", "degraded", "down")
MOST_MODELS = 32
_MOST_REASONS = 8


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
    inference, system = part_in(document, "inference"), part_in(document, "system")
    reasons = document.get("reasons")
    queue = number_in(inference, "queue")
    status = document.get("status")
    return Health(
        status=status if isinstance(status, str) and status in STATUSES else None,
        reasons=tuple(plain_line(reason) for reason in reasons[:_MOST_REASONS] if isinstance(reason, str))
        if isinstance(reasons, list)
        else (),
        time=time_in(document),
        models={
            name: ModelPicture(name_in(model, "version"), name_in(model, "state"))
            for name, model in _models(document)
        },
        per_minute=number_in(inference, "per_minute"),
        p50_ms=number_in(inference, "p50_ms"),
        p99_ms=number_in(inference, "p99_ms"),
        queue=None if queue is None else int(queue),
        temperature_c=number_in(system, "temperature_c"),
    )


def read_info(document: Mapping[str, Any]) -> Info:
    """Reads ``info``."""
    return Info(
        agent=name_in(document, "agent"),
        board=name_in(document, "board"),
        models={name: ModelPicture(name_in(model, "version")) for name, model in _models(document)},
    )


def read_power(document: Mapping[str, Any]) -> Power:
    """Reads ``power``."""
    return Power(
        power_w=number_in(document, "power_w"),
        estimated=document.get("quality") == "estimated",
        temperature_c=number_in(document, "temperature_c"),
        under_voltage=truth_in(document, "under_voltage"),
        throttled=truth_in(document, "throttled"),
        battery_percent=number_in(document, "battery_percent"),
    )


def read_update(document: Mapping[str, Any]) -> ModelPicture:
    """Reads ``model/<name>``."""
    installed, latest = name_in(document, "installed_version"), name_in(document, "latest_version")
    return ModelPicture(
        version=installed,
        latest=latest if latest != installed else None,
        updating=document.get("in_progress") is True,
    )


def _models(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    models = list(part_in(document, "models").items())[:MOST_MODELS]
    return [(plain_line(name, LONGEST_NAME), model) for name, model in models if isinstance(model, dict)]
