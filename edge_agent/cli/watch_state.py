"""What ``edge-agent watch`` knows of all devices, by what their topics said last. Pure.

What is kept is bounded by the number of devices, and that number, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from typing import Any

from edge_agent.cli.watch_documents import (
    MOST_MODELS,
    Health,
    Info,
    ModelPicture,
    Power,
    read_health,
    read_info,
    read_power,
    read_update,
)
from edge_agent.link.documents import LARGEST_BYTES, LONGEST_NAME, plain_line, read_object
from edge_agent.link.expiry import rfc3339

MOST_DEVICES = 10_000
MOST_COUNTED = 1_000_000
"""Of those beyond only the ids are kept, to tell how many they are."""
_FUTURE_SECONDS = 60.0


class Wellness(IntEnum):
    """How well a device is, the worst first."""

    OFFLINE = 0
    DOWN = 1
    DEGRADED = 2
    UNKNOWN = 3
    UP = 4

    @property
    def word(self) -> str:
        """As people read it."""
        return self.name.lower()


_BY_WORD = {"up": Wellness.UP, "degraded": Wellness.DEGRADED, "down": Wellness.DOWN}


@dataclass(frozen=True, slots=True)
class Picture:
    """A device as it is shown; None is unknown.

    Attributes:
        device: its id.
        status: ``online`` or ``offline``.
        health: ``up``, ``degraded`` or ``down``.
        reasons: why it is not up, as it says.
        models: by name.
        estimated: the watts are reckoned, not measured.
        seen: when it last said something, seconds since the epoch.
    """

    device: str
    status: str | None
    health: str | None
    reasons: tuple[str, ...]
    models: Mapping[str, ModelPicture]
    per_minute: float | None
    p50_ms: float | None
    p99_ms: float | None
    queue: int | None
    power_w: float | None
    estimated: bool
    temperature_c: float | None
    under_voltage: bool | None
    throttled: bool | None
    battery_percent: float | None
    agent: str | None
    board: str | None
    seen: float | None

    @property
    def wellness(self) -> Wellness:
        """What of it all decides where it stands in the list."""
        if self.status == "offline":
            return Wellness.OFFLINE
        return _BY_WORD.get(self.health or "", Wellness.UNKNOWN)

    @property
    def as_json(self) -> dict[str, Any]:
        """For programs."""
        document = asdict(self)
        document["seen"] = None if self.seen is None else rfc3339(self.seen)
        return document


@dataclass(frozen=True, slots=True)
class _Known:
    """What the topics of one device said last."""

    status: str | None = None
    health: Health = field(default_factory=Health)
    info: Info = field(default_factory=Info)
    power: Power = field(default_factory=Power)
    models: Mapping[str, ModelPicture] = field(default_factory=dict)
    seen: float | None = None

    @property
    def is_empty(self) -> bool:
        return replace(self, seen=None, power=Power()) == _Known()


class Devices:
    """All devices below one base topic.

    Args:
        base: the base topic.

    Attributes:
        left_out: ids of devices beyond :data:`MOST_DEVICES`; at most :data:`MOST_COUNTED` of them.
    """

    def __init__(self, base: str) -> None:
        self.left_out: set[str] = set()
        self._base = base
        self._known: dict[str, _Known] = {}
        self._pictures: dict[str, Picture] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, device: object) -> bool:
        return device in self._known

    @property
    def ignored(self) -> bool:
        """Whether devices beyond :data:`MOST_DEVICES` were heard, which are not kept."""
        return bool(self.left_out)

    def hear(self, topic: str, payload: bytes, *, retained: bool, now: float) -> str | None:
        """Takes a message.

        Args:
            topic: any; those that are not of a device's state are ignored.
            payload: any bytes; empty ones take back what was retained.
            retained: it was said before, at a time that only ``health`` tells.
            now: seconds since the epoch.

        Returns:
            The device of which something is known now that was not, or None.
        """
        levels = topic[len(self._base) + 1 :].split("/") if topic.startswith(f"{self._base}/") else []
        if len(levels) < 2 or not levels[0] or len(levels) > 3:
            return None
        device = plain_line(levels[0], LONGEST_NAME)
        before = self._known.get(device)
        if before is None and len(self._known) >= MOST_DEVICES:
            if payload and len(self.left_out) < MOST_COUNTED:
                self.left_out.add(device)
            return None
        after = _hear(before or _Known(), levels[1:], payload[: LARGEST_BYTES + 1])
        if after is None:
            return None
        if after.is_empty:
            self._known.pop(device, None)
            return device if self._pictures.pop(device, None) is not None else None
        said = after.health.time if levels[1] == "health" and retained else None
        if not retained and payload:
            seen: float | None = now
        else:
            seen = said if said is not None and 0 < said < now + _FUTURE_SECONDS else after.seen
        picture, last = _picture(device, replace(after, seen=seen)), self._pictures.get(device)
        self._known[device], self._pictures[device] = replace(after, seen=seen), picture
        return None if last is not None and replace(last, seen=seen) == picture else device  # time is no news

    def picture(self, device: str) -> Picture:
        """A device of which something is known.

        Raises:
            KeyError: nothing is.
        """
        return self._pictures[device]

    def pictures(self) -> list[Picture]:
        """All of them: the worst first, then by name."""
        return sorted(self._pictures.values(), key=lambda picture: (picture.wellness, picture.device))


def _hear(known: _Known, levels: list[str], payload: bytes) -> _Known | None:
    """What is known with one more payload; None where the topic is none of ours."""
    match levels:
        case ["status"]:
            word = payload.decode("utf-8", "replace")
            return replace(known, status=word if word in ("online", "offline") else None)
        case ["health"]:
            return replace(known, health=read_health(read_object(payload)))
        case ["info"]:
            return replace(known, info=read_info(read_object(payload)))
        case ["power"]:
            return replace(known, power=read_power(read_object(payload)))
        case ["model", name] if name:
            return replace(known, models=_with_model(known.models, name, payload))
    return None


def _with_model(models: Mapping[str, ModelPicture], name: str, payload: bytes) -> Mapping[str, ModelPicture]:
    """The update state of one more model; an empty payload takes it back."""
    name = plain_line(name, LONGEST_NAME)
    others = {key: value for key, value in models.items() if key != name}
    if not payload or len(others) >= MOST_MODELS:
        return others
    return others | {name: read_update(read_object(payload))}


def _picture(device: str, known: _Known) -> Picture:
    health, info, power = known.health, known.info, known.power
    measured = power.temperature_c
    return Picture(
        device=device,
        status=known.status,
        health=health.status,
        reasons=health.reasons,
        models=_merged(known),
        per_minute=health.per_minute,
        p50_ms=health.p50_ms,
        p99_ms=health.p99_ms,
        queue=health.queue,
        power_w=power.power_w,
        estimated=power.estimated,
        temperature_c=health.temperature_c if measured is None else measured,
        under_voltage=power.under_voltage,
        throttled=power.throttled,
        battery_percent=power.battery_percent,
        agent=info.agent,
        board=info.board,
        seen=known.seen,
    )


def _merged(known: _Known) -> Mapping[str, ModelPicture]:
    """What three topics say of the models: ``health`` has the last word on the version."""
    merged: dict[str, ModelPicture] = {}
    for name in sorted({*known.health.models, *known.info.models, *known.models})[:MOST_MODELS]:
        health = known.health.models.get(name, ModelPicture())
        info = known.info.models.get(name, ModelPicture())
        update = known.models.get(name, ModelPicture())
        merged[name] = replace(
            update, version=health.version or info.version or update.version, state=health.state
        )
    return merged
