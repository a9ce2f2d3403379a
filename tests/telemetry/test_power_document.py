"""The document ``power``."""

from __future__ import annotations

import json

import pytest

from edge_agent.telemetry.board import BoardReading
from edge_agent.telemetry.latch import UnderVoltageLatch
from edge_agent.telemetry.per_answer import PerAnswer
from edge_agent.telemetry.power_document import render_power
from edge_agent.telemetry.reading import BatteryReading, Quality, Scope, SupplyReading
from edge_agent.telemetry.snapshot import PowerFigures, Snapshot

TIME = "2026-11-23T05:00:00Z"
KEYS = [
    "time", "power_w", "energy_j", "source", "scope", "quality", "rails", "energy_per_answer_mj",
    "energy_window_s", "under_voltage", "under_voltage_since_boot", "throttled", "temperature_c",
    "battery_percent",
]  # fmt: skip


def test_the_document_is_that_of_the_protocol() -> None:
    snapshot = Snapshot(
        moment_seconds=10.0,
        power=PowerFigures(
            "ina3221",
            Scope.MODULE,
            Quality.MEASURED,
            power_w=4.729536,
            rails={"VDD_IN": 4.729536},
            energy_j=18203.4512,
            measured_seconds=3600.0,
            per_answer=PerAnswer(13.0501, 60.0, 1000),
        ),
        supply=SupplyReading(under_voltage=False, throttled=False),
        latch=UnderVoltageLatch(now=False, count=1, looked_seconds=10.0),
        board=BoardReading(51.234, {"cpu-thermal": 51.234}),
    )
    assert render_power(snapshot, TIME) == (
        b'{"time":"2026-11-23T05:00:00Z","power_w":4.73,"energy_j":18203.5,"source":"ina3221",'
        b'"scope":"module","quality":"measured","rails":{"VDD_IN":4.73},"energy_per_answer_mj":13.1,'
        b'"energy_window_s":60.0,"under_voltage":false,"under_voltage_since_boot":true,"throttled":false,'
        b'"temperature_c":51.2,"battery_percent":null}'
    )


def test_what_is_unknown_is_null_and_never_zero() -> None:
    document = json.loads(render_power(Snapshot(), TIME))
    assert list(document) == KEYS
    assert document.pop("time") == TIME
    assert document.pop("rails") == {}
    assert set(document.values()) == {None}


def test_an_estimate_is_called_one() -> None:
    figures = PowerFigures("estimate", Scope.BOARD_INPUT, Quality.ESTIMATED, power_w=3.1)
    document = json.loads(render_power(Snapshot(power=figures), TIME))
    assert (document["source"], document["quality"], document["scope"]) == (
        "estimate",
        "estimated",
        "board-input",
    )
    assert (document["energy_j"], document["energy_per_answer_mj"]) == (None, None)


def test_a_window_that_says_nothing_is_told_beside_null() -> None:
    figures = PowerFigures("pmic", Scope.PMIC_RAILS, Quality.MEASURED, per_answer=PerAnswer(None, 0.5, 3))
    document = json.loads(render_power(Snapshot(power=figures), TIME))
    assert (document["energy_per_answer_mj"], document["energy_window_s"]) == (None, 0.5)


def test_of_two_batteries_the_emptier_is_told() -> None:
    batteries = {"BAT0": BatteryReading(81.0), "BAT1": BatteryReading(12.34), "BAT2": BatteryReading(None)}
    assert json.loads(render_power(Snapshot(batteries=batteries), TIME))["battery_percent"] == 12.3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_null(value: float) -> None:
    figures = PowerFigures("ina3221", Scope.MODULE, Quality.MEASURED, power_w=value, rails={"A": value})
    document = json.loads(render_power(Snapshot(power=figures), TIME))
    assert (document["power_w"], document["rails"]) == (None, {"A": None})
