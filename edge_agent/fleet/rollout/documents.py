"""What devices say of themselves (PROTOCOL §1), as an operator reads it. Pure.

How a field is read, and what is unknown, is :mod:`edge_agent.link.documents`'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge_agent.link.commands import Status
from edge_agent.link.documents import name_in, number_in, part_in, read_object, text_in, time_in

_DEVICE: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_WAITS: Final = "waits: "
"""How a device's reason begins while it waits (``edge_agent.service.updating.deferral``)."""


@dataclass(frozen=True, slots=True)
class ModelWord:
    """``model/<name>``; None is unknown.

    Attributes:
        installed: the version that serves.
        latest: the version that its update is about.
        state: a value of ``edge_agent.update.slots.State``.
        percentage: of the update, 0 to 100.
        reason: why it ended so, or what it waits for.
        updating: it has not ended.
    """

    installed: str | None = None
    latest: str | None = None
    state: str | None = None
    percentage: float | None = None
    reason: str | None = None
    updating: bool = False

    @property
    def waits(self) -> bool:
        """Whether its update waits for better times, such as a full battery."""
        return self.updating and self.reason is not None and self.reason.startswith(_WAITS)


@dataclass(frozen=True, slots=True)
class CommandWord:
    """What stands on ``cmd/<op>/<id>``.

    Attributes:
        status: of the command.
        reason: why, in words, or None.
        model: that it is about, where it says so.
    """

    status: Status
    reason: str | None = None
    model: str | None = None


def is_device_id(text: str) -> bool:
    """Whether a device may have this id (``[device] id`` of the settings): no other is spoken to or shown."""
    return _DEVICE.fullmatch(text) is not None


def read_model(payload: bytes) -> ModelWord | None:
    """Reads ``model/<name>``; None where it was taken back or says nothing."""
    document = read_object(payload)
    if not document:
        return None
    return ModelWord(
        installed=name_in(document, "installed_version"),
        latest=name_in(document, "latest_version"),
        state=name_in(document, "state"),
        percentage=_percentage(document),
        reason=text_in(document, "reason"),
        updating=document.get("in_progress") is True,
    )


def read_command(payload: bytes) -> CommandWord | None:
    """Reads ``cmd/<op>/<id>``; None where it was cleared or is none."""
    document = read_object(payload)
    try:
        status = Status(document.get("status"))
    except ValueError:
        return None
    return CommandWord(status, text_in(document, "reason"), name_in(document, "name"))


def read_group(payload: bytes) -> str | None:
    """The device's group, as ``updates.channel`` of its settings in ``info``."""
    return name_in(part_in(part_in(read_object(payload), "settings"), "updates"), "channel")


def read_time(payload: bytes) -> float | None:
    """When ``health`` was written, seconds since the epoch."""
    return time_in(read_object(payload))


def _percentage(document: Mapping[str, Any]) -> float | None:
    value = number_in(document, "update_percentage")
    return value if value is not None and 0 <= value <= 100 else None
