"""A real daemon as Home Assistant finds it on a real broker: announced, kept true, and taken back."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.service.presence import FILE_NAME
from tests.home_assistant.schema import Payload, parse
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Heard, Probe
from tests.testbeds.waiting import eventually

TOPIC = "homeassistant/device/pi-test/config"
BIRTH = "homeassistant/status"
SENTENCE = "turn on the light"

_NEVER_WAITS_LONG = """
import random, sys
random.SystemRandom.random = lambda self: 0.0  # after Home Assistant's start: 1 s, of 1 to 10
from edge_agent.service.agent import main
sys.exit(main())
"""

Life = Callable[..., Daemon]


@pytest.fixture
def house(broker: Mosquitto) -> Iterator[Probe]:
    """Hears all that Home Assistant hears, and the devices."""
    with Probe(broker.port, "homeassistant/#", "edge-agent/#") as connected:
        yield connected


@pytest.fixture
def life(tmp_path: Path, broker: Mosquitto, models: Path) -> Life:
    """A life of the one device, whose state folder outlives it."""

    def make(**sections: dict[str, Any]) -> Daemon:
        return Daemon(
            tmp_path / "daemon", broker.port, (models,), settings=sections, program=_NEVER_WAITS_LONG
        )

    return make


def add_model(models: Path, name: str) -> Path:
    copy = Path(shutil.copytree(models / "tiny", models / name))
    manifest = json.loads((copy / "bundle.json").read_bytes())
    (copy / "bundle.json").write_text(json.dumps({**manifest, "name": name}))
    return copy


def announcement(probe: Probe, fits: Callable[[Payload], object] = lambda _: True) -> Payload:
    """The first announcement, heard or to come, of which that is true."""
    heard = probe.wait_until(
        lambda one: one.topic == TOPIC and one.payload and fits(parse(one.payload)), 30.0
    )
    return parse(heard.payload)


def retained(broker: Mosquitto, topic: str, marker: str) -> list[Heard]:
    """What somebody who comes now hears on a topic; the marker stands on another one."""
    with Probe(broker.port, topic, marker) as late:
        late.wait_for(marker)
        return late.on(topic)


def test_a_device_is_announced_in_words_that_home_assistant_takes_and_all_that_it_points_to_is_there(
    life: Life, broker: Mosquitto, house: Probe
) -> None:
    names = {"device_name": "Hall", "area": "Cellar"}
    with life(home_assistant=names) as daemon:
        payload = announcement(house)
        assert payload.device.identifiers == ["edge-agent_pi-test"]
        assert (payload.device.name, payload.device.suggested_area) == ("Hall", "Cellar")
        assert {"status", "health", "say_tiny", "model_tiny", "restart", "self_test"} <= set(
            payload.present()
        )
        assert not {"answer_tiny", "confidence_tiny"} & set(payload.present())
        assert payload.gone() == {}
        [kept] = retained(broker, TOPIC, f"{daemon.root}/status")
        assert kept.retain
        assert kept.payload == house.on(TOPIC)[-1].payload
        topics = {
            topic
            for one in payload.present().values()
            for topic in (getattr(one, "state_topic", None), one.json_attributes_topic)
            if topic is not None and not topic.endswith("/power")
        }
        assert {f"{daemon.root}/{name}" for name in ("status", "health", "model/tiny")} <= topics
        with Probe(broker.port, *topics) as late:
            for topic in topics:
                assert late.wait_for(topic)[0].retain
        command = next(one for key, one in payload.present().items() if key == "say_tiny")
        house.publish(command.command_topic or "", SENTENCE)  # type: ignore[union-attr]
        assert house.wait_for(f"{daemon.root}/out/tiny")[0].json["recognized"] is True


def test_when_home_assistant_starts_it_is_told_again(life: Life, house: Probe) -> None:
    with life():
        first = house.wait_for(TOPIC, within_seconds=30)[0]
        house.forget()
        house.publish(BIRTH, b"\xff")
        house.publish(BIRTH, "online")
        assert house.wait_for(TOPIC, within_seconds=40)[0].payload == first.payload


def test_switched_off_in_a_later_life_it_is_taken_back_and_nothing_is_left(
    life: Life, broker: Mosquitto, house: Probe, tmp_path: Path
) -> None:
    record = tmp_path / "daemon" / "state" / "pi-test" / FILE_NAME
    with life() as daemon:
        announcement(house)
        assert record.is_file()
        daemon.stop()
    with life(home_assistant={"enabled": False}) as daemon:
        house.wait_until(lambda one: one.topic == TOPIC and one.payload == b"", 30)
        eventually(lambda: not record.exists(), 20, "forgetting")
        assert retained(broker, TOPIC, f"{daemon.root}/status") == []


def test_switched_off_while_the_broker_is_away_it_is_taken_back_when_it_comes(
    life: Life, broker: Mosquitto, house: Probe
) -> None:
    with life() as daemon:
        announcement(house)
        daemon.stop()
    broker.stop()
    with life(home_assistant={"enabled": False}) as daemon:
        daemon.stop()  # this life never saw the broker
    broker.start()
    with Probe(broker.port, "homeassistant/#") as late:
        assert late.wait_for(TOPIC)[0].payload  # what the broker has kept
        with life(home_assistant={"enabled": False}):
            late.wait_until(lambda one: one.payload == b"", 30)


def test_a_model_that_goes_takes_its_entities_and_its_topic_along(
    life: Life, broker: Mosquitto, models: Path, house: Probe
) -> None:
    other = add_model(models, "other")
    with life() as daemon:
        before = announcement(house, lambda one: "say_other" in one.present()).present()
        of_other = {key: one.platform for key, one in before.items() if key.endswith("_other")}
        topic = f"{daemon.root}/model/other"
        document = house.wait_for(topic)[0].json
        assert (document["installed_version"], document["state"]) == ("1.0.0", "kept")
        [kept] = retained(broker, topic, f"{daemon.root}/status")
        assert kept.retain
        shutil.rmtree(other)
        daemon.send(signal.SIGHUP)
        house.wait_until(lambda one: one.topic == topic and one.payload == b"", 20)
        payload = announcement(house, Payload.gone)
        assert payload.gone() == of_other
        assert "say_tiny" in payload.present()
        assert retained(broker, topic, f"{daemon.root}/status") == []
        house.publish(f"{daemon.root}/in/tiny", SENTENCE)
        assert house.wait_for(f"{daemon.root}/out/tiny")[0].json["recognized"] is True


def test_a_broker_that_forbids_discovery_is_named_with_a_remedy_and_requests_are_answered(
    tmp_path: Path, models: Path
) -> None:
    with (
        Mosquitto(tmp_path / "strict", acl="topic readwrite edge-agent/#\n") as strict,
        Daemon(tmp_path / "daemon", strict.port, (models,)) as daemon,
        Probe(strict.port, "edge-agent/#") as probe,
    ):
        told = probe.wait_until(
            lambda one: one.topic.endswith("/health") and b"retained state on" in one.payload, 30
        ).json
        assert told["status"] == "degraded"
        [reason] = told["reasons"]
        assert reason == (
            f"broker: retained state on {TOPIC} (let the access list allow it, "
            "or set home_assistant.enabled to false): Not authorized"
        )
        probe.publish(f"{daemon.root}/in/tiny", SENTENCE)
        assert probe.wait_for(f"{daemon.root}/out/tiny")[0].json["recognized"] is True


def test_a_model_that_went_while_the_daemon_was_off_is_not_told_of_any_more(
    life: Life, broker: Mosquitto, models: Path, house: Probe
) -> None:
    other = add_model(models, "other")
    with life() as daemon:
        topic = f"{daemon.root}/model/other"
        house.wait_for(topic)
        daemon.stop()
    shutil.rmtree(other)
    with life() as daemon:
        house.wait_until(lambda one: one.topic == topic and one.payload == b"", 20)
        assert retained(broker, topic, f"{daemon.root}/status") == []


def test_a_folder_whose_name_no_topic_may_have_is_named_and_costs_nobody_the_link(
    life: Life, models: Path, house: Probe
) -> None:
    for name in ("a\nb", "a\ufffeb", "a+b", "#"):
        (models / name).mkdir()
        (models / name / "file").write_text("")
    (models / "long").mkdir()
    (models / "long" / "bundle.json").write_text(json.dumps({"name": "x" * 70_000}))
    with life() as daemon:
        told = house.wait_until(
            lambda one: one.topic.endswith("/health") and one.json["status"] == "degraded", 20
        ).json
        assert len(told["reasons"]) == 5
        house.publish(f"{daemon.root}/in/tiny", SENTENCE)
        assert house.wait_for(f"{daemon.root}/out/tiny")[0].json["recognized"] is True
        assert not daemon.events("mqtt.lost")
        assert {one.topic for one in house.heard if "/model/" in one.topic} == {f"{daemon.root}/model/tiny"}
