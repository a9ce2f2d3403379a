"""PUBLISH packets by hand, with paho's own packing as the oracle."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.link.wire import MalformedPacketError, pack_publish, packet_ends, read_publish, write_publish

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00\ufeff"), max_size=30)


def paho_properties() -> Any:
    return Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]


def packet(topic: bytes, properties: bytes, payload: bytes, mid: int = 7) -> bytes:
    return len(topic).to_bytes(2, "big") + topic + mid.to_bytes(2, "big") + properties + payload


@given(st.binary(max_size=60), TEXT, st.integers(0, 2**32 - 1), TEXT, TEXT)
def test_what_we_pack_paho_reads(
    correlation: bytes, response: str, expiry: int, name: str, value: str
) -> None:
    packed = pack_publish(
        correlation=correlation, response_topic=response, expiry_seconds=expiry, user=((name, value),)
    )
    read = paho_properties()
    _, length = read.unpack(packed)
    assert length == len(packed)
    assert (read.CorrelationData, read.ResponseTopic) == (correlation, response)
    assert (read.MessageExpiryInterval, read.UserProperty) == (expiry, [(name, value)])
    assert (read.PayloadFormatIndicator, read.ContentType) == (1, "application/json")


@given(st.binary(max_size=60), TEXT, st.integers(0, 2**32 - 1), TEXT, st.binary(max_size=40))
def test_what_paho_packs_we_read(
    correlation: bytes, response: str, expiry: int, trace: str, payload: bytes
) -> None:
    properties = paho_properties()
    properties.CorrelationData = correlation
    properties.ResponseTopic = response
    properties.MessageExpiryInterval = expiry
    properties.PayloadFormatIndicator = 1
    properties.ContentType = "x"
    properties.SubscriptionIdentifier = 300
    properties.TopicAlias = 3
    properties.UserProperty = ("traceparent", trace)
    properties.UserProperty = ("other", "x")
    message = read_publish(0x33, packet(b"a/\xc3\xb1", properties.pack(), payload), is_v5=True)
    assert (message.topic, message.payload, message.mid) == ("a/ñ", payload, 7)
    assert (message.qos, message.retain) == (1, True)
    assert (message.correlation, message.response_topic) == (correlation, response)
    assert (message.expiry_seconds, message.traceparent, message.tracestate) == (expiry, trace, None)


def test_3_1_1_has_no_properties_and_qos_0_no_message_id() -> None:
    message = read_publish(0x30, b"\x00\x01ahello", is_v5=False)
    assert (message.topic, message.payload, message.qos, message.mid) == ("a", b"hello", 0, 0)
    assert message.response_topic is None


def test_a_byte_order_mark_is_an_ordinary_character() -> None:
    message = read_publish(
        0x32, packet(b"a", pack_publish(user=(("traceparent", "\ufeffx"),)), b""), is_v5=True
    )
    assert message.traceparent == "\ufeffx"


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (0x34, packet(b"a", b"\x00", b"")),
        (0x36, packet(b"a", b"\x00", b"")),
        (0x32, b""),
        (0x32, b"\x00\x05a"),
        (0x32, b"\x00\x01a\x00"),
        (0x32, packet(b"\xff", b"\x00", b"")),
        (0x32, packet(b"a", b"\xff\xff\xff\xff\x01", b"")),
        (0x32, packet(b"a", b"\x09\x01", b"")),
        (0x32, packet(b"a", b"\x02\x7f\x00", b"")),
        (0x32, packet(b"a", b"\x02\x02\x00", b"")),
        (0x32, packet(b"a", b"\x04\x09\x00\x09a", b"bc")),
    ],
)
def test_what_is_no_publish_is_refused(header: int, body: bytes) -> None:
    with pytest.raises(MalformedPacketError):
        read_publish(header, body, is_v5=True)


@given(st.integers(0x30, 0x3F), st.binary(max_size=80), st.booleans())
def test_any_bytes_are_a_publish_or_malformed(header: int, body: bytes, is_v5: bool) -> None:
    with suppress(MalformedPacketError):
        read_publish(header, body, is_v5=is_v5)


@given(TEXT, st.binary(max_size=300), st.integers(1, 65535), st.booleans(), st.booleans())
def test_what_we_write_we_read(topic: str, payload: bytes, mid: int, retain: bool, is_v5: bool) -> None:
    packed = pack_publish(correlation=b"c") if is_v5 else None
    written = write_publish(topic.encode(), payload, mid=mid, retain=retain, properties=packed)
    body = written[2:] if written[1] < 0x80 else written[3:]
    message = read_publish(written[0], body, is_v5=is_v5)
    assert (message.topic, message.payload, message.mid) == (topic, payload, mid)
    assert (message.qos, message.retain) == (1, retain)
    assert message.correlation == (b"c" if is_v5 else None)


def test_at_qos_0_there_is_no_packet_identifier() -> None:
    written = write_publish(b"t", b"{}", mid=None, retain=False, properties=None)
    message = read_publish(written[0], written[2:], is_v5=False)
    assert (message.topic, message.payload, message.qos, message.mid) == ("t", b"{}", 0, 0)


@given(st.lists(st.binary(max_size=400), max_size=4), st.integers(0, 1700))
def test_packets_are_found_in_a_stream_wherever_it_is_cut(payloads: list[bytes], cut: int) -> None:
    stream = b"".join(
        write_publish(b"t", payload, mid=1, retain=False, properties=None) for payload in payloads
    )
    found, begin, part = [], 0, stream[:cut]
    while (ends := packet_ends(part, begin)) is not None:
        found.append(read_publish(part[begin], part[ends[0] : ends[1]], is_v5=False).payload)
        begin = ends[1]
    assert found == payloads[: len(found)]
    if cut >= len(stream):
        assert found == payloads
    assert len(stream[begin:cut]) < 410


def test_a_length_of_five_bytes_is_malformed() -> None:
    assert packet_ends(b"\x30\xff\xff\xff", 0) is None
    with pytest.raises(MalformedPacketError):
        packet_ends(b"\x30\xff\xff\xff\xff\x01", 0)
