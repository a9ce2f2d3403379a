"""MQTT packets as bytes: PUBLISH read, and its properties written, by hand. Pure.

paho's ``Properties`` take 20 µs to read two of them and as long to write, more than tokenising a sentence;
and paho takes U+FEFF in a string for malformed (MQTT 5.0 section 1.5.4 allows it) and hangs up, so that one
such request at QoS 1, which comes again after each reconnect, would keep a device away for good.

Source: OASIS MQTT 5.0, sections 2.2.2 (properties) and 3.3 (PUBLISH); 3.1.1 has no properties.
"""

from __future__ import annotations

import struct
from typing import Any

from edge_agent.link.protocol import Incoming

_MESSAGE_EXPIRY = 0x02
_RESPONSE_TOPIC = 0x08
_CORRELATION_DATA = 0x09
_SUBSCRIPTION_IDENTIFIER = 0x0B
_USER_PROPERTY = 0x26
_FIXED_SIZES = {0x01: 1, _MESSAGE_EXPIRY: 4, 0x23: 2}
_STRINGS = frozenset((0x03, _RESPONSE_TOPIC, _CORRELATION_DATA))
_TRACE = frozenset((b"traceparent", b"tracestate"))

_JSON = b"\x01\x01\x03\x00\x10application/json"
"""Payload Format Indicator 1 (UTF-8) and Content Type."""


class MalformedPacketError(ValueError):
    """Bytes that are no such packet; the protocol has us hang up."""


def packet_ends(buffer: bytes, begin: int) -> tuple[int, int] | None:
    """Where the body of the packet that begins here begins and ends; None while it is not whole.

    Raises:
        MalformedPacketError: its length has more than four bytes.
    """
    position, value, shift = begin + 1, 0, 0
    size = len(buffer)
    while position < size:
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            end = position + value
            return (position, end) if end <= size else None
        shift += 7
        if shift > 21:
            raise MalformedPacketError("a length has more than four bytes")
    return None


def read_publish(header: int, body: bytes | bytearray, *, is_v5: bool) -> Incoming:
    """Reads a PUBLISH.

    Args:
        header: the first byte of the packet, with DUP, QoS and RETAIN.
        body: what follows the fixed header.
        is_v5: whether there are properties.

    Raises:
        MalformedPacketError: it is not one, or has QoS 2, which nobody subscribed to.
    """
    qos = (header >> 1) & 3
    if qos > 1:
        raise MalformedPacketError("QoS 2 was not asked for")
    packet = bytes(body)
    try:
        topic, position = read_binary(packet, 0)
        mid = 0
        if qos:
            mid = int.from_bytes(packet[position : position + 2], "big")
            position += 2
        fields: dict[str, Any] = {}
        if is_v5:
            length, position = read_integer(packet, position)
            fields = _read_properties(packet[position : position + length], length)
            position += length
        if position > len(packet):
            raise MalformedPacketError("a PUBLISH is too short")
        if b"\0" in topic or (qos and not mid):
            raise MalformedPacketError("a PUBLISH has a topic with U+0000, or no packet identifier")
        return Incoming(
            topic=topic.decode(),
            payload=packet[position:],
            qos=qos,
            retain=bool(header & 1),
            mid=mid,
            response_topic=fields.get("response_topic"),
            correlation=fields.get("correlation"),
            expiry_seconds=fields.get("expiry_seconds"),
            traceparent=fields.get("traceparent"),
            tracestate=fields.get("tracestate"),
            dup=bool(header & 8),
        )
    except (IndexError, UnicodeDecodeError) as error:
        raise MalformedPacketError("a PUBLISH is broken") from error


def write_publish(
    topic: bytes, payload: bytes, *, mid: int | None, retain: bool, properties: bytes | None
) -> bytes:
    """A PUBLISH at QoS 1, or 0.

    Args:
        topic: UTF-8.
        payload: any bytes.
        mid: packet identifier, 1 to 65535; None at QoS 0, which has none.
        retain: whether the broker keeps it.
        properties: packed, with their length; None on 3.1.1.
    """
    identifier = b"" if mid is None else mid.to_bytes(2, "big")
    body = len(topic).to_bytes(2, "big") + topic + identifier + (properties or b"") + payload
    header = 0x30 | (0 if mid is None else 2) | retain
    return bytes((header,)) + write_integer(len(body)) + body


def pack_publish(
    *,
    correlation: bytes | None = None,
    response_topic: str | None = None,
    expiry_seconds: int | None = None,
    user: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """Property length and properties of a PUBLISH whose payload is JSON in UTF-8."""
    body = _JSON
    if expiry_seconds is not None:
        body += struct.pack("!BI", _MESSAGE_EXPIRY, expiry_seconds)
    if response_topic is not None:
        body += bytes((_RESPONSE_TOPIC,)) + _prefixed(response_topic.encode())
    if correlation is not None:
        body += bytes((_CORRELATION_DATA,)) + _prefixed(correlation)
    for name, value in user:
        body += bytes((_USER_PROPERTY,)) + _prefixed(name.encode()) + _prefixed(value.encode())
    return write_integer(len(body)) + body


def _read_properties(packet: bytes, length: int) -> dict[str, Any]:
    if len(packet) != length:
        raise MalformedPacketError("properties are longer than their packet")
    fields: dict[str, Any] = {}
    position = 0
    while position < length:
        position = _read_property(packet, position, fields)
    if position != length:
        raise MalformedPacketError("a property is longer than all of them")
    return fields


def _read_property(packet: bytes, position: int, fields: dict[str, Any]) -> int:
    """Reads one property, keeps it where it is of use, and returns where the next begins."""
    identifier = packet[position]
    position += 1
    if identifier in _STRINGS:
        value, position = read_binary(packet, position)
        if identifier == _CORRELATION_DATA:
            fields["correlation"] = value
        elif identifier == _RESPONSE_TOPIC:
            fields["response_topic"] = value.decode()
    elif identifier == _USER_PROPERTY:
        name, position = read_binary(packet, position)
        value, position = read_binary(packet, position)
        if name in _TRACE:
            fields[name.decode()] = value.decode()
    elif identifier in _FIXED_SIZES:
        begin, position = position, position + _FIXED_SIZES[identifier]
        if identifier == _MESSAGE_EXPIRY:
            fields["expiry_seconds"] = int.from_bytes(packet[begin:position], "big")
    elif identifier == _SUBSCRIPTION_IDENTIFIER:
        _, position = read_integer(packet, position)
    else:
        raise MalformedPacketError(f"a PUBLISH cannot have the property {identifier:#04x}")
    return position


def read_binary(packet: bytes, position: int) -> tuple[bytes, int]:
    """Binary data with its length before it, and where it ends; IndexError where there is none."""
    begin = position + 2
    end = begin + (packet[position] << 8 | packet[position + 1])
    if end > len(packet):
        raise MalformedPacketError("a string is longer than its packet")
    return packet[begin:end], end


def _prefixed(value: bytes) -> bytes:
    return struct.pack("!H", len(value)) + value


def read_integer(packet: bytes, position: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 5.0 section 1.5.5), and where it ends; IndexError where there is none."""
    value = 0
    for shift in (0, 7, 14, 21):
        byte = packet[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise MalformedPacketError("an integer has more than four bytes")


def write_integer(value: int) -> bytes:
    """A variable byte integer."""
    encoded = bytearray()
    while True:
        value, digit = divmod(value, 128)
        encoded.append(digit | 0x80 if value else digit)
        if not value:
            return bytes(encoded)
