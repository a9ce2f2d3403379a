"""Which commands are taken, and what is written down of one that is. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edge_agent.link.commands import MAX_ID_CHARACTERS, Address, Ask, Status, quoted, refusal_of
from edge_agent.service.commands.record import Record


@dataclass(frozen=True, slots=True)
class Moment:
    """When a command is looked at.

    Attributes:
        now: seconds since the epoch.
        waited_seconds: since its receipt, by the monotonic clock.
        clock_synced: whether ``now`` may be compared with a requester's clock.
    """

    now: float
    waited_seconds: float
    clock_synced: bool


def unknown(operation: str, operations: Collection[str]) -> str:
    """What is told of an operation that the device does not know."""
    return f"unknown operation {quoted(operation)}; this device knows {', '.join(sorted(operations))}"


def address_fault(address: Address, operations: Collection[str]) -> str | None:
    """Why nothing can be done under an address, or None."""
    if address.operation not in operations:
        return unknown(address.operation, operations)
    if address.id is None:
        return None
    if not 0 < len(address.id) <= MAX_ID_CHARACTERS or not address.id.isprintable():
        return f"the id has not 1 to {MAX_ID_CHARACTERS} printable characters"
    return None


def lateness(
    ask: Ask, moment: Moment, message_expiry_seconds: int | None, *, forgotten_until: float | None
) -> str | None:
    """Why a command comes too late, or None.

    Args:
        ask: what it says of its own age.
        moment: now.
        message_expiry_seconds: MQTT 5's Message Expiry Interval at receipt, or None.
        forgotten_until: what was sent before may be a replay of a command that is no longer remembered.
    """
    sent_at = ask.sent_at if moment.clock_synced else None
    if sent_at is not None and forgotten_until is not None and sent_at <= forgotten_until:
        return "stale: it was sent before the oldest command that is remembered"
    return refusal_of(
        ask,
        now=moment.now,
        waited_seconds=moment.waited_seconds,
        message_expiry_seconds=message_expiry_seconds,
        clock_synced=moment.clock_synced,
    )


def fresh_record(operation: str, command_id: str, ask: Ask, now: float, mark: str | None) -> Record:
    """A command that waits for its turn; ``ttl_s`` counts from ``sent_at``, else from now."""
    expires_at = ask.expires_at
    if ask.ttl_seconds is not None:
        own = (ask.sent_at if ask.sent_at is not None else now) + ask.ttl_seconds
        expires_at = own if expires_at is None else min(own, expires_at)
    return Record(
        operation=operation,
        id=command_id,
        status=Status.INIT,
        arguments=ask.arguments,
        asked_at=now,
        expires_at=expires_at,
        mark=mark,
    )
