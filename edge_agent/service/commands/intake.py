"""What arrives on the command topics, sorted in the network thread: parse, hand over, return.

Our own states come back as echoes: on MQTT 3.1.1, which has no No Local (MQTT 5.0 section 3.8.3.1), and
retained at every subscription. A live echo is dropped here; a retained state may be of an earlier life, and
the desk compares it with its record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from edge_agent.link.commands import (
    Address,
    Ask,
    Cleared,
    CommandFault,
    Status,
    address_of,
    parse_command,
    parse_wish,
)
from edge_agent.link.protocol import Delivery, Incoming


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message on a command topic, read."""

    delivery: Delivery
    address: Address
    content: Ask | Status | Cleared | CommandFault

    @property
    def mark(self) -> str | None:
        """Names a message of ``request/<op>``, so that its redelivery is known: packet id and content."""
        if self.address.id is not None:
            return None
        message = self.delivery.message
        return f"{message.mid}:{sha256(message.payload).hexdigest()[:16]}"

    @property
    def is_redelivery(self) -> bool:
        """Whether the broker says that it may have sent this before (DUP, MQTT 5.0 section 3.3.1.1)."""
        return self.delivery.message.dup


def sort(delivery: Delivery, root: str, count_drop: Callable[[str], None]) -> Arrival | None:
    """What a delivery is to the desk, or None where it is nothing to it."""
    message = delivery.message
    address = address_of(message.topic, root)
    if address is None:
        count_drop("no_command")
        return None
    if address.id is None and message.retain:  # a wish of long ago
        count_drop("retained")
        return None
    content = _read(message, address)
    if isinstance(content, Status) and not message.retain:
        return None
    return Arrival(delivery, address, content)


def _read(message: Incoming, address: Address) -> Ask | Status | Cleared | CommandFault:
    try:
        return parse_wish(message.payload) if address.id is None else parse_command(message.payload)
    except CommandFault as fault:
        return fault
