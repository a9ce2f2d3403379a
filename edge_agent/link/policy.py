"""What a link may be told of its pauses, its own proof and its bounds; with the daemon's defaults. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_agent.link.backoff import Pauses


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """Times in seconds.

    Attributes:
        pauses: between two attempts to connect.
        canary_seconds: between two proofs that the broker delivers to us.
        canary_broken_seconds: the same while it does not.
        canary_patience_seconds: within which a proof must come back.
        max_topic_levels: a message on a longer topic is dropped, counted and acknowledged.
        most_owed: requests at QoS 1 that are not acknowledged; a broker that sends more is hung up on.
        most_owed_bytes: of their payloads, likewise.
        most_answers: answers to QoS 0 that wait for the broker; more are dropped and counted.
    """

    pauses: Pauses = field(default_factory=Pauses)
    canary_seconds: float = 300.0
    canary_broken_seconds: float = 30.0
    canary_patience_seconds: float = 10.0
    max_topic_levels: int = 32
    most_owed: int = 4096
    most_owed_bytes: int = 67_108_864
    most_answers: int = 1024
