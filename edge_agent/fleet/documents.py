"""What devices say of themselves (PROTOCOL §1), as an operator reads it, whatever else is published. Pure.

A field of another kind is unknown, a payload that is no object says nothing, and text is one short line
that cannot move a terminal's cursor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge_agent.link.commands import MAX_STATE_BYTES, Status
from edge_agent.link.envelope import decode_json
from edge_agent.link.expiry import parse_rfc3339

LONGEST_TEXT: Final = 200
_DEVICE: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_LONGEST_NAME: Final = 64
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
        installed=_text(document, "installed_version", _LONGEST_NAME),
        latest=_text(document, "latest_version", _LONGEST_NAME),
        state=_text(document, "state", _LONGEST_NAME),
        percentage=_percentage(document.get("update_percentage")),
        reason=_text(document, "reason"),
        updating=document.get("in_progress") is True,
    )


def read_command(payload: bytes) -> CommandWord | None:
    """Reads ``cmd/<op>/<id>``; None where it was cleared or is none."""
    document = read_object(payload)
    try:
        status = Status(document.get("status"))
    except ValueError:
        return None
    return CommandWord(status, _text(document, "reason"), _text(document, "name", _LONGEST_NAME))


def read_group(payload: bytes) -> str | None:
    """The device's group, as ``updates.channel`` of its settings in ``info``."""
    settings = read_object(payload).get("settings")
    updates = settings.get("updates") if isinstance(settings, dict) else None
    return _text(updates, "channel", _LONGEST_NAME) if isinstance(updates, dict) else None


def read_time(payload: bytes) -> float | None:
    """When ``health`` was written, seconds since the epoch."""
    value = read_object(payload).get("time")
    try:
        return parse_rfc3339(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def read_object(payload: bytes) -> Mapping[str, Any]:
    """The payload's object; an empty one where it is none, or far too large."""
    if len(payload) > MAX_STATE_BYTES:
        return {}
    try:
        document = decode_json(payload.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def plain_line(text: str, longest: int = LONGEST_TEXT) -> str:
    """One line that a terminal prints as it stands: no control characters, no change of direction."""
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:longest])
    return plain if len(text) <= longest else plain[:-1] + "…"


def _percentage(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 100 else None


def _text(document: Mapping[str, Any], key: str, longest: int = LONGEST_TEXT) -> str | None:
    value = document.get(key)
    return plain_line(value, longest) if isinstance(value, str) and value else None
