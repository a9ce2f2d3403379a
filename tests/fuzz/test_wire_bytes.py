"""Bytes as a broker, or whoever stands in its place, may send them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.link.protocol import Incoming
from edge_agent.link.wire import MalformedPacketError, pack_publish, packet_ends, read_publish, write_publish
from tests.fuzz.inputs import read_packet

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PROPERTIES = st.builds(
    pack_publish,
    correlation=st.none() | st.binary(max_size=20),
    response_topic=st.none() | TEXT,
    expiry_seconds=st.none() | st.integers(0, 2**32 - 1),
    user=st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "x"]), TEXT), max_size=3).map(
        tuple
    ),
)
PUBLISHES = st.builds(
    lambda topic, payload, mid, properties: write_publish(
        topic.encode(), payload, mid=mid, retain=False, properties=properties
    ),
    TEXT,
    st.binary(max_size=40),
    st.integers(1, 65535),
    PROPERTIES,
)


@given(st.binary(max_size=200), st.booleans())
@example(b"\x30\x00", False)
@example(b"\x30\x02\x00\x00", True)
@example(b"\x32\xff\xff\xff\x7f", True)
def test_any_bytes_are_a_packet_unfinished_or_malformed(packet: bytes, is_v5: bool) -> None:
    _is_sound(read_packet(packet, is_v5=is_v5), packet)


@given(PUBLISHES)
def test_a_packet_that_is_cut_anywhere_is_not_whole_and_its_body_never_read_beyond(packet: bytes) -> None:
    ends = packet_ends(packet, 0)
    assert ends is not None
    begin, end = ends
    assert end == len(packet)
    for cut in range(len(packet)):
        assert packet_ends(packet[:cut], 0) is None
    for cut in range(begin, len(packet)):
        try:
            message = read_publish(packet[0], packet[begin:cut], is_v5=True)
        except MalformedPacketError:
            continue
        _is_sound(message, packet[begin:cut])


@given(PUBLISHES, st.data())
def test_a_damaged_packet_is_read_or_malformed(packet: bytes, data: st.DataObject) -> None:
    damaged = bytearray(packet)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    _is_sound(read_packet(bytes(damaged), is_v5=True), bytes(damaged))


@given(st.binary(max_size=60))
def test_any_bytes_in_the_place_of_properties_are_read_or_malformed(properties: bytes) -> None:
    body = b"\x00\x01a\x00\x01" + bytes((len(properties),)) + properties + b"payload"
    try:
        message = read_publish(0x32, body, is_v5=True)
    except MalformedPacketError:
        return
    assert message.payload == b"payload"


@given(st.lists(PUBLISHES, min_size=1, max_size=4), st.integers(0, 60))
def test_packets_end_where_the_next_begins(packets: list[bytes], beyond: int) -> None:
    stream = b"".join(packets) + b"\x30" * min(beyond, 1)
    begin = 0
    for packet in packets:
        ends = packet_ends(stream, begin)
        assert ends is not None
        assert stream[begin : ends[1]] == packet
        begin = ends[1]
    assert packet_ends(stream, begin) is None


@pytest.mark.parametrize("begin", [0, 1, 5])
def test_there_is_no_packet_beyond_the_end(begin: int) -> None:
    assert packet_ends(b"", begin) is None
    assert packet_ends(b"\x30", begin) is None


def _is_sound(message: Incoming | None, source: bytes) -> None:
    """What was read is of the types that the worker relies on, and no longer than what it was read from."""
    if message is None:
        return
    texts = (message.topic, message.response_topic, message.traceparent, message.tracestate)
    size = sum(len(text.encode()) for text in texts if text is not None)
    assert size + len(message.payload) + len(message.correlation or b"") <= len(source)
    assert message.qos in (0, 1)
    assert 0 <= message.mid <= 65535
    assert message.expiry_seconds is None or 0 <= message.expiry_seconds < 2**32
