"""The documents of a simulated device: shaped and sized as those of a real one (PROTOCOL §1). Pure.

A test compares their keys with those of a real daemon's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from edge_agent import __version__
from edge_agent.link.envelope import encode_json
from edge_agent.link.expiry import rfc3339
from edge_agent.update.slots import Record

_PROTOCOL_VERSION = 1
OPERATIONS = ("model-rollback", "model-update")


def digest_of(model: str, version: str) -> str:
    """What stands for the digest of a bundle that does not exist."""
    return f"sha256:{sha256(f'{model} {version}'.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What is alike on all simulated devices.

    Attributes:
        model: name of the one model that each has.
        settings: of a real device, as ``info`` tells them; sections by name.
        group: told as the channel that the device follows.
    """

    model: str
    settings: Mapping[str, Mapping[str, Any]]
    group: str = "default"

    def of(self, device: str) -> dict[str, Any]:
        """The settings of one device."""
        own: dict[str, Any] = dict(self.settings)
        own["device"] = {**own.get("device", {}), "id": device}
        own["updates"] = {**own.get("updates", {}), "channel": self.group}
        return own


def render_health(
    record: Record, *, wall: float, uptime: float, connected: float, connections: int, resumed: bool
) -> bytes:
    """``health`` of a device at rest.

    Args:
        record: of its model.
        wall: seconds since the epoch.
        uptime: seconds since its start.
        connected: seconds since it connected.
        connections: so far.
        resumed: whether the broker kept its session.
    """
    version = record.serving.version if record.serving else None
    models = {record.name: {"version": version, "state": "serving", "last_ok_age_s": 3.1}}
    return encode_json(
        {
            "status": "up",
            "reasons": [],
            "time": rfc3339(wall),
            "clock_synced": True,
            "boot_id": "00000000-0000-4000-8000-000000000000",
            "uptime_s": int(uptime),
            "pid": 412,
            "models": models,
            "inference": {
                "answered": 0,
                "per_minute": 0.0,
                "p50_ms": None,
                "p99_ms": None,
                "queue": 0,
                "stages": {},
            },
            "progress": {"worker_busy_s": 0.0, "sampler_age_s": 0.4},
            "errors": {},
            "dropped": {},
            "mqtt": {
                "connected_s": int(connected),
                "reconnects": max(0, connections - 1),
                "protocol": 5,
                "session_resumed": resumed,
            },
            "system": {
                "cpu_percent": 1.0,
                "memory_rss_mb": 74.9,
                "memory_available_mb": 301.5,
                "disk_free_mb": 5120.4,
                "temperature_c": 51.2,
            },
            "last_error": None,
        }
    )


def render_model(record: Record, latest: str | None) -> bytes:
    """``model/<name>``."""
    version = record.serving.version if record.serving else None
    return encode_json(
        {
            "installed_version": version,
            "latest_version": latest or version,
            "in_progress": not record.is_at_rest,
            "update_percentage": None,
            "state": record.state.value,
            "reason": None if record.reason is None else in_words(record),
        }
    )


def in_words(record: Record) -> str:
    """Why an update ended as it did: the name of the reason first."""
    assert record.reason is not None
    return f"{record.reason.value}: {record.detail}" if record.detail else record.reason.value


def render_info(identity: Identity, device: str, record: Record) -> bytes:
    """``info``."""
    models = {}
    if record.serving is not None:
        models[record.name] = {
            "version": record.serving.version,
            "task": "intent",
            "languages": ["en", "es"],
            "digest": record.serving.digest,
        }
    return encode_json(
        {
            "agent": __version__,
            "protocol": _PROTOCOL_VERSION,
            "runtime": None,
            "python": "3.11.2",
            "board": "simulated",
            "os": "none",
            "models": models,
            "operations": list(OPERATIONS),
            "sensors": {
                "power": ["estimate (board-input, estimated)"],
                "supply": [],
                "batteries": [],
                "shunts_ohm": {},
            },
            "settings": identity.of(device),
        }
    )


def render_power(wall: float) -> bytes:
    """``power`` of a device whose power is estimated."""
    return encode_json(
        {
            "time": rfc3339(wall),
            "power_w": 3.011,
            "energy_j": None,
            "source": "estimate",
            "scope": "board-input",
            "quality": "estimated",
            "rails": {},
            "energy_per_answer_mj": None,
            "energy_window_s": 0.0,
            "under_voltage": None,
            "under_voltage_since_boot": None,
            "throttled": None,
            "temperature_c": 51.2,
            "battery_percent": None,
        }
    )
