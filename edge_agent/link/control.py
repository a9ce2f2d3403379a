"""CONNACK, SUBACK and DISCONNECT read, SUBSCRIBE and UNSUBSCRIBE written, by hand. Pure.

A broker's reason code that paho does not know is an assertion that fails inside it, and U+FEFF in a reason
string makes it hang up (MQTT 5.0 section 1.5.4 allows it). Here an odd code is a refusal with its number.

Source: OASIS MQTT 5.0, sections 3.2, 3.8 to 3.10 and 3.14; MQTT 3.1.1, the same sections.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.link.protocol import Accepted, Subscription
from edge_agent.link.refusal import Refusal, refusal_of, refusal_of_3_1_1
from edge_agent.link.wire import MalformedPacketError, read_binary, read_integer, write_integer

_LARGEST_PACKET = 268_435_455
_BYTES = frozenset((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A))
_SHORTS = frozenset((0x13, 0x21, 0x22, 0x23))
_LONGS = frozenset((0x02, 0x11, 0x18, 0x27))
_STRINGS = frozenset((0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F))
_USER_PROPERTY = 0x26
_SUBSCRIPTION_IDENTIFIER = 0x0B

_ASSIGNED_CLIENT_ID = 0x12
_SERVER_KEEP_ALIVE = 0x13
_SERVER_REFERENCE = 0x1C
_RECEIVE_MAXIMUM = 0x21
_MAXIMUM_QOS = 0x24
_RETAIN_AVAILABLE = 0x25
_MAXIMUM_PACKET_SIZE = 0x27
_WILDCARDS_AVAILABLE = 0x28
_SHARES_AVAILABLE = 0x2A


@dataclass(frozen=True, slots=True)
class Connack:
    """A broker's first word: a refusal, or what it grants."""

    refusal: Refusal | None
    accepted: Accepted | None


def read_connack(packet: bytes, *, is_v5: bool) -> Connack:
    """Reads a CONNACK; one of MQTT 3.1.1 is understood in answer to MQTT 5, too.

    Raises:
        MalformedPacketError: it is not one, or grants nothing at all (MQTT 5.0 section 3.2.2.3.3).
    """
    if len(packet) < 2:
        raise MalformedPacketError("a CONNACK is too short")
    is_resumed, code = bool(packet[0] & 1), packet[1]
    if not is_v5 or (len(packet) == 2 and 0 < code < 6):
        refusal = refusal_of_3_1_1(code)
        return Connack(refusal, None if refusal else Accepted(is_resumed, _LARGEST_PACKET))
    numbers, strings = _properties(packet, 2)
    refusal = refusal_of(code, strings.get(_SERVER_REFERENCE))
    if refusal is not None:
        return Connack(refusal, None)
    accepted = Accepted(
        session_resumed=is_resumed,
        max_packet_bytes=numbers.get(_MAXIMUM_PACKET_SIZE, _LARGEST_PACKET),
        receive_maximum=numbers.get(_RECEIVE_MAXIMUM, 65_535),
        keepalive_seconds=numbers.get(_SERVER_KEEP_ALIVE),
        client_id=strings.get(_ASSIGNED_CLIENT_ID),
        has_qos_1=numbers.get(_MAXIMUM_QOS, 2) > 0,
        has_retain=numbers.get(_RETAIN_AVAILABLE, 1) > 0,
        has_wildcards=numbers.get(_WILDCARDS_AVAILABLE, 1) > 0,
        has_shares=numbers.get(_SHARES_AVAILABLE, 1) > 0,
    )
    if not accepted.receive_maximum or not accepted.max_packet_bytes:
        raise MalformedPacketError("the broker grants nothing")
    return Connack(None, accepted)


def read_disconnect(packet: bytes) -> Refusal | None:
    """Why an MQTT 5 broker says goodbye; None for a normal disconnection.

    Raises:
        MalformedPacketError: it is no DISCONNECT.
    """
    if not packet:
        return None
    strings = _properties(packet, 1)[1] if len(packet) > 1 else {}
    return refusal_of(packet[0], strings.get(_SERVER_REFERENCE))


def read_suback(packet: bytes, *, is_v5: bool) -> tuple[int, tuple[int, ...]]:
    """The packet identifier and the reason codes of a SUBACK, in the order of the filters.

    Raises:
        MalformedPacketError: it is no SUBACK.
    """
    if len(packet) < 3:
        raise MalformedPacketError("a SUBACK is too short")
    position = 2
    try:
        if is_v5:
            length, position = read_integer(packet, position)
            position += length
    except IndexError as error:
        raise MalformedPacketError("a SUBACK is broken") from error
    return packet[0] << 8 | packet[1], tuple(packet[position:])


def write_subscribe(mid: int, subscriptions: tuple[Subscription, ...], *, is_v5: bool) -> bytes:
    """A SUBSCRIBE at QoS 1.

    Retained messages keep their mark on MQTT 5 (Retain As Published), so that who takes them can tell stale
    ones. MQTT 3.1.1 has no options: it sends retained messages each time, and our own messages back to us.
    """
    body = mid.to_bytes(2, "big") + (b"\x00" if is_v5 else b"")
    for one in subscriptions:
        name = one.filter.encode()
        options = 1 | one.no_local << 2 | 1 << 3 | one.retained.value << 4 if is_v5 else 1
        body += len(name).to_bytes(2, "big") + name + bytes((options,))
    return b"\x82" + write_integer(len(body)) + body


def write_unsubscribe(mid: int, filters: tuple[str, ...], *, is_v5: bool) -> bytes:
    """An UNSUBSCRIBE (MQTT 5.0 section 3.10)."""
    body = mid.to_bytes(2, "big") + (b"\x00" if is_v5 else b"")
    for one in filters:
        name = one.encode()
        body += len(name).to_bytes(2, "big") + name
    return b"\xa2" + write_integer(len(body)) + body


def _properties(packet: bytes, position: int) -> tuple[dict[int, int], dict[int, str]]:
    """The numbers and the strings of a packet's properties, which end it."""
    numbers: dict[int, int] = {}
    strings: dict[int, str] = {}
    try:
        length, position = read_integer(packet, position)
        if position + length != len(packet):
            raise MalformedPacketError("properties do not end their packet")
        while position < len(packet):
            identifier, position = packet[position], position + 1
            position = _property(packet, position, identifier, numbers, strings)
    except (IndexError, UnicodeDecodeError) as error:
        raise MalformedPacketError("properties are broken") from error
    if position != len(packet):
        raise MalformedPacketError("a property is longer than its packet")
    return numbers, strings


def _property(
    packet: bytes, position: int, identifier: int, numbers: dict[int, int], strings: dict[int, str]
) -> int:
    if identifier in _STRINGS:
        value, position = read_binary(packet, position)
        strings[identifier] = value.decode(errors="replace")
        return position
    if identifier == _USER_PROPERTY:
        _, position = read_binary(packet, position)
        return read_binary(packet, position)[1]
    if identifier == _SUBSCRIPTION_IDENTIFIER:
        return read_integer(packet, position)[1]
    size = 1 if identifier in _BYTES else 2 if identifier in _SHORTS else 4 if identifier in _LONGS else 0
    if not size:
        raise MalformedPacketError(f"unknown property {identifier:#04x}")
    numbers[identifier] = int.from_bytes(packet[position : position + size], "big")
    return position + size
