"""When an answer would come too late (``ttl_s``, ``sent_at``, Message Expiry), and RFC 3339 times. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Protocol

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(\.\d+)?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)


class Lifetime(Protocol):
    """What a request says of its own age."""

    @property
    def ttl_seconds(self) -> float | None:
        """Seconds after which an answer is worthless."""

    @property
    def sent_at(self) -> float | None:
        """When it was sent, seconds since the epoch."""


def parse_rfc3339(value: str) -> float:
    """Seconds since the epoch of a time such as ``2026-11-23T05:00:00.25Z``.

    Raises:
        ValueError: it is not such a time.
    """
    match = _RFC3339.fullmatch(value)
    if match is None:
        raise ValueError("not RFC 3339")
    day, minutes, seconds, fraction, _, sign, hours_off, minutes_off = match.groups()
    if int(seconds) > 60 or (hours_off and (int(hours_off) > 23 or int(minutes_off) > 59)):
        raise ValueError("out of range")
    moment = datetime.fromisoformat(f"{day}T{minutes}:00").replace(tzinfo=timezone.utc)
    offset = timedelta(hours=int(hours_off or 0), minutes=int(minutes_off or 0)).total_seconds()
    return moment.timestamp() + int(seconds) + float(fraction or 0) - (-offset if sign == "-" else offset)


def rfc3339(seconds: float) -> str:
    """A time of the wall clock in UTC, to the second."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_expired(
    request: Lifetime,
    *,
    now: float,
    waited_seconds: float,
    message_expiry_seconds: int | None,
    clock_synced: bool,
) -> bool:
    """Whether an answer would come too late.

    Args:
        request: with its ``ttl_seconds`` and ``sent_at``.
        now: seconds since the epoch.
        waited_seconds: since receipt, by the monotonic clock.
        message_expiry_seconds: what MQTT 5's Message Expiry Interval left at receipt, or None.
        clock_synced: whether ``now`` may be compared with a sender's clock.
    """
    if message_expiry_seconds is not None and waited_seconds >= message_expiry_seconds:
        return True
    if request.ttl_seconds is None:
        return False
    if request.sent_at is not None and clock_synced:
        return now - request.sent_at >= request.ttl_seconds
    return waited_seconds >= request.ttl_seconds
