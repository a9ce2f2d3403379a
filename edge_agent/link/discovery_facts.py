"""What Home Assistant's entities are made of, and how one is written. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.link.topics import Topics

_MAX_NAME_CHARACTERS = 128
_NOT_PRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as Home Assistant needs to know it; ``task`` is ``intent``, ``classify`` or ``embed``."""

    name: str
    task: str


@dataclass(frozen=True, slots=True)
class Sensors:
    """Which figures ``power`` has on this board."""

    power: bool = False
    energy: bool = False
    temperature: bool = False
    under_voltage: bool = False
    throttled: bool = False
    battery: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the announcement is made of.

    Attributes:
        topics: of the device.
        agent_version: of this program.
        board: the board's name, as ``info`` has it.
        name: of the device in Home Assistant; None for one made of its id.
        area: that Home Assistant shall suggest.
        models: served, in a steady order.
        sensors: of the board.
        operations: names of the commands that the device knows.
        last_answer: whether the label and confidence of the last answer are entities.
        telemetry_interval_seconds: between two ``power`` messages.
    """

    topics: Topics
    agent_version: str
    board: str
    name: str | None = None
    area: str | None = None
    models: Sequence[ServedModel] = ()
    sensors: Sensors = field(default_factory=Sensors)
    operations: Sequence[str] = ()
    last_answer: bool = False
    telemetry_interval_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Component:
    """One entity: its key in the announcement, and its options."""

    key: str
    options: Mapping[str, Any]


def plain(text: str) -> str:
    """A name without control characters and half characters, cut to a length that a page can show."""
    return _NOT_PRINTED.sub("", text)[:_MAX_NAME_CHARACTERS].strip()


def entity(facts: Facts, key: str, platform: str, **options: Any) -> Component:
    """One entity; its unique id is made of the device's id and the key, and never changes."""
    unique = f"{facts.topics.device}.{key}"
    return Component(key, {"platform": platform, "unique_id": unique, **options})
