from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from edge_agent.cli.watch_state import Devices
from edge_agent.cli.watch_view import Frame, draw

NOW = 1_800_000_000.0
FRAME = Frame(width=80, height=24, now=NOW, broker="broker:1883")


def fleet(well: int, unwell: int = 0, away: int = 0) -> Devices:
    devices = Devices("base")
    health = {
        "status": "up",
        "models": {"home": {"version": "1.0.0", "state": "serving"}},
        "inference": {"per_minute": 61, "p50_ms": 1.6, "p99_ms": 4.04, "queue": 0},
        "system": {"temperature_c": 51.2},
    }
    for number in range(well + unwell + away):
        name = f"pi-{number:03}"
        if number >= well:
            health = health | {"status": "degraded", "reasons": ["the board is hot: 84 °C", "clock"]}
        status = b"offline" if number >= well + unwell else b"online"
        devices.hear(f"base/{name}/status", status, retained=True, now=NOW)
        devices.hear(f"base/{name}/health", json.dumps(health).encode(), retained=False, now=NOW - 3)
    return devices


def say(devices: Devices, device: str, part: str, **document: object) -> None:
    devices.hear(f"base/{device}/{part}", json.dumps(document).encode(), retained=False, now=NOW - 3)


def lines(devices: Devices, frame: Frame = FRAME) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=frame.width, color_system=None, highlight=False).print(
        draw(devices.pictures(), frame)
    )
    return stream.getvalue().splitlines()


def test_a_device_is_a_line_with_its_figures() -> None:
    devices = fleet(1)
    say(devices, "pi-000", "power", power_w=4.73, quality="measured", temperature_c=60)
    head, headings, line = lines(devices)
    assert head == "1 device · 1 up · 61 req/min · 4.7 W · broker:1883"
    assert headings.split() == [
        "DEVICE",
        "HEALTH",
        "REQ/MIN",
        "P50/P99",
        "MS",
        "QUEUE",
        "WATTS",
        "°C",
        "SEEN",
    ]
    assert line.split() == ["pi-000", "up", "61", "1.6/4.0", "0", "4.7", "60", "3", "s"]


def test_the_unwell_stand_first_with_the_first_reason_and_how_many_there_are() -> None:
    shown = lines(fleet(2, 1, 1))
    assert shown[0].startswith("4 devices · 1 offline · 1 degraded · 2 up · 183 req/min")
    assert shown[2].startswith("pi-003")
    assert shown[3].startswith("pi-002")
    assert shown[4] == "  └ the board is hot: 84 °C (and 1 more)"


def test_what_a_device_said_before_it_went_is_not_shown_as_what_is() -> None:
    line = lines(fleet(0, 0, 1))[2]
    assert line.split() == ["pi-000", "offline", "–", "–", "–", "–", "–", "3", "s"]


def test_an_estimate_is_marked_as_one() -> None:
    devices = fleet(1)
    say(devices, "pi-000", "power", power_w=2.0, quality="estimated")
    head, _, line = lines(devices)
    assert "~2.0" in line
    assert "~2.0 W" in head


def test_what_ails_the_board_is_said_once() -> None:
    devices = fleet(1)
    say(devices, "pi-000", "power", under_voltage=True, throttled=True, battery_percent=9)
    assert lines(devices)[3] == "  └ under-voltage · throttled · battery 9 %"
    say(devices, "pi-000", "health", status="degraded", reasons=["power: under-voltage"])
    assert lines(devices)[3] == "  └ power: under-voltage · throttled · battery 9 %"


def test_models_have_a_column_where_there_is_room_and_an_update_is_told_anyway() -> None:
    devices = fleet(1)
    say(devices, "pi-000", "model/home", installed_version="1.0.0", latest_version="1.1.0")
    assert lines(devices, replace(FRAME, width=120))[2].endswith("home 1.0.0 → 1.1.0")
    assert lines(devices)[3] == "  └ home 1.0.0 → 1.1.0"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    devices = fleet(2, 2, 1)
    say(devices, "lámpara-日本語-" + "x" * 60, "health", status="down", reasons=["日" * 100])
    shown = lines(devices, replace(FRAME, width=width, fault="x" * 300))
    assert max(map(cell_len, shown)) <= width
    assert any("HEALTH" in line for line in shown)


def test_a_narrow_terminal_keeps_what_matters_most() -> None:
    headings = lines(fleet(1), replace(FRAME, width=40))[1]
    assert "HEALTH" in headings
    assert "SEEN" in headings
    assert "QUEUE" not in headings


@pytest.mark.parametrize("height", [4, 5, 10, 24, 50])
def test_two_hundred_devices_are_cut_to_the_height_and_the_rest_is_counted(height: int) -> None:
    shown = lines(fleet(150, 40, 10), replace(FRAME, height=height))
    assert len(shown) <= height
    visible = sum(line.startswith("pi-") for line in shown)
    assert shown[-1] == f"and {200 - visible} more"
    assert visible >= 1
    assert shown[0].startswith("200 devices · 10 offline · 40 degraded · 150 up")


def test_without_a_height_all_are_shown() -> None:
    shown = lines(fleet(200), replace(FRAME, height=None))
    assert sum(line.startswith("pi-") for line in shown) == 200


def test_a_broker_that_is_away_is_told_above_what_was_known() -> None:
    shown = lines(fleet(1), replace(FRAME, fault="Connection refused"))
    assert shown[1] == "broker away: Connection refused; trying again"
    assert any(line.startswith("pi-000") for line in shown)


def test_nothing_heard_is_told() -> None:
    assert lines(Devices("base")) == ["0 devices · broker:1883", "no device has said anything yet"]
