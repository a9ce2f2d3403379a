"""What goes between a simulated device and who runs it: messages, wishes, and how it is paced. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Wish(Enum):
    """What a device wants of its link."""

    STAY = "stay"
    CONNECT = "connect"
    BREAK = "break"
    """Without a word, so that the broker publishes the will."""
    LEAVE = "leave"
    """In order; the broker keeps the session."""
    FORGET = "forget"
    """In order; the broker is to forget the session, too."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something to publish."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


@dataclass(frozen=True, slots=True)
class Turn:
    """What a device does upon something: publish these, then do that to its link."""

    messages: tuple[Message, ...] = ()
    wish: Wish = Wish.STAY


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often devices speak, and how long things take, in seconds; the first three as a real one's.

    Attributes:
        health: between two ``health``.
        power: between two ``power``; 0 for never.
        canary: between two canaries; 0 for never.
        update: that an update takes on average, from 0.5 to 1.5 times as much on one device.
        away: until one that is off or lost its power returns, likewise; 0 for never.
    """

    health: float = 30.0
    power: float = 10.0
    canary: float = 30.0
    update: float = 10.0
    away: float = 60.0
