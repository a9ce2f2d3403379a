"""A real Home Assistant: the device's entities appear, follow, and go without a trace."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import pytest

from edge_agent.link.discovery import BIRTH_TOPIC, Facts, Sensors, ServedModel, discovery_message, plan
from edge_agent.link.topics import Topics
from tests.home_assistant.core import HomeAssistant, need_home_assistant
from tests.home_assistant.schema import parse
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe

need_home_assistant()
pytestmark = pytest.mark.slow

FULL = Facts(
    topics=Topics("edge-agent", "pi-full"),
    agent_version="0.3.0",
    board="Raspberry Pi 5 Model B Rev 1.0",
    name='Pi "full" {{ 1 }}',
    area="Garage",
    models=(ServedModel("home", "intent"), ServedModel("sentiment", "classify")),
    sensors=Sensors(True, True, True, True, True, True),
    operations=("restart", "self-test"),
    last_answer=True,
)
KINDS = {key: one.platform for key, one in parse(discovery_message(FULL)).present().items()}
ROOT = FULL.topics.root
POWER = {
    "power_w": 4.73, "energy_j": 18203.5, "source": "ina3221", "scope": "module", "quality": "measured",
    "under_voltage": False, "throttled": True, "temperature_c": 51.2, "battery_percent": 80,
}  # fmt: skip
HEALTH = {
    "status": "degraded",
    "reasons": ["model sentiment: golden sentence 3"],
    "inference": {"per_minute": 61.5, "p50_ms": 1.6, "p99_ms": 4.0},
}
TEST = "edge_agent_pi_test"


def _tell(probe: Probe, facts: Facts | None, prefix: str = "homeassistant") -> None:
    """As the agent does, with what was told before read from the broker's retained message."""
    before = plan("homeassistant", FULL, None).announced
    for topic, payload in plan(prefix, facts, before).messages:
        probe.publish(topic, payload, retain=True)


def _ids(home: HomeAssistant, device: str = "pi-full") -> dict[str, str]:
    """Entity id by key, of one device."""
    return {
        unique.partition(".")[2]: entry["entity_id"]
        for unique, entry in home.entities().items()
        if unique.startswith(device + ".")
    }


@pytest.fixture
def full(home: HomeAssistant, probe: Probe) -> dict[str, str]:
    """A device with everything, announced; entity id by key."""
    _tell(probe, FULL)
    probe.publish(FULL.topics.status, "online", retain=True)
    home.wait_equal(lambda: set(_ids(home)), set(KINDS))
    return _ids(home)


def test_all_entities_appear_under_their_device_with_its_room(
    home: HomeAssistant, full: dict[str, str]
) -> None:
    device = next(one for one in home.devices() if one["name"] == FULL.name)
    assert device["area_id"] == "garage"
    assert device["sw_version"] == "0.3.0"
    assert {entry["device_id"] for key, entry in home.entities().items() if key.startswith("pi-full.")} == {
        device["id"]
    }
    assert {key: entity.partition(".")[0] for key, entity in full.items()} == KINDS


def test_values_follow_and_null_is_unknown(home: HomeAssistant, full: dict[str, str], probe: Probe) -> None:
    probe.publish(f"{ROOT}/health", HEALTH, retain=True)
    version = {"installed_version": "1.0.0", "latest_version": "1.1.0", "state": "kept", "reason": None}
    probe.publish(f"{ROOT}/model/home", version, retain=True)
    wanted = {
        "status": "on", "health": "degraded", "requests": "61.5", "latency_p50": "1.6", "latency_p99": "4.0",
        "power": "4.73", "energy": "5.0565", "temperature": "51.2", "battery": "80",
        "under_voltage": "off", "throttled": "on", "model_home": "on",
        "answer_home": "HassTurnOn", "confidence_home": "97.1",
    }  # fmt: skip

    def shown() -> dict[str, str | None]:
        # Again and again: Home Assistant subscribes some time after the entity is there.
        probe.publish(f"{ROOT}/power", POWER)
        probe.publish(f"{ROOT}/out/home", {"id": None, "intent": "HassTurnOn", "confidence": 0.9712})
        states = home.states()
        return {key: states[full[key]]["state"] for key in wanted}

    home.wait_equal(shown, wanted, 15)
    states = home.states()
    assert states[full["health"]]["attributes"]["reasons"] == HEALTH["reasons"]
    assert states[full["power"]]["attributes"]["quality"] == "measured"
    assert states[full["model_home"]]["attributes"]["latest_version"] == "1.1.0"
    unknown = dict.fromkeys(POWER, None)
    probe.publish(f"{ROOT}/power", unknown)
    keys = ("power", "energy", "temperature", "battery", "under_voltage", "throttled")
    home.wait(lambda: all(home.state(full[key]) == "unknown" for key in keys), "unknown values")


