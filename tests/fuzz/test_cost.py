"""What parsing costs grows with the payload's length and no faster.

Processor time of this thread is compared with itself at an eighth of the length: eight times is linear,
sixty-four quadratic, and the line is drawn between them. Memory is counted by ``tracemalloc``.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from itertools import count

import pytest

from edge_agent.link.envelope import Limits, PayloadError, parse_request
from edge_agent.link.expiry import parse_rfc3339
from edge_agent.link.topics import response_topic_fault
from edge_agent.link.wire import MalformedPacketError, pack_publish, read_publish

LIMITS = Limits(131_072)
LONG = LIMITS.max_payload_bytes - 64
EIGHTH = LONG // 8
MOST_GROWTH = 28.0
FLOOR_SECONDS = 0.000_2
"""Below this the clock and the caches speak louder than the input."""
MOST_BYTES_PER_BYTE = 60

SHAPES: dict[str, Callable[[int], bytes]] = {
    "backslashes": lambda n: b'{"text":"' + b"\\" * n,
    "backslashes and brackets": lambda n: b'{"text":"' + b"\\[" * (n // 2),
    "escaped quotes and brackets": lambda n: b'{"text":"' + b'[\\"' * (n // 3) + b'"}',
    "escaped characters": lambda n: b'{"text":"' + b"\\u0041" * (n // 6) + b'"}',
    "halves of surrogate pairs": lambda n: b'{"text":"' + b"\\ud800" * (n // 6) + b'"}',
    "an integer": lambda n: b'{"text":"a","x":' + b"1" * n + b"}",
    "an integer alone": lambda n: b"1" * n,
    "a fraction": lambda n: b'{"text":"a","x":0.' + b"1" * n + b"}",
    "an exponent": lambda n: b'{"text":"a","x":1e' + b"1" * n + b"}",
    "equal keys": lambda n: b'{"text":"a"' + b',"a":1' * (n // 6) + b"}",
    "keys": lambda n: b'{"text":"a"' + b"".join(b',"%07d":1' % i for i in range(n // 12)) + b"}",
    "empty lists": lambda n: b'{"text":"a","x":[' + b"[]," * (n // 3) + b"1]}",
    "empty objects": lambda n: b'{"text":"a","x":[' + b"{}," * (n // 3) + b"1]}",
    "strings": lambda n: b'{"text":"a","x":[' + b'"ab",' * (n // 5) + b"1]}",
    "open brackets": lambda n: b"[" * n,
    "open objects": lambda n: b'{"a":' * (n // 5),
    "closing brackets": lambda n: b'{"text":"a"' + b"]" * n,
    "quotes": lambda n: b'"' * n,
    "blanks": lambda n: b" " * n,
    "blanks before an object": lambda n: b" " * n + b'{"text":"a"}',
    "byte order marks": lambda n: b"\xef\xbb\xbf" * (n // 3),
    "lines": lambda n: b"{" + b"\n" * n,
    "separators": lambda n: b"\xe2\x80\xa8" * (n // 3),
    "zeros": lambda n: b"\x00" * n,
    "no UTF-8": lambda n: b"a" * n + b"\xff",
}  # fmt: skip


def parse(payload: bytes) -> None:
    assert len(payload) <= LIMITS.max_payload_bytes
    try:
        parse_request(payload, LIMITS)
    except PayloadError:
        return


def seconds_of(work: Callable[[], object]) -> float:
    """The least processor time of several runs, without the collector: it looks at all that a test keeps."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(5):
            begun = time.thread_time()
            work()
            best = min(best, time.thread_time() - begun)
    finally:
        gc.enable()
    return best


@pytest.mark.parametrize("shape", SHAPES)
def test_the_time_to_parse_is_linear(shape: str) -> None:
    short, long = SHAPES[shape](EIGHTH), SHAPES[shape](LONG)
    once = max(seconds_of(lambda: parse(short)), FLOOR_SECONDS)
    assert seconds_of(lambda: parse(long)) < once * MOST_GROWTH


@pytest.mark.parametrize("shape", SHAPES)
def test_the_memory_to_parse_is_a_multiple_of_the_payload(shape: str) -> None:
    payload = SHAPES[shape](LONG)
    tracemalloc.start()
    try:
        parse(payload)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MOST_BYTES_PER_BYTE * len(payload)


def test_many_properties_of_a_publish_are_read_in_linear_time() -> None:
    def publish(pairs: int) -> bytes:
        properties = pack_publish(user=(("traceparent", "x"), ("y", "")) * pairs)
        return b"\x00\x01a\x00\x01" + properties

    def read(body: bytes) -> None:
        read_publish(0x32, body, is_v5=True)

    once = max(seconds_of(lambda: read(publish(500))), FLOOR_SECONDS)
    assert seconds_of(lambda: read(publish(4000))) < once * MOST_GROWTH


def test_long_topics_and_times_are_refused_in_linear_time() -> None:
    fresh = count()

    def refuse(length: int) -> None:
        assert response_topic_fault("a/" * length + f"{next(fresh)}+", "edge-agent")
        for text in ("1" * length, "2026-11-23T05:00:00." + "1" * length):
            with pytest.raises(ValueError, match=r".+"):
                parse_rfc3339(text)

    once = max(seconds_of(lambda: refuse(4_000)), FLOOR_SECONDS)
    assert seconds_of(lambda: refuse(32_000)) < once * MOST_GROWTH


def test_a_length_of_a_packet_never_makes_us_reserve_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(MalformedPacketError):
            read_publish(0x32, b"\xff\xffa", is_v5=True)
        with pytest.raises(MalformedPacketError):
            read_publish(0x32, b"\x00\x01a\x00\x01\xff\xff\xff\x7f", is_v5=True)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000
