"""The pure rules beside parsing: expiry, and the topics that a request may name."""

from __future__ import annotations

import math
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.envelope import Limits, PayloadError, Request, parse_request
from edge_agent.link.expiry import is_expired, parse_rfc3339
from edge_agent.link.topics import Topics, response_topic_fault

ANY_TEXT = st.text(max_size=40)
TOPIC_TEXT = st.text(alphabet="ab/+#$\x00é\ud800", max_size=12)
TIME_TEXT = st.text(alphabet="0123456789-:.TtZz+ ", max_size=40)


@given(TIME_TEXT | ANY_TEXT)
def test_any_text_is_a_finite_time_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert math.isfinite(parse_rfc3339(text))


@given(
    st.none() | st.floats(0, 366 * 86_400),
    st.none() | st.floats(-1e11, 1e12),
    st.none() | st.integers(0, 2**32 - 1),
    st.floats(0, 1e6),
    st.booleans(),
)
def test_waiting_longer_never_brings_a_request_back(
    ttl: float | None, sent_at: float | None, expiry: int | None, waited: float, synced: bool
) -> None:
    request = Request("x", ttl_seconds=ttl, sent_at=sent_at)

    def expired(after: float) -> bool:
        return is_expired(
            request,
            now=1e9 + after,
            waited_seconds=after,
            message_expiry_seconds=expiry,
            clock_synced=synced,
        )

    assert expired(waited) <= expired(waited * 2 + 1)
    if ttl is None and expiry is None:
        assert not expired(waited)


@given(TOPIC_TEXT | ANY_TEXT)
def test_any_response_topic_is_refused_or_harmless(topic: str) -> None:
    if response_topic_fault(topic, "base") is not None:
        return
    assert topic
    assert not set(topic) & set("+#\x00")
    assert not topic.startswith(("$", "homeassistant/"))
    assert topic not in ("homeassistant", "base")


@given(
    st.lists(st.sampled_from(["base", "out", "in", "status", "cmd", "pi", "", "x"]), min_size=1, max_size=6)
)
def test_under_the_base_topic_only_an_out_may_be_named(levels: list[str]) -> None:
    topic = "/".join(levels)
    is_out = len(levels) > 3 and levels[1] != "" and levels[2] == "out"
    if levels[0] == "base":
        assert (response_topic_fault(topic, "base") is None) is is_out


@given(ANY_TEXT)
def test_the_model_of_any_topic_is_text(topic: str) -> None:
    assert isinstance(Topics("edge-agent", "pi").model_of(topic), str)


@given(st.binary(max_size=120), st.integers(1, 64), st.integers(1, 8))
def test_no_limits_make_a_request_larger_than_they_say(payload: bytes, most: int, depth: int) -> None:
    try:
        request = parse_request(payload, Limits(most, depth))
    except PayloadError:
        return
    assert len(request.text.encode()) <= most
