"""What a broker's reason codes mean: what kind of no it is, in words, and what to do about it. Pure.

Source: OASIS MQTT 5.0, section 2.4 and tables 3.2.2.2 (CONNACK), 3.4.2.1 (PUBACK), 3.9.3 (SUBACK) and
3.14.2.1 (DISCONNECT), which share one space of codes; MQTT 3.1.1, table 3.1 (CONNACK return codes).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

FAILURE = 0x80
"""Codes from here on say no (MQTT 5.0 section 2.4)."""

MUTE_HINT = "it may want TLS or a websocket: mqtt.port, mqtt.tls and mqtt.transport must fit together"
"""What helps against a broker that hangs up without a word."""

_LONGEST_REFERENCE = 200


class Kind(Enum):
    """Kinds of no, by what helps against them."""

    CREDENTIALS = "credentials"
    NOT_ALLOWED = "not allowed"
    CLIENT_ID = "client id"
    WRONG_PROTOCOL = "wrong protocol"
    UNSUPPORTED = "unsupported"
    MOVED = "moved"
    TAKEN_OVER = "taken over"
    BUSY = "busy"
    QUOTA = "quota"
    TOO_LARGE = "too large"
    BAD_TOPIC = "bad topic"
    PROTOCOL_ERROR = "protocol error"
    OTHER = "other"

    @property
    def is_lasting(self) -> bool:
        """Whether asking again soon gets the same answer: somebody has to change a setting first."""
        return self in _LASTING


_LASTING = frozenset(
    (
        Kind.CREDENTIALS,
        Kind.NOT_ALLOWED,
        Kind.CLIENT_ID,
        Kind.WRONG_PROTOCOL,
        Kind.UNSUPPORTED,
        Kind.MOVED,
        Kind.TOO_LARGE,
    )
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One no.

    Attributes:
        code: as it stood on the wire.
        kind: what sort of no.
        words: the standard's name for it, and where a broker points elsewhere.
        hint: what to do about it, or None.
    """

    code: int
    kind: Kind
    words: str
    hint: str | None = None


_CREDENTIALS_HINT = "mqtt.username and mqtt.password_file must be what the broker expects"
_ACCESS_HINT = "the broker's access list must let this device use its own topics"
_CLIENT_ID_HINT = "device.id must be one that the broker accepts"
_MOVED_HINT = "set mqtt.host and mqtt.port to the broker that it names; a redirect is not followed"
_TAKEN_OVER_HINT = "give each device its own device.id"
_FEATURE_HINT = "use a broker that offers it"
_SIZE_HINT = "raise the broker's largest packet"

_TABLE: dict[int, tuple[Kind, str, str | None]] = {
    0x80: (Kind.OTHER, "Unspecified error", None),
    0x81: (Kind.PROTOCOL_ERROR, "Malformed packet", None),
    0x82: (Kind.PROTOCOL_ERROR, "Protocol error", None),
    0x83: (Kind.OTHER, "Implementation specific error", "the broker's log tells more"),
    0x84: (Kind.WRONG_PROTOCOL, "Unsupported protocol version", None),
    0x85: (Kind.CLIENT_ID, "Client identifier not valid", _CLIENT_ID_HINT),
    0x86: (Kind.CREDENTIALS, "Bad user name or password", _CREDENTIALS_HINT),
    0x87: (Kind.NOT_ALLOWED, "Not authorized", _ACCESS_HINT),
    0x88: (Kind.BUSY, "Server unavailable", None),
    0x89: (Kind.BUSY, "Server busy", None),
    0x8A: (Kind.NOT_ALLOWED, "Banned", "the broker's operator has banned this client"),
    0x8B: (Kind.BUSY, "Server shutting down", None),
    0x8C: (Kind.CREDENTIALS, "Bad authentication method", _CREDENTIALS_HINT),
    0x8D: (Kind.OTHER, "Keep alive timeout", None),
    0x8E: (Kind.TAKEN_OVER, "Session taken over", _TAKEN_OVER_HINT),
    0x8F: (Kind.BAD_TOPIC, "Topic filter invalid", None),
    0x90: (Kind.BAD_TOPIC, "Topic name invalid", None),
    0x91: (Kind.PROTOCOL_ERROR, "Packet identifier in use", None),
    0x92: (Kind.PROTOCOL_ERROR, "Packet identifier not found", None),
    0x93: (Kind.PROTOCOL_ERROR, "Receive maximum exceeded", None),
    0x94: (Kind.PROTOCOL_ERROR, "Topic alias invalid", None),
    0x95: (Kind.TOO_LARGE, "Packet too large", _SIZE_HINT),
    0x96: (Kind.QUOTA, "Message rate too high", None),
    0x97: (Kind.QUOTA, "Quota exceeded", None),
    0x98: (Kind.BUSY, "Administrative action", None),
    0x99: (Kind.PROTOCOL_ERROR, "Payload format invalid", None),
    0x9A: (Kind.UNSUPPORTED, "Retain not supported", _FEATURE_HINT),
    0x9B: (Kind.UNSUPPORTED, "QoS not supported", _FEATURE_HINT),
    0x9C: (Kind.MOVED, "Use another server", _MOVED_HINT),
    0x9D: (Kind.MOVED, "Server moved", _MOVED_HINT),
    0x9E: (Kind.UNSUPPORTED, "Shared subscriptions not supported", _FEATURE_HINT),
    0x9F: (Kind.BUSY, "Connection rate exceeded", None),
    0xA0: (Kind.BUSY, "Maximum connect time", None),
    0xA1: (Kind.UNSUPPORTED, "Subscription identifiers not supported", _FEATURE_HINT),
    0xA2: (Kind.UNSUPPORTED, "Wildcard subscriptions not supported", _FEATURE_HINT),
}

_CONNACK_3_1_1 = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
"""Return code of MQTT 3.1.1 → reason code of MQTT 5 of the same meaning."""


def refusal_of(code: int, reference: str | None = None) -> Refusal | None:
    """What an MQTT 5 reason code refuses; None where it refuses nothing.

    Args:
        code: of a CONNACK, PUBACK, SUBACK or DISCONNECT.
        reference: the Server Reference beside it, where a broker points elsewhere.
    """
    if code < FAILURE:
        return None
    kind, words, hint = _TABLE.get(code, (Kind.OTHER, f"reason {code:#04x}", None))
    if kind is Kind.MOVED and reference:
        words = f"{words}; it points to {_printable(reference)}"
    return Refusal(code, kind, words, hint)


def refusal_of_3_1_1(return_code: int) -> Refusal | None:
    """What a CONNACK return code of MQTT 3.1.1 refuses; None for 0."""
    if return_code == 0:
        return None
    meant = refusal_of(_CONNACK_3_1_1.get(return_code, 0x80))
    assert meant is not None
    if return_code not in _CONNACK_3_1_1:
        return Refusal(return_code, Kind.OTHER, f"return code {return_code}")
    return Refusal(return_code, meant.kind, meant.words, meant.hint)


def unsupported(words: str) -> Refusal:
    """A broker that lets us in and lacks what we need."""
    return Refusal(0, Kind.UNSUPPORTED, words, _FEATURE_HINT)


def taken_over(client_id: str) -> str:
    """The fault in words when another client uses our id (MQTT 5.0 section 3.1.4-3)."""
    return f"another client took over the id {client_id}: two devices with one name?"


def perhaps_taken_over(client_id: str) -> str:
    """The same where the broker does not say why it hangs up."""
    return (
        "the broker hung up right after connecting, several times in a row: "
        f"does another client use the id {client_id}?"
    )


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text[:_LONGEST_REFERENCE])
