"""Commands on the wire (PROTOCOL §1): topics ``cmd/<op>/<id>`` and ``request/<op>``, their payloads. Pure.

A requester publishes ``{"status":"init",…}``, retained; the agent writes the states that follow over it; an
empty payload clears it. Any bytes become an :class:`Ask`, a :class:`Status`, a :class:`Cleared` or a
:class:`CommandFault`, never another exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edge_agent.errors import EdgeAgentError
from edge_agent.link.envelope import decode_json, encode_json
from edge_agent.link.expiry import is_expired, parse_rfc3339, rfc3339

MAX_COMMAND_BYTES = 16_384
"""Of a payload that asks for something."""

MAX_STATE_BYTES = 65_536
"""Of a payload that reports; a result that does not fit is left out."""

MAX_ID_CHARACTERS = 128
MAX_CONTAINERS = 64
_MAX_REASON_CHARACTERS = 500
_MAX_TTL_SECONDS = 366 * 86_400.0
_OURS = re.compile(rb'\{"status":"(executing|successful|failed)"')


class Status(str, Enum):
    """The states of a command, as they stand on the wire."""

    INIT = "init"
    EXECUTING = "executing"
    SUCCESSFUL = "successful"
    FAILED = "failed"


class CommandFault(EdgeAgentError):
    """A payload that asks for nothing that can be understood; the message is the reason to report."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Address:
    """What a topic names: an operation, and the command's id; None on ``request/<op>``."""

    operation: str
    id: str | None


@dataclass(frozen=True, slots=True)
class Ask:
    """What a requester wants.

    Attributes:
        arguments: all keys of the payload but ``status``, ``sent_at``, ``ttl_s`` and ``expires_at``.
        sent_at: when it was sent, seconds since the epoch, or None.
        ttl_seconds: it is not to begin later than this after ``sent_at``, else after receipt; or None.
        expires_at: it is not to begin later than this, seconds since the epoch, or None.
    """

    arguments: Mapping[str, Any]
    sent_at: float | None = None
    ttl_seconds: float | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Cleared:
    """An empty payload: nobody is interested any more."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the agent says of a command; times in seconds since the epoch."""

    status: Status
    reason: str | None = None
    result: Mapping[str, Any] | None = None
    started_at: float | None = None
    ended_at: float | None = None


def command_topic(root: str, operation: str, command_id: str) -> str:
    """Where a command and its states stand."""
    return f"{root}/cmd/{operation}/{command_id}"


def address_of(topic: str, root: str) -> Address | None:
    """What a topic below the device's root names, or None where it names no command."""
    if not topic.startswith(root + "/"):
        return None
    match topic[len(root) + 1 :].split("/"):
        case ["cmd", operation, command_id]:
            return Address(operation, command_id)
        case ["request", operation]:
            return Address(operation, None)
    return None


def parse_command(payload: bytes) -> Ask | Status | Cleared:
    """Reads what stands on ``cmd/<op>/<id>``; a :class:`Status` is the agent's own word, an echo.

    Raises:
        CommandFault: it is none of these.
    """
    if not payload:
        return Cleared()
    ours = _OURS.match(payload)
    if ours is not None:
        return Status(ours[1].decode())
    fields = _object(payload)
    status = fields.get("status")
    if status in (Status.EXECUTING, Status.SUCCESSFUL, Status.FAILED):
        return Status(status)
    if status != Status.INIT:
        raise CommandFault('the payload has no "status":"init"')
    return _ask(fields)


def parse_wish(payload: bytes) -> Ask:
    """Reads what came on ``request/<op>``: a JSON object of arguments; anything else means none."""
    try:
        fields = _object(payload)
    except CommandFault:
        return Ask({})
    return _ask(fields)


def refusal_of(
    ask: Ask, *, now: float, waited_seconds: float, message_expiry_seconds: int | None, clock_synced: bool
) -> str | None:
    """Why an ask comes too late, or None.

    Args:
        ask: with what it says of its own age.
        now: seconds since the epoch.
        waited_seconds: since receipt, by the monotonic clock.
        message_expiry_seconds: MQTT 5's Message Expiry Interval at receipt (section 3.3.2.3.3), or None.
        clock_synced: whether ``now`` may be compared with the requester's clock.
    """
    if clock_synced and ask.expires_at is not None and now >= ask.expires_at:
        return "expired: expires_at is in the past"
    if is_expired(
        ask,
        now=now,
        waited_seconds=waited_seconds,
        message_expiry_seconds=message_expiry_seconds,
        clock_synced=clock_synced,
    ):
        return "expired: its time to live is over"
    return None


def render_report(report: Report, most_bytes: int = MAX_STATE_BYTES) -> bytes:
    """A state as JSON, in at most ``most_bytes``: a result that does not fit is left out, and that said."""
    payload = _render(report, report.result, report.reason)
    if len(payload) > most_bytes and report.result is not None:
        note = f"the result of {len(payload)} bytes is larger than {most_bytes} and left out"
        payload = _render(report, None, f"{report.reason}; {note}" if report.reason else note)
    return payload


def quoted(name: str) -> str:
    """A name that a stranger chose, fit for a message: short and printable."""
    shown = "".join(one if one.isprintable() else "?" for one in name)
    return shown if len(shown) <= 64 else shown[:63] + "…"


def _render(report: Report, result: Mapping[str, Any] | None, reason: str | None) -> bytes:
    return encode_json(
        {
            "status": report.status.value,
            "reason": None if reason is None else reason[:_MAX_REASON_CHARACTERS],
            "result": result,
            "started_at": None if report.started_at is None else rfc3339(report.started_at),
            "ended_at": None if report.ended_at is None else rfc3339(report.ended_at),
        }
    )


def _object(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_COMMAND_BYTES:
        raise CommandFault(f"the payload has more than {MAX_COMMAND_BYTES} bytes")
    # Counted before it is read, since reading recurses. A bracket in a string counts too: 64 are plenty.
    if payload.count(b"{") + payload.count(b"[") > MAX_CONTAINERS:
        raise CommandFault(f"the payload has more than {MAX_CONTAINERS} objects and lists")
    try:
        value = decode_json(payload.decode("utf-8"))
    except ValueError as error:
        raise CommandFault("the payload is not JSON") from error
    if not isinstance(value, dict):
        raise CommandFault("the payload is JSON but not an object")
    try:
        encode_json(value)  # it is kept and sent again: neither half a surrogate pair nor 1e999 can be
    except ValueError as error:
        raise CommandFault("the payload has a value that JSON cannot carry") from error
    return value


def _ask(fields: dict[str, Any]) -> Ask:
    known = ("status", "sent_at", "ttl_s", "expires_at")
    return Ask(
        arguments={key: value for key, value in fields.items() if key not in known},
        sent_at=_time(fields, "sent_at"),
        ttl_seconds=_ttl(fields.get("ttl_s")),
        expires_at=_time(fields, "expires_at"),
    )


def _time(fields: Mapping[str, Any], key: str) -> float | None:
    value = fields.get(key)
    if value is None:
        return None
    try:
        if not isinstance(value, str) or len(value) > 64:
            raise ValueError("not a time")
        return parse_rfc3339(value)
    except ValueError as error:
        raise CommandFault(f"{key} is not a time as RFC 3339 writes it") from error


def _ttl(value: Any) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= _MAX_TTL_SECONDS:  # NaN and infinity neither
        raise CommandFault(f"ttl_s is not a number of seconds from 0 to {_MAX_TTL_SECONDS:.0f}")
    return float(value)
