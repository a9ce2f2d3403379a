"""The device as Home Assistant finds it: one retained message in its device discovery format. Pure.

Home Assistant reads ``<prefix>/device/<object id>/config``; the object id is the device's id, because a
device may write no other discovery topic (``deploy/mosquitto/acl``). An empty payload removes the device with
all its entities. Entities stand in :mod:`edge_agent.link.discovery_entities`.

Only the device format is spoken. This program never announced single entities, so there is none to migrate.

What is not there any more (a model, a sensor) must be said: a component that is left out of a later message
stays in Home Assistant. It is published with its ``platform`` alone. Home Assistant's documentation then
leaves it out; here it stays as long as it is remembered, for Home Assistant may have been off the broker just
then, and an entry that it does not know costs it nothing.

Two messages at once are one too many: Home Assistant 2025.2 drops what follows the first component that it is
still busy with (``async_discovery_message_received``). Who publishes waits until facts have settled.

Sources: Home Assistant 2025.2, ``components/mqtt/schemas.py`` (``DEVICE_DISCOVERY_SCHEMA``) and
``components/mqtt/discovery.py``; its MQTT page, "Device discovery payload", "Birth and last will messages".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_agent.link.discovery_entities import components
from edge_agent.link.discovery_facts import Component, Facts, Sensors, ServedModel, plain
from edge_agent.link.envelope import encode_json

__all__ = [
    "BIRTH_TOPIC",
    "MAX_DISCOVERY_BYTES",
    "Announced",
    "Facts",
    "Plan",
    "Sensors",
    "ServedModel",
    "announced_from",
    "birth_delay_seconds",
    "discovery_message",
    "discovery_topic",
    "is_birth",
    "plan",
    "removal_message",
]

BIRTH_TOPIC = "homeassistant/status"
"""Where Home Assistant says that it is there; it is so by default, whatever the discovery prefix."""

MAX_DISCOVERY_BYTES = 64_000
_MAX_GONE = 64
_GONE_BYTES = 9_000
_KEY = re.compile(r"[a-z0-9_-]{1,80}")
_PLATFORM = re.compile(r"[a-z_]{1,32}")
_BIRTH_LEAST_SECONDS, _BIRTH_MOST_SECONDS = 1.0, 10.0
_MANUFACTURER = "edge-agent"


@dataclass(frozen=True, slots=True)
class Announced:
    """What Home Assistant was told and may still know; kept on disk, so that it can be taken back.

    Attributes:
        topic: where it was told.
        components: platform by component, of all that were announced there and not forgotten since.
    """

    topic: str
    components: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """For a file; :func:`announced_from` reads it."""
        return encode_json({"topic": self.topic, "components": dict(self.components)})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do so that Home Assistant knows what is so.

    Attributes:
        messages: topic and payload of what is to be published, retained, at QoS 1, in this order.
        announced: what is to be on disk before that; None for nothing.
        left_out: components that the message had no room for.
    """

    messages: tuple[tuple[str, bytes], ...]
    announced: Announced | None
    left_out: tuple[str, ...] = ()


def discovery_topic(prefix: str, device: str) -> str:
    """Where a device is announced."""
    return f"{prefix}/device/{device}/config"


def removal_message() -> bytes:
    """What, retained on the discovery topic, removes the device; it clears the retained message as well."""
    return b""


def discovery_message(facts: Facts, gone: Mapping[str, str] | None = None) -> bytes:
    """The announcement, at most :data:`MAX_DISCOVERY_BYTES`; models that it has no room for are left out.

    Args:
        facts: what is so.
        gone: platform by component, of what was announced once and is no more.
    """
    return _render(facts, gone or {})[0]


def plan(prefix: str, facts: Facts | None, before: Announced | None) -> Plan:
    """What to publish, and to remember, at each connection and when facts change.

    Args:
        prefix: Home Assistant's discovery prefix.
        facts: what is so; None when the device is not to be found.
        before: what was announced, by this process or an earlier one.
    """
    if facts is None:
        messages = ((before.topic, removal_message()),) if before else ()
        return Plan(messages, None)
    topic = discovery_topic(prefix, facts.topics.device)
    moved = before is not None and before.topic != topic
    known = dict(before.components) if before and not moved else {}
    payload, told, left_out = _render(facts, known)
    messages = ((before.topic, removal_message()),) if before and moved else ()
    return Plan((*messages, (topic, payload)), Announced(topic, told), left_out)


def announced_from(content: bytes) -> Announced | None:
    """What :meth:`Announced.to_bytes` wrote; None for anything else, since a torn file must not stop us."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    topic, told = document.get("topic"), document.get("components")
    if not isinstance(topic, str) or not topic or not isinstance(told, dict):
        return None
    if not all(_KEY.fullmatch(key) and _is_platform(platform) for key, platform in told.items()):
        return None
    return Announced(topic, told)


def is_birth(topic: str, payload: bytes) -> bool:
    """Whether a message says that Home Assistant has started: publish discovery and state again."""
    return topic == BIRTH_TOPIC and payload == b"online"


def birth_delay_seconds(fraction: float) -> float:
    """How long to wait after that, so that a house full of devices does not answer at once.

    Args:
        fraction: a random number from 0 to 1.

    Returns:
        1 to 10 seconds.
    """
    return _BIRTH_LEAST_SECONDS + fraction * (_BIRTH_MOST_SECONDS - _BIRTH_LEAST_SECONDS)


def _is_platform(value: object) -> bool:
    return isinstance(value, str) and _PLATFORM.fullmatch(value) is not None


def _render(facts: Facts, known: Mapping[str, str]) -> tuple[bytes, dict[str, str], tuple[str, ...]]:
    """The payload, platform by component of all in it, and the components that are left out."""
    wanted = components(facts)
    kept = _fitting(wanted, MAX_DISCOVERY_BYTES - _GONE_BYTES - len(encode_json(_document(facts, [], {}))))
    platforms = {one.key: str(one.options["platform"]) for one in kept}
    gone = {key: platform for key, platform in known.items() if key not in platforms}
    # Those known longest are forgotten first.
    gone = dict(list(gone.items())[-_MAX_GONE:])
    payload = encode_json(_document(facts, kept, gone))
    return payload, {**gone, **platforms}, tuple(one.key for one in wanted[len(kept) :])


def _fitting(wanted: list[Component], room_bytes: int) -> list[Component]:
    """As many from the first as there is room for."""
    kept: list[Component] = []
    for one in wanted:
        room_bytes -= len(encode_json({one.key: dict(one.options)}))
        if room_bytes < 0:
            break
        kept.append(one)
    return kept


def _document(facts: Facts, kept: list[Component], gone: Mapping[str, str]) -> dict[str, Any]:
    device: dict[str, Any] = {
        "identifiers": [f"edge-agent_{facts.topics.device}"],
        "name": plain(facts.name or "") or f"Edge agent {facts.topics.device}",
        "manufacturer": _MANUFACTURER,
        "model": plain(facts.board) or None,
        "sw_version": plain(facts.agent_version),
        "suggested_area": plain(facts.area or "") or None,
    }
    return {
        "device": {key: value for key, value in device.items() if value is not None},
        "origin": {"name": "edge-agent", "sw_version": plain(facts.agent_version)},
        "availability": [
            {"topic": facts.topics.status, "payload_available": "online", "payload_not_available": "offline"}
        ],
        "components": {
            **{one.key: dict(one.options) for one in kept},
            **{key: {"platform": platform} for key, platform in gone.items()},
        },
    }
