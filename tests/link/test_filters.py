"""Topic filters against the standard's own examples, against brute force and against paho."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from edge_agent.link.filters import (
    captures,
    covers,
    filter_fault,
    matches,
    overlap,
    share_fault,
    shared,
    topic_fault,
)

LEVELS = ("", "a", "b", "$s")
TOPICS = tuple("/".join(levels) for n in (1, 2, 3, 4) for levels in product(LEVELS, repeat=n))[1:]
"""All small topics; enough levels that any two of the small filters that overlap do so in one of them."""

filters = st.lists(st.sampled_from([*LEVELS, "+"]), min_size=0, max_size=3).flatmap(
    lambda levels: st.sampled_from(
        [f for f in ("/".join(levels), "/".join([*levels, "#"])) if filter_fault(f) is None] or ["#"]
    )
)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matched"),
    [  # sections 4.7.1.2, 4.7.1.3, 4.7.2 and 4.7.3 of MQTT 5.0
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("#", "a/b/c", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/broker", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/broker", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        ("ACCOUNTS", "Accounts", False),
        ("/finance", "finance", False),
    ],
)
def test_the_examples_of_the_standard_hold(topic_filter: str, topic: str, matched: bool) -> None:
    assert matches(topic_filter, topic) is matched


@pytest.mark.parametrize("topic_filter", ["#", "+", "+/tennis/#", "a/+/b", "/", "//", "$SYS/#", "a b/c"])
def test_these_filters_are_valid(topic_filter: str) -> None:
    assert filter_fault(topic_filter) is None


@pytest.mark.parametrize(
    "topic_filter",
    ["", "sport/tennis#", "sport/#/ranking", "sport+", "a/b+/c", "##", "#/", "a\x00b", "\ud800", "x" * 65_536,
     "é" * 32_768, "a/" * 100, "$share/pool/x", "$share", "$queue/x", "$oshare/g/x", "$exclusive/x"],
)  # fmt: skip
def test_these_filters_are_refused_with_words(topic_filter: str) -> None:
    assert filter_fault(topic_filter)


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\x00", "\udfff", "a" * 65_536, "/" * 100])
def test_these_are_no_topics_to_publish_to(topic: str) -> None:
    assert topic_fault(topic)


def test_a_share_stands_before_its_filter() -> None:
    assert shared("pool", "shop/+") == "$share/pool/shop/+"
    assert share_fault("pool") is None
    assert all(share_fault(name) for name in ("", "a/b", "+", "a#", "\x00"))


def test_captures_are_levels_and_an_absent_level_is_none_of_them() -> None:
    assert captures("shop/+/x/#", "shop/7/x/a/b") == (("7",), ("a", "b"))
    assert captures("shop/#", "shop") == ((),)
    assert captures("shop/#", "shop/") == (("",),)
    assert captures("shop", "shop") == ()
    assert captures("shop/+", "shop") is None


@given(filters, st.sampled_from(TOPICS))
def test_matching_agrees_with_paho(topic_filter: str, topic: str) -> None:
    assert matches(topic_filter, topic) == topic_matches_sub(topic_filter, topic)


@given(filters, filters)
def test_two_filters_overlap_exactly_where_a_topic_is_matched_by_both(one: str, other: str) -> None:
    common = any(matches(one, topic) and matches(other, topic) for topic in ("", *TOPICS))
    assert overlap(one, other) == overlap(other, one) == common


@given(filters, filters)
def test_a_filter_covers_another_exactly_where_it_matches_all_its_topics(wide: str, narrow: str) -> None:
    # a level that no filter names, so that not even all levels by name do for a wildcard
    topics = (*TOPICS, *(topic.replace("b", "other") for topic in TOPICS))
    missed = any(matches(narrow, topic) and not matches(wide, topic) for topic in topics)
    assert covers(wide, narrow) == (not missed)
    assert not covers(wide, narrow) or overlap(wide, narrow)


@given(filters, st.sampled_from(TOPICS))
def test_a_filter_filled_with_its_captures_is_the_topic_again(topic_filter: str, topic: str) -> None:
    found = captures(topic_filter, topic)
    if found is not None:
        waiting = iter(found)
        levels = [
            x
            for level in topic_filter.split("/")
            for x in (next(waiting) if level in "+#" and level else (level,))
        ]
        assert "/".join(levels) == topic
