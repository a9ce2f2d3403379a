"""Fields of documents that anybody may have published."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.documents import (
    LARGEST_BYTES,
    name_in,
    number_in,
    part_in,
    plain_line,
    read_object,
    text_in,
    time_in,
    truth_in,
)


@pytest.mark.parametrize(
    "payload", [b"", b"[1]", b"null", b"{", b"\xff", b"[" * 60_000, b'{"a":"' + b"x" * LARGEST_BYTES + b'"}']
)
def test_a_payload_that_is_no_object_or_far_too_large_says_nothing(payload: bytes) -> None:
    assert read_object(payload) == {}


def test_a_field_of_another_kind_is_unknown() -> None:
    document = read_object(b'{"n":true,"big":1e300,"t":1,"p":[],"empty":"","time":"yesterday"}')
    assert number_in(document, "n") is None
    assert number_in(document, "big") is None
    assert truth_in(document, "t") is None
    assert part_in(document, "p") == {}
    assert text_in(document, "empty") is None
    assert name_in(document, "n") is None
    assert time_in(document) is None


def test_fields_of_the_right_kind_are_read() -> None:
    document = read_object(b'{"n":3,"t":false,"p":{"a":1},"s":"word","time":"1970-01-01T00:00:02Z"}')
    assert number_in(document, "n") == 3.0
    assert truth_in(document, "t") is False
    assert part_in(document, "p") == {"a": 1}
    assert name_in(document, "s") == "word"
    assert time_in(document) == 2.0


@given(st.text(max_size=300))
def test_any_text_becomes_one_printable_line_of_bounded_length(text: str) -> None:
    line = plain_line(text)
    assert line.isprintable()
    assert len(line) <= 200
