"""What Home Assistant is told, and what stands in the state folder of it, with a real folder."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edge_agent.link.discovery import Facts, Sensors, ServedModel, announced_from
from edge_agent.link.topics import Topics
from edge_agent.service.presence import FILE_NAME, Presence
from tests.home_assistant.schema import parse

TOPIC = "homeassistant/device/pi/config"
FACTS = Facts(
    topics=Topics("edge-agent", "pi"),
    agent_version="1.0.0",
    board="a board",
    models=(ServedModel("home", "intent"),),
    sensors=Sensors(temperature=True),
    operations=("restart",),
)


@dataclass
class House:
    """The state folder and the broker, as far as a presence sees them."""

    folder: Path
    facts: Facts | None = FACTS
    is_connected: bool = True
    is_settled: bool = True
    fraction: float = 0.0
    told: list[tuple[str, bytes]] = field(default_factory=list)
    on_disk: list[bytes | None] = field(default_factory=list)

    def presence(self, prefix: str = "homeassistant") -> Presence:
        """A life of the daemon."""
        return Presence(
            self.folder,
            prefix,
            lambda: self.facts,
            self._announce,
            is_connected=lambda: self.is_connected,
            is_settled=lambda: self.is_settled,
            fraction=lambda: self.fraction,
        )

    @property
    def file(self) -> Path:
        return self.folder / FILE_NAME

    def read(self) -> bytes | None:
        return self.file.read_bytes() if self.file.is_file() else None

    def _announce(self, topic: str, payload: bytes) -> None:
        self.told.append((topic, payload))
        self.on_disk.append(self.read())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_what_is_announced_stands_on_disk_before_it_is_published(house: House) -> None:
    presence = house.presence()
    presence.tell(0.0)
    [(topic, payload)] = house.told
    assert topic == TOPIC
    [noted] = house.on_disk
    assert noted is not None
    announced = announced_from(noted)
    assert announced is not None
    assert set(announced.components) == set(parse(payload).present())
    assert stat.S_IMODE(house.file.stat().st_mode) == 0o600
    assert presence.fault is None


def test_what_is_on_disk_already_is_not_written_again(house: House) -> None:
    presence = house.presence()
    presence.tell(0.0)
    before = house.file.stat()
    presence.tell(1.0)
    house.presence().tell(2.0)
    assert house.file.stat().st_ino == before.st_ino
    assert len(house.told) == 3


def test_a_model_that_an_earlier_life_announced_is_taken_back(house: House) -> None:
    house.presence().tell(0.0)
    house.facts = replace(FACTS, models=())
    house.presence().tell(0.0)
    payload = parse(house.told[-1][1])
    assert payload.gone()
    assert all("home" in key for key in payload.gone())


def test_switched_off_what_was_announced_is_taken_back_and_forgotten(house: House) -> None:
    house.presence().tell(0.0)
    house.facts = None
    presence = house.presence()
    presence.tell(0.0)
    presence.tell(1.0)
    assert house.told[1:] == [(TOPIC, b"")]
    assert house.read() is None
    house.presence().tell(0.0)
    assert len(house.told) == 2


def test_switched_off_it_is_not_forgotten_before_the_broker_is_there(house: House) -> None:
    house.presence().tell(0.0)
    noted = house.read()
    house.facts, house.is_connected = None, False
    presence = house.presence()
    presence.tell(0.0)
    assert house.read() == noted
    house.is_connected = True
    presence.tell(1.0)
    assert house.told[-1] == (TOPIC, b"")
    assert house.read() is None


def test_where_it_was_never_announced_and_is_switched_off_nothing_is_published(house: House) -> None:
    house.facts = None
    house.presence().tell(0.0)
    assert house.told == []
    assert list(house.folder.iterdir()) == []


def test_under_another_prefix_the_old_announcement_is_taken_back_first(house: House) -> None:
    house.presence().tell(0.0)
    house.presence("ha").tell(0.0)
    assert [(topic, bool(payload)) for topic, payload in house.told[1:]] == [
        (TOPIC, False),
        ("ha/device/pi/config", True),
    ]
    house.presence("ha").tell(0.0)
    assert [topic for topic, _ in house.told[3:]] == ["ha/device/pi/config"]


def test_an_announcement_under_another_prefix_is_not_forgotten_before_the_broker_is_there(
    house: House,
) -> None:
    house.presence().tell(0.0)
    noted = house.read()
    house.is_connected = False
    house.presence("ha").tell(0.0)
    assert house.read() == noted  # this life may end before the broker comes
    house.is_connected = True
    house.presence("ha").tell(1.0)
    assert (TOPIC, b"") in house.told
    assert b"ha/device/pi/config" in (house.read() or b"")


def test_a_state_folder_that_cannot_be_written_is_named_for_as_long_as_it_is_so_and_all_is_announced(
    house: House,
) -> None:
    house.file.mkdir()  # also for root, who may write anywhere, a folder is no file
    presence = house.presence()
    for now in (0.0, 1.0):
        presence.tell(now)
        assert presence.fault is not None
        assert presence.fault.startswith("what Home Assistant was told cannot be noted in ")
        assert house.told[-1][0] == TOPIC
    house.file.rmdir()
    presence.tell(2.0)
    assert presence.fault is None
    assert house.read() is not None


@pytest.mark.parametrize("garbage", [b"", b"\xff\x00", b"[]", b'{"topic": 1}', b"[" * 100_000])
def test_a_record_that_is_garbage_is_as_none_and_is_made_anew(house: House, garbage: bytes) -> None:
    house.file.write_bytes(garbage)
    house.presence().tell(0.0)
    assert [topic for topic, _ in house.told] == [TOPIC]
    assert json.loads(house.read() or b"")["topic"] == TOPIC


def test_changes_are_told_together_once_they_have_settled(house: House) -> None:
    presence = house.presence()
    assert presence.due is None
    presence.note_change(10.0)
    presence.note_change(10.8)
    assert presence.due == pytest.approx(11.8)
    presence.tell(11.8)
    assert presence.due is None
    assert len(house.told) == 1


@pytest.mark.parametrize(("fraction", "due"), [(0.0, 11.0), (0.5, 15.5), (1.0, 20.0)])
def test_when_home_assistant_starts_a_house_full_of_devices_does_not_answer_at_once(
    house: House, fraction: float, due: float
) -> None:
    house.fraction = fraction
    presence = house.presence()
    presence.tell(0.0)
    presence.note_birth(10.0)
    assert presence.due == pytest.approx(due)
    presence.tell(due)
    assert house.told[0] == house.told[1]  # the very same again: Home Assistant may not know it any more


def test_while_sensors_are_looked_for_nothing_is_told_so_that_none_is_taken_away(house: House) -> None:
    house.presence().tell(0.0)
    house.facts, house.is_settled = replace(FACTS, sensors=Sensors()), False
    presence = house.presence()
    presence.tell(10.0)
    assert len(house.told) == 1
    assert presence.due == 11.0
    house.facts, house.is_settled = FACTS, True
    presence.tell(11.0)
    assert parse(house.told[-1][1]).gone() == {}


def test_more_models_than_there_is_room_for_are_a_fault_in_words(house: House) -> None:
    models = [ServedModel(f"model-{number}", "intent") for number in range(100)]
    house.facts = replace(FACTS, models=models, last_answer=True)
    presence = house.presence()
    presence.tell(0.0)
    assert presence.fault is not None
    assert presence.fault.endswith("entities: too many models")
    parse(house.told[0][1])
