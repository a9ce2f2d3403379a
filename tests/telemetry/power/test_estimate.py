"""The owner's estimate: between rest and full load, always labelled, never before a sensor."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.telemetry.power.estimate import BusyShare, Estimate, watts
from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.reading import Quality
from edge_agent.telemetry.sysfs import Tree
from tests.telemetry.trees import board


@settings(deadline=None)
@given(st.floats(0.1, 100), st.floats(0, 100), st.floats(allow_nan=False))
def test_it_stays_between_rest_and_full_load(idle: float, more: float, share: float) -> None:
    assert idle - 0.001 <= watts(idle, idle + more, share) <= idle + more + 0.001


@pytest.mark.parametrize(("share", "expected"), [(0.0, 2.7), (0.5, 4.55), (1.0, 6.4), (1.7, 6.4), (-1, 2.7)])
def test_it_grows_with_the_busy_share(share: float, expected: float) -> None:
    assert Estimate(2.7, 6.4, lambda: share).read().power_w == expected


@pytest.mark.parametrize("share", [None, math.nan])
def test_an_unknown_share_is_an_unknown_figure(share: float | None) -> None:
    assert Estimate(2.7, 6.4, lambda: share).read().power_w is None


def test_the_busy_share_is_that_since_the_call_before() -> None:
    times = iter([(100.0, 200.0), (101.0, 204.0), (105.0, 208.0), (105.0, 208.0), (109.0, 210.0)])
    share = BusyShare(lambda: next(times))
    assert [share() for _ in range(5)] == [None, 0.75, 0.0, None, 0.0]


def test_it_is_what_a_machine_without_a_sensor_has(tmp_path: Path) -> None:
    (source,) = find_sensors(Tree(tmp_path), estimate=Estimate(2.7, 6.4, lambda: 0.5)).power
    assert source.name == "estimate"
    assert source.quality is Quality.ESTIMATED


@pytest.mark.parametrize("name", ["rpi5_idle", "jetson_nano_jp4", "ina226_hat", "rapl_x86"])
def test_a_sensor_comes_before_it(name: str, tmp_path: Path) -> None:
    fixture = board(name)
    estimate = Estimate(2.7, 6.4, lambda: 0.5)
    inventory = find_sensors(fixture.build(tmp_path), firmware=fixture.firmware(), estimate=estimate)
    assert inventory.power[0].quality is Quality.MEASURED
    assert inventory.power[-1] is estimate


def test_it_comes_before_a_battery_which_tells_nothing_on_mains(tmp_path: Path) -> None:
    estimate = Estimate(2.7, 6.4, lambda: 0.5)
    inventory = find_sensors(board("laptop_on_mains").build(tmp_path), estimate=estimate)
    assert [source.name for source in inventory.power] == ["estimate", "battery"]
