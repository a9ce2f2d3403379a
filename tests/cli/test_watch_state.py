from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cli import watch_state
from edge_agent.cli.watch_state import Devices, Picture, Wellness

NOW = 1_800_000_000.0
HEALTH: dict[str, Any] = {
    "status": "degraded",
    "reasons": ["model sentiment: golden sentence 3 expected negative, got neutral"],
    "time": "2027-01-15T07:59:57Z",
    "models": {
        "home": {"version": "1.0.0", "state": "serving", "last_ok_age_s": 3.1},
        "sentiment": {"version": None, "state": "failed", "last_ok_age_s": None},
    },
    "inference": {"answered": 9120, "per_minute": 61, "p50_ms": 1.6, "p99_ms": 4.0, "queue": 2},
    "system": {"cpu_percent": 7.0, "temperature_c": 51.2},
}
INFO: dict[str, Any] = {
    "agent": "0.3.0",
    "board": "Raspberry Pi 4 Model B",
    "models": {"home": {"version": "1.0.0"}},
}
POWER: dict[str, Any] = {
    "power_w": 4.73,
    "quality": "estimated",
    "under_voltage": True,
    "throttled": None,
    "temperature_c": 60,
    "battery_percent": None,
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def tell(
    devices: Devices, part: str, said: object, *, device: str = "pi", retained: bool = False
) -> str | None:
    payload = said if isinstance(said, bytes) else json.dumps(said).encode()
    return devices.hear(f"base/{device}/{part}", payload, retained=retained, now=NOW)


def devices_with(**parts: object) -> Devices:
    devices = Devices("base")
    for part, said in parts.items():
        tell(devices, part, said)
    return devices


def picture_of(**parts: object) -> Picture:
    return devices_with(**parts).picture("pi")


def test_the_topics_of_a_device_make_one_picture() -> None:
    picture = picture_of(status=b"online", health=HEALTH, info=INFO, power=POWER)
    assert picture.wellness is Wellness.DEGRADED
    assert picture.reasons == tuple(HEALTH["reasons"])
    assert (picture.per_minute, picture.p50_ms, picture.p99_ms, picture.queue) == (61, 1.6, 4.0, 2)
    assert (picture.power_w, picture.estimated, picture.under_voltage, picture.throttled) == (
        4.73,
        True,
        True,
        None,
    )
    assert picture.temperature_c == 60
    assert {name: (model.version, model.state) for name, model in picture.models.items()} == {
        "home": ("1.0.0", "serving"),
        "sentiment": (None, "failed"),
    }
    assert (picture.agent, picture.board) == ("0.3.0", "Raspberry Pi 4 Model B")


@pytest.mark.parametrize(
    ("parts", "wellness"),
    [
        ({"status": b"online", "health": {"status": "up"}}, Wellness.UP),
        ({"status": b"offline", "health": {"status": "up"}}, Wellness.OFFLINE),
        ({"health": {"status": "down"}}, Wellness.DOWN),
        ({"status": b"online"}, Wellness.UNKNOWN),
        ({"status": b"online", "health": {"status": "splendid"}}, Wellness.UNKNOWN),
    ],
)
def test_a_device_is_as_well_as_its_will_and_its_health_say(
    parts: dict[str, object], wellness: Wellness
) -> None:
    assert picture_of(**parts).wellness is wellness


def test_the_unwell_stand_first_and_then_it_goes_by_name() -> None:
    devices = Devices("base")
    for device, health in (("b", "up"), ("a", "up"), ("d", "degraded"), ("c", "down")):
        tell(devices, "health", {"status": health}, device=device)
    tell(devices, "status", b"offline", device="z")
    assert [picture.device for picture in devices.pictures()] == ["z", "c", "d", "a", "b"]


def test_a_newer_version_and_an_update_are_told() -> None:
    devices = devices_with(info=INFO)
    state = {"installed_version": "1.0.0", "latest_version": "1.1.0", "in_progress": False, "state": "kept"}
    assert tell(devices, "model/home", state) == "pi"
    assert devices.picture("pi").models["home"].latest == "1.1.0"
    assert tell(devices, "model/home", state | {"in_progress": True}) == "pi"
    assert devices.picture("pi").models["home"].updating
    tell(devices, "model/home", state | {"installed_version": "1.1.0"})
    assert devices.picture("pi").models["home"].latest is None


def test_what_was_known_already_is_no_change() -> None:
    devices = devices_with(status=b"online", health=HEALTH)
    assert tell(devices, "health", HEALTH | {"time": "2027-01-15T08:00:00Z"}) is None
    assert tell(devices, "health", HEALTH | {"status": "up"}) == "pi"


def test_a_device_is_gone_when_all_that_it_retained_is_taken_back() -> None:
    devices = devices_with(status=b"online", info=INFO, power=POWER)
    assert tell(devices, "status", b"") == "pi"
    assert "pi" in devices
    assert tell(devices, "info", b"") == "pi"
    assert "pi" not in devices


def test_a_retained_document_was_said_when_it_says_and_a_live_one_now() -> None:
    devices = Devices("base")
    tell(devices, "status", b"online", retained=True)
    assert devices.picture("pi").seen is None
    tell(devices, "health", HEALTH, retained=True)
    assert devices.picture("pi").seen == NOW - 3
    tell(devices, "power", POWER)
    assert devices.picture("pi").seen == NOW


@pytest.mark.parametrize("time", ["9999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "yesterday", 5, None])
def test_a_time_that_cannot_be_is_not_believed(time: object) -> None:
    devices = Devices("base")
    tell(devices, "health", HEALTH | {"time": time}, retained=True)
    assert devices.picture("pi").seen is None
    json.dumps(devices.picture("pi").as_json)


@pytest.mark.parametrize(
    "topic",
    ["other/pi/status", "base", "base/", "base//status", "base/pi", "base/pi/out/home", "base/pi/model/",
     "base/pi/model/a/b", "base/pi/status/x", "basement/pi/status", ""],
)  # fmt: skip
def test_other_topics_are_ignored(topic: str) -> None:
    devices = Devices("base")
    assert devices.hear(topic, b"online", retained=False, now=NOW) is None
    assert len(devices) == 0


@pytest.mark.parametrize("part", ["status", "health", "info", "power", "model/home"])
@given(payload=st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_payload_breaks_the_picture(part: str, payload: bytes) -> None:
    devices = devices_with(status=b"online")
    tell(devices, part, payload)
    json.dumps([picture.as_json for picture in devices.pictures()])


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys((*HEALTH, *INFO, *POWER, "installed_version", "in_progress"), json_values),
    )
)
def test_a_field_of_another_kind_is_unknown_and_breaks_nothing(document: dict[str, object]) -> None:
    devices = devices_with(status=b"online")
    for part in ("health", "info", "power", "model/home"):
        tell(devices, part, document)
    json.dumps([picture.as_json for picture in devices.pictures()])


@pytest.mark.parametrize(
    "payload",
    [b"[" * 100_000, b'{"a":' * 20_000, b"9" * 10_000, b'{"inference":{"per_minute":' + b"9" * 500 + b"}}",
     b'{"power_w":NaN}', b"\xff\xfe", b'{"reasons":"x","models":[],"inference":3}', b"x" * 1_000_000],
)  # fmt: skip
def test_hostile_payloads_say_nothing(payload: bytes) -> None:
    devices = devices_with(status=b"online")
    for part in ("health", "info", "power", "model/home"):
        tell(devices, part, payload)
    picture = devices.picture("pi")
    assert (picture.health, picture.reasons, picture.per_minute, picture.power_w) == (None, (), None, None)


def test_text_cannot_move_the_cursor_or_turn_around_and_is_cut() -> None:
    devices = Devices("base")
    evil = "a\x1b[2J\r\n\u202eb\x9b\x07"
    tell(devices, "health", {"status": "down", "reasons": [evil, "y" * 500]}, device=evil)
    tell(devices, "info", {"agent": evil, "models": {evil: {"version": evil}}}, device=evil)
    (picture,) = devices.pictures()
    for text in (picture.device, *picture.reasons, picture.agent or "", *picture.models):
        assert text.isprintable() or set(text) <= {*text} - {"\x1b", "\n", "\u202e"}
        assert not {"\x1b", "\r", "\n", "\u202e", "\x9b", "\x07"} & set(text)
    assert len(picture.reasons[1]) == 200


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_state, "MOST_DEVICES", 3)
    devices = Devices("base")
    for number in range(10):
        tell(devices, "status", b"online", device=f"pi{number}")
    assert len(devices) == 3
    assert devices.ignored
    assert devices.left_out == {f"pi{number}" for number in range(3, 10)}
    many = {f"m{number}": {"version": "1"} for number in range(1000)}
    tell(devices, "health", {"reasons": ["r"] * 1000, "models": many}, device="pi0")
    tell(devices, "info", {"models": many}, device="pi0")
    for number in range(1000):
        tell(devices, f"model/u{number}", {"installed_version": "1"}, device="pi0")
    picture = devices.picture("pi0")
    assert len(picture.models) <= 32
    assert len(picture.reasons) <= 8
