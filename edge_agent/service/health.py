"""The documents ``health`` and ``info`` of PROTOCOL §1. Pure: values in, JSON objects out.

``up`` is a proof, not a hope: every model has answered rightly within the last few intervals, and the broker
takes our answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from edge_agent.link.envelope import encode_json
from edge_agent.link.expiry import rfc3339
from edge_agent.link.protocol import LinkStatus
from edge_agent.service.figures import Snapshot
from edge_agent.service.machine import Load
from edge_agent.service.models import Catalogue, Entry
from edge_agent.service.updating.states import Told
from edge_agent.update.slots import State

MAX_HEALTH_BYTES = 4096
PROTOCOL_VERSION = 1
_MAX_REASONS = 8
_MAX_REASON_CHARACTERS = 200


class Status(str, Enum):
    """How well the device is."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


class ModelState(str, Enum):
    """How well a model is."""

    SERVING = "serving"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that health is made of.

    Attributes:
        canary_faults: why models failed their last canary.
        faults: what is broken that the daemon goes on without, in words.
        stale_after_seconds: a model that was not right for so long is not trusted.
        stuck_after_seconds: a worker that is at one thing for so long hangs.
        worker_busy_seconds: how long it has been at what it does now.
        sampler_age_seconds: since the sensors were last looked at; None where nobody looks.
        temperature_c: °C of the processor; None is unknown.
    """

    catalogue: Catalogue
    canary_faults: Mapping[str, str]
    directories: Sequence[str]
    faults: Sequence[str]
    figures: Snapshot
    stale_after_seconds: float
    stuck_after_seconds: float
    worker_busy_seconds: float
    sampler_age_seconds: float | None
    temperature_c: float | None
    queue: int
    link: LinkStatus
    load: Load
    now: float
    clock_synced: bool
    boot_id: str | None
    uptime_seconds: float
    pid: int


def judge(facts: Facts) -> tuple[Status, list[str]]:
    """The status, and in words why it is not ``up``."""
    if not facts.catalogue:
        return Status.DOWN, [f"no model found in {', '.join(facts.directories)}"]
    reasons: list[str] = []
    is_stuck = facts.worker_busy_seconds >= facts.stuck_after_seconds
    if is_stuck:
        reasons.append(f"the worker hangs: it has been at one thing for {facts.worker_busy_seconds:.0f} s")
    working = 0
    for name, entry in facts.catalogue.items():
        if entry.fault is not None:
            reasons.append(entry.fault)
        if entry.served is None:
            continue
        if name in facts.canary_faults:
            reasons.append(facts.canary_faults[name])
            continue
        age = facts.figures.last_ok_age_seconds.get(name)
        if age is None or age > facts.stale_after_seconds:
            reasons.append(f"model {name}: no right answer lately")
            continue
        working += 1
    reasons += facts.faults
    if facts.link.fault is not None:
        hint = f" ({facts.link.hint})" if facts.link.hint else ""
        reasons.append(f"broker: {facts.link.fault}{hint}")
    reasons += [f"broker: {refusal}" for refusal in facts.link.refusals]
    if working == 0 or is_stuck:
        return Status.DOWN, reasons
    return (Status.DEGRADED if reasons else Status.UP), reasons


def render_health(facts: Facts, status: Status, reasons: Sequence[str]) -> bytes:
    """The health document, at most :data:`MAX_HEALTH_BYTES`; the longest lists are cut first.

    Args:
        facts: what it is made of.
        status: by :func:`judge`.
        reasons: likewise.
    """
    document = _document(facts, status, [_cut(reason) for reason in reasons])
    payload = encode_json(document)
    if len(payload) > MAX_HEALTH_BYTES:
        more = len(reasons) - _MAX_REASONS
        document["reasons"] = document["reasons"][:_MAX_REASONS] + ([f"and {more} more"] if more > 0 else [])
        payload = encode_json(document)
    if len(payload) > MAX_HEALTH_BYTES:
        document["models"] = {}
        payload = encode_json(document)
    return payload


def _document(facts: Facts, status: Status, reasons: list[str]) -> dict[str, Any]:
    figures, link, load = facts.figures, facts.link, facts.load
    last, total = figures.last_error, figures.stages.get("total")
    return {
        "status": status.value,
        "reasons": reasons,
        "time": rfc3339(facts.now),
        "clock_synced": facts.clock_synced,
        "boot_id": facts.boot_id,
        "uptime_s": int(facts.uptime_seconds),
        "pid": facts.pid,
        "models": {name: _model(facts, name) for name in facts.catalogue},
        "inference": {
            "answered": figures.answered,
            "per_minute": round(figures.per_minute, 1),
            "p50_ms": None if total is None else round(total.p50_ms, 2),
            "p99_ms": None if total is None else round(total.p99_ms, 2),
            "queue": facts.queue,
            "stages": {
                name: [round(spread.p50_ms, 2), round(spread.p99_ms, 2)]
                for name, spread in figures.stages.items()
                if name != "total"
            },
        },
        "progress": {
            "worker_busy_s": round(facts.worker_busy_seconds, 1),
            "sampler_age_s": None
            if facts.sampler_age_seconds is None
            else round(facts.sampler_age_seconds, 1),
        },
        "errors": figures.errors,
        "dropped": figures.dropped,
        "mqtt": {
            "connected_s": None if link.connected_seconds is None else int(link.connected_seconds),
            "reconnects": max(0, link.connections - 1),
            "protocol": link.protocol,
            "session_resumed": link.session_resumed,
        },
        "system": {
            "cpu_percent": load.cpu_percent,
            "memory_rss_mb": load.memory_rss_mb,
            "memory_available_mb": load.memory_available_mb,
            "disk_free_mb": load.disk_free_mb,
            "temperature_c": facts.temperature_c,
        },
        "last_error": None if last is None else {"event": last.event, "time": rfc3339(last.time)},
    }


def _model(facts: Facts, name: str) -> dict[str, Any]:
    entry = facts.catalogue[name]
    is_well = entry.served is not None and name not in facts.canary_faults
    age = facts.figures.last_ok_age_seconds.get(name)
    return {
        "version": entry.served.version if entry.served else None,
        "state": (ModelState.SERVING if is_well else ModelState.FAILED).value,
        "last_ok_age_s": None if age is None else round(age, 1),
    }


@dataclass(frozen=True, slots=True)
class Identity:
    """What ``info`` says of the program and the machine."""

    version: str
    runtime: str | None
    python: str
    board: str
    os: str
    settings: Mapping[str, Any]
    sensors: Mapping[str, Any] = field(default_factory=dict)


def render_model(entry: Entry, told: Told | None = None) -> bytes:
    """The document ``model/<name>``: what serves, in the words of Home Assistant's update entity.

    Args:
        entry: of the catalogue.
        told: how its latest update stands; None where there was none.
    """
    version = entry.served.version if entry.served else None
    told = told or Told()
    at_rest = State.KEPT if entry.served else State.FAILED
    reason = told.reason or entry.fault
    return encode_json(
        {
            "installed_version": version,
            "latest_version": told.latest or version,
            "in_progress": told.in_progress,
            "update_percentage": told.percentage,
            "state": (at_rest if told.state is State.IDLE else told.state).value,
            "reason": None if reason is None else _cut(reason),
        }
    )


def render_info(identity: Identity, catalogue: Catalogue, operations: Sequence[str]) -> bytes:
    """The info document."""
    return encode_json(
        {
            "agent": identity.version,
            "protocol": PROTOCOL_VERSION,
            "runtime": identity.runtime,
            "python": identity.python,
            "board": identity.board,
            "os": identity.os,
            "models": {
                name: {
                    "version": entry.served.version,
                    "task": entry.served.task.value,
                    "languages": list(entry.served.languages),
                    "digest": entry.served.digest,
                }
                for name, entry in catalogue.items()
                if entry.served is not None
            },
            "operations": list(operations),
            "sensors": identity.sensors,
            "settings": identity.settings,
        }
    )


def _cut(reason: str) -> str:
    short = len(reason) <= _MAX_REASON_CHARACTERS
    return reason if short else reason[: _MAX_REASON_CHARACTERS - 1] + "…"
