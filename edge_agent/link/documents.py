"""Reads what devices publish (PROTOCOL §1), whatever else is published there. Pure.

A field of another kind is unknown, a payload that is no object says nothing, and text is one short line that
cannot move a terminal's cursor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edge_agent.link.envelope import decode_json
from edge_agent.link.expiry import parse_rfc3339

LARGEST_BYTES: Final = 65_536
"""No document of a device is nearly as large."""
LONGEST_NAME: Final = 64
LONGEST_TEXT: Final = 200
_LARGEST_NUMBER: Final = 1e12


def read_object(payload: bytes) -> Mapping[str, Any]:
    """The payload's object; an empty one where it is none, or far too large."""
    if len(payload) > LARGEST_BYTES:
        return {}
    try:
        document = decode_json(payload.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def part_in(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object in an object; an empty one where there is none."""
    part = document.get(key)
    return part if isinstance(part, dict) else {}


def text_in(document: Mapping[str, Any], key: str, longest: int = LONGEST_TEXT) -> str | None:
    """A text as one plain line; None where it is empty."""
    value = document.get(key)
    return plain_line(value, longest) if isinstance(value, str) and value else None


def name_in(document: Mapping[str, Any], key: str) -> str | None:
    """A name, a version or another short word."""
    return text_in(document, key, LONGEST_NAME)


def number_in(document: Mapping[str, Any], key: str) -> float | None:
    """A number that can be shown: no truth value, and neither infinite nor absurd."""
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= _LARGEST_NUMBER else None


def truth_in(document: Mapping[str, Any], key: str) -> bool | None:
    """A truth value."""
    value = document.get(key)
    return value if isinstance(value, bool) else None


def time_in(document: Mapping[str, Any]) -> float | None:
    """``time``, when the document was written, in seconds since the epoch."""
    value = document.get("time")
    try:
        return parse_rfc3339(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def plain_line(text: str, longest: int = LONGEST_TEXT) -> str:
    """One line that a terminal prints as it stands: no control characters, no change of direction."""
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:longest])
    return plain if len(text) <= longest else plain[:-1] + "…"
