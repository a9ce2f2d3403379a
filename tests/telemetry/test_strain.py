"""How hard pressed a board is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.settings.board_sections import PowerSettings
from edge_agent.telemetry.reading import BatteryReading, SupplyReading
from edge_agent.telemetry.strain import Press, Strain, judge_strain

SETTINGS = PowerSettings()
HOT = Strain(frozenset({Press.HOT}))


def judge(
    supply: SupplyReading | None = None,
    temperature_c: float | None = None,
    battery: BatteryReading | None = None,
    before: Strain | None = None,
    faults: tuple[str, ...] = (),
) -> Strain:
    batteries = {} if battery is None else {"BAT0": battery}
    return judge_strain(
        supply or SupplyReading(),
        temperature_c,
        batteries,
        SETTINGS,
        before=before or Strain(),
        faults=faults,
    )


def test_a_board_that_nothing_is_known_of_is_not_strained() -> None:
    assert judge() == Strain()
    assert not judge().is_strained


@pytest.mark.parametrize(
    ("supply", "press", "reason"),
    [
        (
            SupplyReading(under_voltage=True),
            Press.UNDER_VOLTAGE,
            "power: under-voltage; use a stronger supply",
        ),
        (
            SupplyReading(under_voltage=True, supply_v=4.628),
            Press.UNDER_VOLTAGE,
            "power: under-voltage (4.63 V at the input); use a stronger supply",
        ),
        (SupplyReading(throttled=True), Press.THROTTLED, "power: the firmware throttles the processor"),
        (
            SupplyReading(frequency_capped=True),
            Press.FREQUENCY_CAPPED,
            "power: the firmware caps the processor's clock",
        ),
        (
            SupplyReading(soft_temperature_limit=True),
            Press.SOFT_LIMIT,
            "heat: the firmware slows down for heat",
        ),
    ],
)
def test_what_the_firmware_does_now_strains(supply: SupplyReading, press: Press, reason: str) -> None:
    strain = judge(supply)
    assert strain == Strain(frozenset({press}), (), (reason,))
    assert strain.is_strained


def test_what_is_over_strains_nothing() -> None:
    past = SupplyReading(
        under_voltage=False,
        under_voltage_since_boot=True,
        frequency_capped_since_boot=True,
        throttled_since_boot=True,
        soft_temperature_limit_since_boot=True,
    )
    assert judge(past) == Strain()


def test_a_hot_processor_is_well_again_only_five_degrees_below() -> None:
    assert judge(temperature_c=79.9) == Strain()
    hot = judge(temperature_c=80.0)
    assert hot.reasons == ("heat: the processor is at 80 °C; 80 °C is too hot",)
    still = judge(temperature_c=75.1, before=hot)
    assert still.presses == {Press.HOT}
    assert judge(temperature_c=75.0, before=still) == Strain()
    assert judge(temperature_c=78.0, before=Strain()) == Strain()


def test_a_hot_processor_whose_thermometer_fails_is_not_well_again() -> None:
    assert judge(before=HOT).reasons == ("heat: the processor was too hot when last seen",)


def test_a_low_battery_strains_only_while_it_is_drawn_from() -> None:
    assert judge(battery=BatteryReading(15.0, on_battery=True)).reasons == (
        "battery BAT0: 15 % and drawn from",
    )
    assert judge(battery=BatteryReading(15.1, on_battery=True)) == Strain()
    assert judge(battery=BatteryReading(3.0, on_battery=False)) == Strain()
    assert judge(battery=BatteryReading(3.0, on_battery=None)) == Strain()
    assert judge(battery=BatteryReading(None, on_battery=True)) == Strain()


def test_a_silent_sensor_is_told_and_strains_nothing() -> None:
    strain = judge(faults=("sensor pmic: gone",))
    assert (strain.reasons, strain.is_strained) == (("sensor pmic: gone",), False)


def test_another_temperature_is_no_other_strain() -> None:
    assert not judge(temperature_c=85.0).differs(judge(temperature_c=86.0))
    assert judge(temperature_c=85.0).differs(judge())
    assert judge(faults=("one",)).differs(judge())


@given(st.lists(st.floats(60, 100), min_size=1, max_size=50))
def test_heat_changes_its_mind_only_across_the_whole_band(temperatures: list[float]) -> None:
    strain = Strain()
    for temperature in temperatures:
        was_hot = strain.is_strained
        strain = judge(temperature_c=temperature, before=strain)
        assert strain.is_strained == (temperature >= 80.0 or (was_hot and temperature > 75.0))
