"""Batteries: what the raw figures say, and what they do not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.telemetry.power.battery import Gauge, judge
from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.reading import BatteryReading, SensorError
from tests.telemetry.trees import board, build_tree

figure = st.none() | st.integers(-(2**63), 2**63)


@settings(deadline=None)
@given(st.builds(Gauge, st.none() | st.text(), st.none() | st.booleans(), *[figure] * 8))
def test_whatever_a_driver_says_the_answer_is_within_its_bounds(gauge: Gauge) -> None:
    reading = judge(gauge)
    assert reading.percent is None or 0 <= reading.percent <= 100
    assert reading.power_w is None or (reading.power_w >= 0 and math.isfinite(reading.power_w))
    assert reading.hours_left is None or (reading.hours_left >= 0 and reading.on_battery is True)


@pytest.mark.parametrize(
    ("status", "mains", "on_battery"),
    [
        ("Discharging", True, True),
        ("Charging", False, False),
        ("Full", None, False),
        ("Not charging", None, False),
        ("Unknown", True, False),
        ("Unknown", False, True),
        ("Unknown", None, None),
        (None, None, None),
    ],
)
def test_whether_it_is_drawn_from(status: str | None, mains: bool | None, on_battery: bool | None) -> None:
    assert judge(Gauge(status=status, mains=mains)).on_battery is on_battery


@pytest.mark.parametrize("sign", [1, -1])
def test_the_sign_of_current_and_power_does_not_matter(sign: int) -> None:
    by_current = Gauge(status="Discharging", voltage_uv=4_000_000, current_ua=sign * 500_000)
    by_power = Gauge(status="Discharging", power_uw=sign * 2_000_000)
    assert judge(by_current).power_w == judge(by_power).power_w == 2.0


def test_nothing_is_unknown_and_never_zero() -> None:
    assert judge(Gauge()) == BatteryReading(None, None, None, None)


def test_no_hours_are_told_of_a_battery_that_gives_nothing() -> None:
    assert judge(Gauge(status="Discharging", power_uw=0, energy_uwh=10)).hours_left is None


def test_a_percentage_beyond_its_bounds_is_unknown() -> None:
    assert judge(Gauge(capacity=255)).percent is None


def test_a_figure_that_fails_is_unknown_as_long_as_another_can_be_read(tmp_path: Path) -> None:
    fixture = board("battery_bat0").with_files({"sys/class/power_supply/BAT0/power_now": "!ENODATA"})
    inventory = find_sensors(fixture.build(tmp_path))
    (battery,) = inventory.batteries
    assert battery.read() == BatteryReading(81, True, None, None)
    assert inventory.power[0].read().power_w is None


def test_what_usb_c_negotiated_is_no_mains(tmp_path: Path) -> None:
    base = "sys/class/power_supply"
    fixture = board("battery_bat0").with_files(
        {
            f"{base}/BAT0/status": "Unknown",
            f"{base}/ucsi-source-psy-1-00081/type": "USB",
            f"{base}/ucsi-source-psy-1-00081/online": "1",
        }
    )
    (battery,) = find_sensors(fixture.build(tmp_path)).batteries
    assert battery.read().on_battery is True


def test_a_battery_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    folder = "sys/class/power_supply/BAT0"
    tree = build_tree(tmp_path, {f"{folder}/type": "Battery", f"{folder}/capacity": "!ENODEV"})
    (battery,) = find_sensors(tree).batteries
    with pytest.raises(SensorError, match="the device is gone"):
        battery.read()


def test_two_batteries_are_added_while_both_tell(tmp_path: Path) -> None:
    files: dict[str, str] = {}
    for name, power in (("BAT0", "5000000"), ("BAT1", "2500000")):
        base = f"sys/class/power_supply/{name}"
        files |= {f"{base}/type": "Battery", f"{base}/status": "Discharging", f"{base}/power_now": power}
    (source,) = find_sensors(build_tree(tmp_path, files)).power
    assert source.read().power_w == 7.5
    (tmp_path / "sys/class/power_supply/BAT1/power_now").write_text("\n")
    assert source.read().power_w is None
