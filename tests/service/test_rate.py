"""The token buckets: what passes, for how long, and in how much memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.service.rate import RateLimiter


def test_a_burst_passes_at_once_and_then_the_rate() -> None:
    limiter = RateLimiter(2.0, 3)
    assert [limiter.allows("a", 100.0) for _ in range(5)] == [True, True, True, False, False]
    assert not limiter.allows("a", 100.4)
    assert limiter.allows("a", 100.5)
    assert not limiter.allows("a", 100.5)


def test_a_rest_fills_the_bucket_and_no_more() -> None:
    limiter = RateLimiter(1.0, 2)
    assert limiter.allows("a", 0.0)
    assert [limiter.allows("a", 1e9) for _ in range(3)] == [True, True, False]


def test_one_topic_costs_another_nothing() -> None:
    limiter = RateLimiter(1.0, 1)
    assert limiter.allows("a", 0.0)
    assert not limiter.allows("a", 0.0)
    assert limiter.allows("b", 0.0)


def test_of_many_topics_the_latest_are_remembered() -> None:
    limiter = RateLimiter(1e-9, 1, most_topics=3)
    for topic in "abc":
        assert limiter.allows(topic, 0.0)
    assert not limiter.allows("a", 0.0)  # used again, so that b is now the oldest
    assert limiter.allows("d", 0.0)
    assert len(limiter) == 3
    assert [limiter.allows(topic, 0.0) for topic in "acd"] == [False, False, False]
    assert limiter.allows("b", 0.0)


def test_a_long_topic_is_limited_without_being_kept() -> None:
    limiter = RateLimiter(1.0, 1)
    long = "x/" * 30_000
    assert limiter.allows(long, 0.0)
    assert not limiter.allows(long, 0.0)
    assert all(len(str(key)) <= 128 for key in limiter._buckets)


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    limiter = RateLimiter(1.0, 1)
    assert limiter.allows("a", 100.0)
    assert not limiter.allows("a", 50.0)
    assert not limiter.allows("a", 50.5)
    assert limiter.allows("a", 51.5)


@pytest.mark.parametrize(
    ("per_second", "burst", "topics"),
    [(0.0, 1, 1), (-1.0, 1, 1), (math.nan, 1, 1), (math.inf, 1, 1), (1.0, 0, 1), (1.0, 1, 0)],
)
def test_what_is_no_rate_is_refused(per_second: float, burst: int, topics: int) -> None:
    with pytest.raises(ValueError, match="rate"):
        RateLimiter(per_second, burst, topics)


@given(
    st.floats(0.01, 1000.0),
    st.integers(1, 50),
    st.lists(st.floats(0.0, 5.0), max_size=60),
)
def test_in_any_time_no_more_passes_than_a_burst_and_the_rate(
    per_second: float, burst: int, pauses: list[float]
) -> None:
    limiter = RateLimiter(per_second, burst)
    now, passed = 1000.0, 0
    for pause in pauses:
        now += pause
        passed += limiter.allows("a", now)
    assert passed <= burst + (now - 1000.0) * per_second + 1e-6


@given(st.floats(0.1, 100.0), st.integers(1, 10), st.integers(1, 100))
def test_who_keeps_to_the_rate_is_never_refused(per_second: float, burst: int, count: int) -> None:
    limiter = RateLimiter(per_second, burst)
    assert all(limiter.allows("a", number * 1.000001 / per_second) for number in range(count))
