"""No text makes a parser raise anything but SensorError, and what it gives is within its bounds."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.telemetry.power import pmic, throttling
from edge_agent.telemetry.power.jetson_rails import TOTALS, total_of
from edge_agent.telemetry.reading import SensorError, SupplyReading
from tests.telemetry.trees import board

ANSWER = board("rpi5_idle").commands["pmic_read_adc"]
LINES = ANSWER.split("\n")
number = st.one_of(st.floats(), st.integers()).map(str)
line = st.builds(
    "{}_{} {}({})={}{}".format,
    st.text(max_size=8),
    st.sampled_from("AVX"),
    st.sampled_from(["current", "volt", "temp"]),
    st.integers(),
    number,
    st.sampled_from("AVW"),
)


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(st.one_of(line, st.sampled_from(LINES))).map("\n".join)))
def test_no_text_breaks_the_rails(text: str) -> None:
    with suppress(SensorError):
        reading = pmic.parse(text)
        assert all(math.isfinite(watts) for watts in reading.rails.values())
        assert math.isfinite(reading.power_w)
        assert reading.rails


@settings(deadline=None)
@given(st.permutations(LINES))
def test_the_order_of_the_lines_does_not_matter(lines: list[str]) -> None:
    reading = pmic.parse("\n".join(lines))
    assert reading.power_w == pytest.approx(2.947978, abs=1e-9)
    assert reading.input_v == 5.05716


@settings(deadline=None)
@given(st.integers(0, len(LINES) - 1))
def test_a_rail_that_lacks_its_voltage_is_an_error_and_never_a_smaller_sum(missing: int) -> None:
    lines = [entry for index, entry in enumerate(LINES) if index != missing]
    rail = LINES[missing].split()[0]
    if rail.endswith("_V") and rail not in {"EXT5V_V", "BATT_V"}:
        with pytest.raises(SensorError, match="cut off"):
            pmic.parse("\n".join(lines))


@settings(deadline=None)
@given(st.text())
def test_no_text_breaks_the_flags(text: str) -> None:
    for parse in (throttling.parse, throttling.parse_legacy):
        with suppress(SensorError):
            parse(text)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_flags_are_the_same_by_both_ways(bits: int) -> None:
    expected = throttling.from_bits(bits)
    assert throttling.parse(f"throttled=0x{bits:x}") == expected
    assert throttling.parse_legacy(f"{bits:x}") == expected


FLAGS = {
    0: "under_voltage",
    1: "frequency_capped",
    2: "throttled",
    3: "soft_temperature_limit",
    16: "under_voltage_since_boot",
    17: "frequency_capped_since_boot",
    18: "throttled_since_boot",
    19: "soft_temperature_limit_since_boot",
}


@pytest.mark.parametrize("bit", range(32))
def test_each_bit_is_one_flag(bit: int) -> None:
    reading = throttling.from_bits(1 << bit)
    on = [field.name for field in fields(SupplyReading) if getattr(reading, field.name) is True]
    assert on == ([FLAGS[bit]] if bit in FLAGS else [])


@pytest.mark.parametrize("text", ["throttled=0x", "throttled=50005", "error=1", "throttled=0x1 0x2", ""])
def test_what_are_no_flags_is_an_error(text: str) -> None:
    with pytest.raises(SensorError, match="no flags"):
        throttling.parse(text)


def test_an_error_of_the_firmware_is_no_reading() -> None:
    with pytest.raises(SensorError, match="answered with an error"):
        pmic.parse('error=2 error_msg="Invalid arguments"')


@settings(deadline=None)
@given(st.sets(st.sampled_from(sorted({rail for total in TOTALS for rail in total.rails} | {"NC", "VDDQ"}))))
def test_a_total_has_only_rails_that_are_there(labels: set[str]) -> None:
    total = total_of(labels)
    if total is None:
        assert not any(set(known.rails) <= labels for known in TOTALS)
    else:
        assert set(total.rails) <= labels
