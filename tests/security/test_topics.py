"""Topic injection: what a response topic or a route's topic may not become, and who is told."""

from __future__ import annotations

import json

import pytest

from tests.deploy.hardened import Keys
from tests.deploy.visitor import Visitor
from tests.security.asking import REQUESTS, RESULTS, SENTENCE, House, assert_well

REFUSED_BY_THE_AGENT = (
    "edge-agent/pi-1/status", "edge-agent/pi-1/in/tiny", "edge-agent/pi-1/cmd/restart/1",
    "edge-agent/pi-2/in/tiny", "edge-agent/pi-2/health", "edge-agent", "edge-agent/pi-1/out",
    "homeassistant/device/pi-1/config", "homeassistant/status", "$SYS/broker/log/N", "$share/x/y",
    "edge-agent//out/x",
)  # fmt: skip


@pytest.mark.parametrize("topic", REFUSED_BY_THE_AGENT)
def test_a_response_topic_that_others_trust_is_refused_and_not_written(house: House, topic: str) -> None:
    before = len(house.crm.on(RESULTS))
    request = json.dumps({"text": SENTENCE, "id": topic})
    assert house.crm.publish(REQUESTS, request, response_topic=topic) == "Success"
    answer = json.loads(house.crm.wait_for(RESULTS, count=before + 1)[-1].payload)
    assert (answer["id"], answer["error"]["code"]) == (topic, "bad_payload")
    assert_well(house.crm)
    heard = [*house.operator.heard, *house.crm.heard]
    assert not [m for m in heard if m.topic == topic and topic.encode() in m.payload]


def test_a_response_topic_in_anothers_tree_is_denied_and_health_says_so(house: House, keys: Keys) -> None:
    topic = "edge-agent/pi-2/out/app.crm/geheimnis"
    assert house.crm.publish(REQUESTS, SENTENCE, response_topic=topic) == "Success"
    told = house.operator.wait_until(
        lambda m: m.topic == "edge-agent/pi-1/health" and b"Not authorized" in m.payload
    )
    assert b"geheimnis" not in told.payload
    assert b"another tree" in told.payload
    assert json.loads(told.payload)["dropped"]["refused_answer"] >= 1
    assert_well(house.crm)
    assert not house.crm.on(topic)


def test_forbidden_answers_do_not_use_up_the_ways_in(house: House) -> None:
    """More of them than Receive Maximum and the queue together hold."""
    for number in range(100):
        assert house.crm.publish(REQUESTS, SENTENCE, response_topic=f"elsewhere/{number}") == "Success"
    assert_well(house.crm)


def test_a_route_answers_where_its_template_says(house: House) -> None:
    assert house.crm.publish("shop/7/reviews", SENTENCE) == "Success"
    assert json.loads(house.crm.wait_for("shop/7/sentiment")[0].payload)["intent"] == "HassTurnOn"


@pytest.mark.parametrize("level", ["homeassistant", "edge-agent"])
def test_a_strangers_topic_cannot_aim_a_routes_answer_at_what_others_trust(house: House, level: str) -> None:
    """The broker would let the device write there: the refusal is the agent's own."""
    before = len(house.crm.on(RESULTS))
    request = json.dumps({"body": SENTENCE, "id": f"by {level}"})
    assert house.crm.publish(f"{level}/reviews", request) == "Success"
    answer = json.loads(house.crm.wait_for(RESULTS, count=before + 1)[-1].payload)
    assert (answer["id"], answer["error"]["code"]) == (f"by {level}", "bad_payload")
    assert not house.crm.on(f"{level}/sentiment")


def test_braces_and_dollars_in_a_strangers_topic_are_only_characters(house: House) -> None:
    for level in ("{1}", "{device}", "a$b", "%u", "..", "~"):
        assert house.crm.publish(f"shop/{level}/reviews", SENTENCE) == "Success"
        house.crm.wait_for(f"shop/{level}/sentiment")


def test_a_response_topic_does_not_redirect_a_foreign_programs_talk(house: House) -> None:
    """Where the text stands in a foreign payload, its Response Topic is for somebody else."""
    aimed = "edge-agent/pi-1/out/app.crm/aimed"
    request = json.dumps({"body": SENTENCE})
    assert house.crm.publish("plant/reviews", request, response_topic=aimed) == "Success"
    house.crm.wait_for("plant/sentiment")
    assert not house.crm.on(aimed)


def test_a_stranger_hears_no_answers(house: House, keys: Keys) -> None:
    with Visitor(house.broker.port, "#", keys=keys, certificate="pi-2") as other:
        assert_well(house.crm)
        assert other.publish("edge-agent/pi-2/canary", "marker") == "Success"
        other.wait_for("edge-agent/pi-2/canary")
        assert {message.topic for message in other.heard} == {"edge-agent/pi-2/canary"}
