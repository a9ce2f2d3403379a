"""What Home Assistant is told, against the written schema of it, for whatever a device may be called."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.link.discovery import (
    BIRTH_TOPIC,
    MAX_DISCOVERY_BYTES,
    Announced,
    Facts,
    Sensors,
    ServedModel,
    announced_from,
    birth_delay_seconds,
    discovery_message,
    discovery_topic,
    is_birth,
    plan,
    removal_message,
)
from edge_agent.link.envelope import Limits, parse_request
from edge_agent.link.topics import Topics
from tests.home_assistant.schema import TOPIC, parse

ALL_SENSORS = Sensors(True, True, True, True, True, True)
FULL = Facts(
    topics=Topics("edge-agent", "pi-kitchen"),
    agent_version="0.3.0",
    board="Raspberry Pi 5 Model B Rev 1.0",
    models=(
        ServedModel("home", "intent"),
        ServedModel("sentiment", "classify"),
        ServedModel("similar", "embed"),
    ),
    sensors=ALL_SENSORS,
    operations=("diagnostics", "model-update", "restart", "self-test"),
    last_answer=True,
)
TOPIC_OF_FULL = "homeassistant/device/pi-kitchen/config"

_texts = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(
    ["{{ 1/0 }}", '"},"components":{', "{% raw %}", "\x00", "\ud800", "a" * 5000, "Küche 🏠", "  "]
)
_names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True) | _texts
_facts = st.builds(
    Facts,
    topics=st.builds(
        Topics,
        st.from_regex(r"[^+#$/\x00-\x1f\x7f-\x9f]{1,20}(/[^+#/\x00-\x1f\x7f-\x9f]{1,20})?", fullmatch=True),
        st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True),
    ),
    agent_version=_texts,
    board=_texts,
    name=st.none() | _texts,
    area=st.none() | _texts,
    models=st.lists(
        st.builds(ServedModel, _names, st.sampled_from(["intent", "classify", "embed"])),
        max_size=6,
        unique_by=lambda model: model.name,
    ),
    sensors=st.builds(Sensors, *[st.booleans()] * 6),
    operations=st.lists(st.sampled_from(FULL.operations), unique=True),
    last_answer=st.booleans(),
    telemetry_interval_seconds=st.floats(0.1, 3600),
)


def component(payload: bytes, key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload)["components"][key]
    return found


def render(template: str, document: Any, **more: Any) -> str:
    """As Home Assistant renders a template of MQTT: the payload as ``value_json``."""
    environment = jinja2.Environment(autoescape=False)
    return environment.from_string(template).render(value_json=document, **more)


@given(_facts)
@settings(max_examples=150, deadline=None)
def test_whatever_a_device_and_its_models_are_called_home_assistant_takes_the_announcement(
    facts: Facts,
) -> None:
    parsed = parse(discovery_message(facts))
    root = facts.topics.root
    assert parsed.device.identifiers == [f"edge-agent_{facts.topics.device}"]
    for entity in parsed.present().values():
        assert entity.unique_id.startswith(facts.topics.device + ".")
        topics = (getattr(entity, "state_topic", None), getattr(entity, "command_topic", None))
        assert all(topic is None or topic.startswith(root + "/") for topic in topics)


@given(_facts)
@settings(max_examples=60, deadline=None)
def test_no_name_of_device_or_model_is_ever_part_of_a_template(facts: Facts) -> None:
    allowed = {
        option
        for one in json.loads(discovery_message(FULL))["components"].values()
        for key, option in one.items()
        if key.endswith("_template")
    }
    for one in json.loads(discovery_message(facts))["components"].values():
        assert {option for key, option in one.items() if key.endswith("_template")} <= allowed


@given(
    _facts, st.dictionaries(st.from_regex(r"[a-z_]{1,40}", fullmatch=True), st.just("sensor"), max_size=200)
)
@settings(max_examples=40, deadline=None)
def test_what_was_announced_once_stays_named_with_its_platform_alone(
    facts: Facts, former: dict[str, str]
) -> None:
    parsed = parse(discovery_message(facts, former))
    assert not set(parsed.gone()) & set(parsed.present())
    assert len(parsed.gone()) <= 64
    assert set(parsed.gone()) <= set(former)


def test_a_thousand_models_leave_the_announcement_under_64_kilobytes_and_say_what_is_left_out() -> None:
    models = [ServedModel(f"{'m' * 59}{number:05}", "intent") for number in range(1000)]
    former = {f"{'g' * 75}{number:05}": "binary_sensor" for number in range(1000)}
    crowd = plan("homeassistant", replace(FULL, models=models), Announced(TOPIC_OF_FULL, former))
    payload = crowd.messages[0][1]
    assert len(payload) <= MAX_DISCOVERY_BYTES
    parsed = parse(payload)
    assert "power" in parsed.present()
    assert len(parsed.present()) > 50
    assert len(crowd.left_out) + len(parsed.present()) == 13 + 4 * 1000
    assert crowd.announced is not None
    assert set(crowd.announced.components) == set(parsed.components)


def test_the_topic_is_the_only_one_that_a_device_may_write() -> None:
    match = TOPIC.fullmatch(discovery_topic("homeassistant", "pi-kitchen"))
    assert match is not None
    assert match["object_id"] == "pi-kitchen"


def test_entities_are_those_that_the_device_has_something_for() -> None:
    bare = Facts(Topics("edge-agent", "pi"), "0.3.0", "board")
    assert set(parse(discovery_message(bare)).present()) == {
        "status", "health", "requests", "latency_p50", "latency_p99",
    }  # fmt: skip
    assert set(parse(discovery_message(FULL)).present()) == {
        "status", "health", "requests", "latency_p50", "latency_p99", "restart", "self_test",
        "power", "energy", "temperature", "battery", "under_voltage", "throttled",
        "say_home", "say_sentiment", "model_home", "model_sentiment", "model_similar",
        "answer_home", "confidence_home", "answer_sentiment", "confidence_sentiment",
    }  # fmt: skip


def test_last_answers_are_entities_only_where_the_owner_wants_them() -> None:
    quiet = json.loads(discovery_message(replace(FULL, last_answer=False)))
    assert "/out/" not in json.dumps(quiet)


def test_a_model_can_be_updated_from_home_assistant_only_where_the_agent_knows_how() -> None:
    able = component(discovery_message(FULL), "model_home")
    assert able["command_topic"] == "edge-agent/pi-kitchen/request/model-update"
    assert json.loads(able["payload_install"]) == {"name": "home"}
    unable = component(discovery_message(replace(FULL, operations=())), "model_home")
    assert "command_topic" not in unable
    assert unable["entity_category"] == "diagnostic"


def test_only_measurements_that_are_not_retained_expire() -> None:
    for entity in parse(discovery_message(replace(FULL, telemetry_interval_seconds=45.5))).present().values():
        expiry = getattr(entity, "expire_after", None)
        assert (expiry == 137) == (getattr(entity, "state_topic", "").endswith("/power")), entity.unique_id


POWER = {
    "power_w": 4.73, "energy_j": 18203.5, "source": "ina3221", "scope": "module", "quality": "measured",
    "under_voltage": False, "throttled": True, "temperature_c": 51.2, "battery_percent": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "document", "shown"),
    [
        ("power", POWER, "4.73"),
        ("power", {**POWER, "power_w": None}, "None"),
        ("energy", POWER, "5.0565"),
        ("energy", {**POWER, "energy_j": None}, "None"),
        ("energy", {**POWER, "energy_j": 0.0}, "0.0"),
        ("temperature", POWER, "51.2"),
        ("battery", POWER, "None"),
        ("under_voltage", POWER, "False"),
        ("under_voltage", {**POWER, "under_voltage": None}, "None"),
        ("throttled", POWER, "True"),
        ("health", {"status": "degraded"}, "degraded"),
        ("requests", {"inference": {"per_minute": 61.5}}, "61.5"),
        ("latency_p99", {"inference": {"p99_ms": None}}, "None"),
        ("answer_home", {"intent": "HassTurnOn", "confidence": 0.97}, "HassTurnOn"),
        ("answer_home", {"intent": None, "confidence": 0.4}, "unrecognized"),
        ("answer_home", {"id": None, "error": {"code": "expired", "message": "late"}}, "expired"),
        ("answer_sentiment", {"label": "positive", "confidence": 0.97}, "positive"),
        ("confidence_home", {"intent": "HassTurnOn", "confidence": 0.9712}, "97.1"),
        ("confidence_home", {"id": None, "error": {"code": "expired"}}, "None"),
        ("say_home", "online", ""),
    ],
)
def test_a_value_is_shown_as_it_is_and_what_is_null_is_unknown(key: str, document: Any, shown: str) -> None:
    assert render(component(discovery_message(FULL), key)["value_template"], document) == shown


def test_power_says_where_its_figure_comes_from_and_whether_it_was_measured() -> None:
    template = component(discovery_message(FULL), "power")["json_attributes_template"]
    assert json.loads(render(template, POWER)) == {
        "source": "ina3221",
        "scope": "module",
        "quality": "measured",
    }


def test_only_keys_that_home_assistant_knows_reach_its_update_entity() -> None:
    template = component(discovery_message(FULL), "model_home")["value_template"]
    document = {
        "installed_version": "1.0.0", "latest_version": None, "in_progress": False,
        "update_percentage": None, "state": "kept", "reason": None,
    }  # fmt: skip
    shown = {
        "installed_version": "1.0.0", "latest_version": "1.0.0",
        "in_progress": False, "update_percentage": None,
    }  # fmt: skip
    assert json.loads(render(template, document)) == shown
    assert json.loads(render(template, {"installed_version": "1.0.0"})) == shown
    assert render(template, {**document, "installed_version": None}) == ""


@pytest.mark.parametrize("said", ['enciende "la luz"', '{"text": "x"}', "a\\b", "{{ 1 }}", "ñ" * 255, "<&'"])
def test_a_sentence_arrives_as_it_was_typed_and_is_not_obeyed_hours_later(said: str) -> None:
    template = component(discovery_message(FULL), "say_home")["command_template"]
    now = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=timezone.utc)
    request = parse_request(render(template, None, value=said, utcnow=lambda: now).encode(), Limits(4096))
    assert request.text == said
    assert request.ttl_seconds == 60
    assert request.sent_at == pytest.approx(now.timestamp(), abs=1e-3)


def test_a_model_that_vanishes_is_removed_and_one_that_returns_is_there_again() -> None:
    first = plan("homeassistant", FULL, None)
    assert [topic for topic, _ in first.messages] == [TOPIC_OF_FULL]
    fewer = plan("homeassistant", replace(FULL, models=FULL.models[:1]), first.announced)
    assert parse(fewer.messages[0][1]).gone() == {
        "say_sentiment": "text", "model_sentiment": "update", "model_similar": "update",
        "answer_sentiment": "sensor", "confidence_sentiment": "sensor",
    }  # fmt: skip
    again = plan("homeassistant", FULL, fewer.announced)
    assert again.messages == first.messages


def test_switched_off_the_device_is_cleared_once() -> None:
    announced = plan("homeassistant", FULL, None).announced
    off = plan("homeassistant", None, announced)
    assert off.messages == ((TOPIC_OF_FULL, removal_message()),)
    assert off.announced is None
    assert plan("homeassistant", None, None).messages == ()


def test_another_prefix_or_id_clears_the_old_place_first() -> None:
    announced = plan("homeassistant", FULL, None).announced
    moved = plan("ha", FULL, announced)
    assert [topic for topic, _ in moved.messages] == [TOPIC_OF_FULL, "ha/device/pi-kitchen/config"]
    assert moved.messages[0][1] == b""
    assert parse(moved.messages[1][1]).gone() == {}


def test_what_was_announced_is_remembered_over_a_restart() -> None:
    announced = plan("homeassistant", FULL, None).announced
    assert announced is not None
    assert announced_from(announced.to_bytes()) == announced


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["topic", "components", "x"]), inner, max_size=3)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_a_torn_memory_is_none(content: bytes) -> None:
    remembered = announced_from(content)
    assert remembered is None or (remembered.topic and isinstance(remembered.components, dict))


def test_home_assistants_start_is_answered_after_a_while_of_one_to_ten_seconds() -> None:
    assert is_birth(BIRTH_TOPIC, b"online")
    assert not is_birth(BIRTH_TOPIC, b"offline")
    assert not is_birth("homeassistant/other", b"online")
    assert (birth_delay_seconds(0.0), birth_delay_seconds(1.0)) == (1.0, 10.0)
