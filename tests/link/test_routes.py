"""Routes: which are refused and why, where messages go, and what strangers' topics cannot do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.filters import filter_fault, matches, topic_fault
from edge_agent.link.json_path import JsonPath
from edge_agent.link.routes import Route, Router, Subscriptions, Target
from edge_agent.link.topics import Topics, response_topic_fault

TOPICS = Topics("edge-agent", "pi")
OWN = "edge-agent/pi/in/+"


def route(subscribe: str, publish: str, **others: Any) -> Route:
    return Route(subscribe, "sentiment", publish, **others)


def router(*routes: Route) -> Router:
    return Router(TOPICS, routes)


def refusal(*routes: Route) -> str:
    with pytest.raises(ValueError, match="route") as caught:
        router(*routes)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Where messages go


def test_without_routes_a_request_goes_to_its_model_and_its_answer_to_out() -> None:
    bare = router()
    assert bare.filters == Subscriptions((OWN,), ())
    assert bare.resolve("edge-agent/pi/in/home") == Target("home", "edge-agent/pi/out/home")
    assert bare.resolve("edge-agent/pi/in/a/b") is None
    assert bare.resolve("edge-agent/pi/status") is None


def test_a_route_leads_from_a_topic_to_a_model_and_a_topic_for_its_answers() -> None:
    shop = router(route("shop/+/reviews", "shop/{1}/sentiment", text="$.body"))
    assert shop.filters == Subscriptions((OWN, "shop/+/reviews"), ())
    expected = Target("sentiment", "shop/7/sentiment", JsonPath(("body",)), response_allowed=False)
    assert shop.resolve("shop/7/reviews") == expected
    assert shop.resolve("shop/7/reviews") is shop.resolve("shop/7/reviews")
    assert shop.resolve("shop/7/8/reviews") is None


@pytest.mark.parametrize(
    ("subscribe", "publish", "topic", "answer"),
    [
        ("a/+/b/+", "x/{2}/{1}", "a/1/b/2", "x/2/1"),
        ("a/+", "x/{1}-{1}.{model}", "a/é", "x/é-é.sentiment"),
        ("a/+", "x/{device}", "a/1", "x/pi"),
        ("a/#", "x/{1}", "a/1/2", "x/1/2"),
        ("a/#", "x/{1}/end", "a/1/2", "x/1/2/end"),
        ("a/#", "x/{1}/end", "a", "x/end"),
        ("a/#", "x/{1}/end", "a/", "x//end"),
        ("a/+/#", "x/{2}/{1}", "a/1/2/3", "x/2/3/1"),
        ("a/+", "x/{1}/y", "a/", "x//y"),
        ("a/+", "x/{1}", "a/{device}", "x/{device}"),
        ("a/+", "edge-agent/pool/out/{1}", "a/1", "edge-agent/pool/out/1"),
    ],
)
def test_a_template_is_filled_with_levels(subscribe: str, publish: str, topic: str, answer: str) -> None:
    target = router(route(subscribe, publish)).resolve(topic)
    assert target == Target("sentiment", answer)


def test_a_path_to_the_whole_payload_means_a_request_as_on_in() -> None:
    target = router(route("a", "b", text="$")).resolve("a")
    assert target == Target("sentiment", "b")
    assert target.response_allowed


def test_the_first_route_that_matches_wins() -> None:
    two = router(route("a/+/c", "one"), Route("a/#", "home", "two"))
    assert two.resolve("a/b/c") == Target("sentiment", "one")
    assert two.resolve("a/b/d") == Target("home", "two")


def test_a_filter_that_another_covers_is_not_asked_for() -> None:
    assert router(route("a/+/c", "one"), route("a/#", "two"), route("b", "three")).filters.wait == (
        OWN,
        "a/#",
        "b",
    )


def test_a_share_is_asked_for_by_the_link_that_fits_what_death_means() -> None:
    pools = router(
        route("a/+", "x", share="pool"),
        route("b/+", "y", share="pool", on_death="take_over"),
    )
    assert pools.filters == Subscriptions((OWN, "$share/pool/a/+"), ("$share/pool/b/+",))
    assert pools.resolve("b/1") == Target("sentiment", "y")


def test_what_is_remembered_is_bounded() -> None:
    shop = router(route("shop/#", "x"))
    for number in range(5000):
        assert shop.resolve(f"shop/{number}") == Target("sentiment", "x")
        assert shop.resolve(f"edge-agent/pi/in/{number}") is not None
    long = "shop/" + "x" * 60_000
    assert shop.resolve(long) == Target("sentiment", "x")
    assert len(shop._known) <= 1024
    assert long not in shop._known


# What is refused when the settings are read


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (route("a/#/b", "x"), "route 1 (a/#/b): the filter has a # that is not its last level"),
        (route("$share/pool/a", "x"), "the filter begins with $share"),
        (route("a", "x", share="p/q"), "the share's name has a slash"),
        (route("a", "x", on_death="take_over"), "needs a share"),
        (Route("a", "so/so", "x"), "the model's name has a slash"),
        (Route("a", "", "x"), "the model's name is empty"),
        (route("a", "x", text="body"), "the path of the text does not begin with $"),
        (route("a", "x", text="$..body"), "the path of the text is not of names and indices at character 2"),
        (route("a", "x/{1}"), "has {1}, and there are only {device}, {model}"),
        (route("a/+", "x/{2}"), "has {2}, and there are only {1}, {device}, {model}"),
        (route("a/+", "x/{0}"), "has {0}"),
        (route("a/+", "x/{topic}"), "has {topic}"),
        (route("a/+", "x/{}"), "has {}"),
        (route("a/+", "x/{1"), "has a brace without its other"),
        (route("a/+", "x/1}"), "has a brace without its other"),
        (route("a/#", "x/no{1}"), "puts {1}, the #, beside other text"),
        (route("a/+", "x/+"), "the route's answer topic has a wildcard"),
        (route("a/+", ""), "the route's answer topic is empty"),
        (route("a/+", "$SYS/{1}"), "the route's answer topic begins with $"),
        (route("a/+", "homeassistant/{1}"), "is under the discovery prefix"),
        (route("a/+", "edge-agent/pi/health"), "is under the base topic and not an out/"),
        (route("a/+", "edge-agent/other/in/home"), "is under the base topic and not an out/"),
    ],
)
def test_a_route_that_cannot_be_is_refused_with_words(broken: Route, words: str) -> None:
    assert words in refusal(broken)


@pytest.mark.parametrize(
    "publish", ["edge-agent/pi/in/home", "{1}/pi/in/home", "{1}/{2}/cmd/x", "{1}/{2}/request/x"]
)
def test_answers_cannot_go_where_requests_and_commands_come_from(publish: str) -> None:
    assert "where requests come from" in refusal(route("x/+/+", publish))


@pytest.mark.parametrize(
    "subscribe", ["edge-agent/#", "+/+/status", "edge-agent/pi/out/home", "edge-agent/+/health", "#"]
)
def test_a_route_does_not_listen_to_the_devices_own_words(subscribe: str) -> None:
    assert "publishes itself" in refusal(route(subscribe, "x"))


@pytest.mark.parametrize(
    "subscribe", ["edge-agent/pi/in/home", "edge-agent/+/cmd/restart/1", "+/+/request/restart"]
)
def test_a_route_does_not_listen_where_the_device_does_already(subscribe: str) -> None:
    assert "already" in refusal(route(subscribe, "x"))


def test_other_devices_and_other_parts_of_the_tree_may_be_listened_to() -> None:
    router(route("edge-agent/other/out/home", "x"), route("+/+/text", "y"), route("$SYS/broker/log/#", "z"))


@pytest.mark.parametrize(
    ("subscribe", "publish"),
    [
        ("a", "a"),
        ("a/+", "a/b"),
        ("a/+", "a/{1}"),
        ("a/#", "a"),
        ("a/+/b", "{1}/x/b"),
        ("a/#", "{1}"),
        ("a/+", "a/x{1}"),
    ],
)
def test_a_route_must_not_feed_itself(subscribe: str, publish: str) -> None:
    refusal(route(subscribe, publish))


def test_routes_must_not_feed_one_another_in_a_circle() -> None:
    message = refusal(route("z", "y"), route("a/+", "b/{1}"), route("b/+", "c/{1}"), route("c/#", "a/{1}"))
    assert message == (
        "a route must not feed itself: route 2 (a/+) → route 3 (b/+) → route 4 (c/#) → route 2 (a/+)"
    )


def test_a_chain_of_routes_is_no_circle() -> None:
    chain = router(route("a/+", "b/{1}"), route("b/+", "c/{1}", text="$.label"))
    assert chain.filters.wait == (OWN, "a/+", "b/+")


def test_a_route_out_of_reach_is_refused() -> None:
    assert "route 2 (a/b): route 1 (a/#) takes all its messages" in refusal(
        route("a/#", "x"), route("a/b", "y")
    )
    assert "takes all" in refusal(route("a", "x"), route("a", "y"))


def test_a_pools_messages_do_not_come_twice() -> None:
    for first, second in [({"share": "p"}, {}), ({}, {"share": "p"}), ({"share": "p"}, {"share": "q"})]:
        assert "come twice" in refusal(route("a/b/+", "x", **first), route("a/+/c", "y", **second))


# What strangers' topics cannot do


@pytest.mark.parametrize(
    ("subscribe", "publish", "topic"),
    [
        ("a/b/+/+", "{1}/{2}/health", "a/b/edge-agent/pi"),
        ("a/b/+/+", "{1}/other/in/{2}", "a/b/edge-agent/home"),
        ("a/+/+", "{1}/{2}/light/config", "a/homeassistant/x"),
        ("a/+/b", "{1}/pi/health", "a/edge-agent/b"),
        ("a/+", "{1}/x/y", "a/$SYS"),
        ("a/+", "{1}", "a/"),
        ("a/#", "b/{1}/c", "a/" + "x/" * 98 + "x"),
        ("a/+", "b/{1}/c/{1}", "a/" + "x" * 65_000),
    ],
)
def test_an_answer_topic_that_a_stranger_aims_elsewhere_is_refused(
    subscribe: str, publish: str, topic: str
) -> None:
    target = router(route(subscribe, publish)).resolve(topic)
    assert target is not None
    assert target.fault is not None
    assert target.fault.startswith("the route's answer topic ")
    assert target.answer_topic == "edge-agent/pi/out/sentiment"
    assert not target.response_allowed


def test_an_answer_is_not_sent_where_it_would_become_a_request() -> None:
    shop = router(route("shop/+/reviews", "shop/{1}/sentiment"))
    assert shop.response_topic_fault("shop/7/answers") is None
    assert (
        shop.response_topic_fault("shop/7/reviews") == "the response topic is one that this device listens to"
    )
    assert shop.response_topic_fault("edge-agent/pi/cmd/x/1") is not None


def test_a_response_topic_at_which_a_broker_hangs_up_is_refused() -> None:
    """Mosquitto hands such a request over, and ends the connection of whoever answers it."""
    assert router().response_topic_fault("x" + "/x" * 99) is None
    assert router().response_topic_fault("x" + "/x" * 250) == "the response topic has more than 100 levels"


level = st.text(st.sampled_from("ab+#{}1/$"), max_size=3)
wild = st.lists(st.sampled_from(["+", "a", "b", "edge-agent", "pi", "$x"]), min_size=1, max_size=4)
pieces = st.lists(
    st.sampled_from(["{1}", "{2}", "x", "{1}x", "edge-agent", "pi", "in", "out", "cmd", "homeassistant"]),
    min_size=1, max_size=5,
)  # fmt: skip
names = st.sampled_from(
    ["", "a", "b", "edge-agent", "pi", "in", "out", "cmd", "homeassistant", "$x", "in/x", "é"]
)


@given(wild, st.booleans(), pieces, st.lists(names, min_size=1, max_size=6))
def test_whatever_a_stranger_fills_in_an_answer_goes_only_where_it_may(
    subscribe: list[str], endless: bool, publish: list[str], levels: list[str]
) -> None:
    topic_filter = "/".join(subscribe + ["#"] * endless)
    try:
        one = router(route(topic_filter, "/".join(publish)))
    except ValueError:
        return
    filled = iter(levels * 6)
    topic = "/".join(next(filled) if part == "+" else part for part in subscribe)
    topic = "/".join([topic, *levels]) if endless else topic
    target = one.resolve(topic)
    if target is None:
        assert not matches(topic_filter, topic) or topic.startswith("edge-agent/pi/in/")
        return
    assert topic_fault(target.answer_topic) is None
    assert response_topic_fault(target.answer_topic, "edge-agent") is None
    assert one.resolve(target.answer_topic) is None, "an answer became a request"


@given(st.lists(level, min_size=1, max_size=4), st.lists(level, min_size=1, max_size=4), st.text(max_size=6))
def test_any_route_is_one_or_refused_in_one_line(subscribe: list[str], publish: list[str], text: str) -> None:
    try:
        made = router(route("/".join(subscribe), "/".join(publish), text=text))
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017  # a refusal is as good as a route
        return
    assert all(filter_fault(one) is None for one in made.filters.wait)