def test_a_model_that_goes_takes_its_entities_along(
    home: HomeAssistant, full: dict[str, str], probe: Probe
) -> None:
    _tell(probe, replace(FULL, models=FULL.models[:1]))
    left = {key for key in full if "sentiment" not in key}
    home.wait_equal(lambda: set(_ids(home)), left)
    _tell(probe, FULL)
    home.wait_equal(lambda: _ids(home), full)


@pytest.mark.parametrize("prefix", ["homeassistant", "elsewhere"])
def test_switched_off_or_moved_to_another_prefix_it_leaves_nothing_in_the_registries(
    home: HomeAssistant, full: dict[str, str], probe: Probe, prefix: str
) -> None:
    _tell(probe, None if prefix == "homeassistant" else FULL, prefix)
    home.wait_equal(lambda: _ids(home), {})
    home.wait(lambda: not any(one["name"] == FULL.name for one in home.devices()), "no device")
    assert not set(full.values()) & set(home.states())


def test_a_daemon_that_is_killed_is_off_and_its_entities_unavailable(
    home: HomeAssistant, daemon: Daemon
) -> None:
    shown = (f"sensor.{TEST}_health", f"text.{TEST}_say_to_home", f"button.{TEST}_restart")
    home.wait_for_state(f"binary_sensor.{TEST}_connectivity", "on")
    daemon.stop(signal.SIGKILL)
    home.wait_for_state(f"binary_sensor.{TEST}_connectivity", "off")
    home.wait(lambda: {home.state(one) for one in shown} == {"unavailable"}, "unavailable")
    daemon.start()
    home.wait_for_state(f"binary_sensor.{TEST}_connectivity", "on")
    home.wait_for_state(f"sensor.{TEST}_health", "up")


def test_a_sentence_in_the_text_entity_is_answered_each_time_and_kept_nowhere(
    home: HomeAssistant, daemon: Daemon, probe: Probe
) -> None:
    said = "set the bedroom to 40 percent"
    probe.forget()
    for count in (1, 2):
        home.act("text.set_value", {"value": said}, f"text.{TEST}_say_to_home")
        answers = probe.wait_for(f"{daemon.root}/out/home", count=count, within_seconds=30)
        assert answers[-1].json["intent"] == "HassLightSet"
    assert home.state(f"text.{TEST}_say_to_home") == ""
    assert said not in json.dumps(home.states())


def test_restart_and_self_test_can_be_pressed_again_and_again(
    home: HomeAssistant, daemon: Daemon, probe: Probe
) -> None:
    probe.forget()
    ready = len(daemon.events("agent.ready"))
    for number in (1, 2):
        home.act("button.press", entity=f"button.{TEST}_self_test")
        probe.wait_until(
            lambda heard, number=number: len(_succeeded(probe, daemon, "self-test")) == number, 60
        )
    for number in (1, 2):
        home.act("button.press", entity=f"button.{TEST}_restart")
        daemon.wait_for_event("agent.ready", count=ready + number, within_seconds=60)
        probe.wait_until(lambda heard, number=number: len(_succeeded(probe, daemon, "restart")) == number, 60)
        home.wait_for_state(f"binary_sensor.{TEST}_connectivity", "on")


def _succeeded(probe: Probe, daemon: Daemon, operation: str) -> set[str]:
    """Topics of the commands that have succeeded; each press has its own."""
    start = f"{daemon.root}/cmd/{operation}/"
    heard = [one for one in list(probe.heard) if one.topic.startswith(start) and one.payload]
    return {one.topic for one in heard if one.json["status"] == "successful"}


def test_a_daemon_that_is_told_to_hide_takes_itself_back(home: HomeAssistant, daemon: Daemon) -> None:
    before = _ids(home, "pi-test")
    assert "say_home" in before
    daemon.stop()
    daemon._environment["EDGE_AGENT_HOME_ASSISTANT__ENABLED"] = "false"
    daemon.start()
    home.wait_equal(lambda: _ids(home, "pi-test"), {})
    daemon.stop()
    del daemon._environment["EDGE_AGENT_HOME_ASSISTANT__ENABLED"]
    daemon.start()
    home.wait_equal(lambda: _ids(home, "pi-test"), before)
    home.wait_for_state(f"sensor.{TEST}_health", "up")


def test_home_assistant_restarted_knows_the_device_as_before(
    home: HomeAssistant, daemon: Daemon, full: dict[str, str], probe: Probe
) -> None:
    probe.publish(f"{ROOT}/health", HEALTH, retain=True)
    home.wait_for_state(full["health"], "degraded")
    probe.forget()
    home.stop()
    home.start()
    assert probe.wait_for(BIRTH_TOPIC, count=1, within_seconds=30)
    home.wait_for_state(full["health"], "degraded")
    home.wait_for_state(f"sensor.{TEST}_health", "up")
    assert _ids(home) == full
    assert "ERROR" not in home.log_text()
