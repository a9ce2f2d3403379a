"""Several sources of the supply as one."""

from __future__ import annotations

from edge_agent.telemetry.reading import SupplyReading
from edge_agent.telemetry.supply import merge_supply


def test_what_any_source_says_holds() -> None:
    kernel = SupplyReading(under_voltage=True)
    firmware = SupplyReading(under_voltage=False, under_voltage_since_boot=False, throttled=True)
    assert merge_supply([kernel, firmware]) == SupplyReading(
        under_voltage=True, under_voltage_since_boot=False, throttled=True
    )


def test_what_no_source_knows_is_unknown() -> None:
    assert merge_supply([]) == SupplyReading()
    assert merge_supply([SupplyReading(), SupplyReading(throttled=False)]) == SupplyReading(throttled=False)


def test_volts_are_those_of_the_first_that_measures_them() -> None:
    merged = merge_supply(
        [SupplyReading(supply_max_ma=5000), SupplyReading(supply_v=5.06), SupplyReading(supply_v=4.9)]
    )
    assert (merged.supply_v, merged.supply_max_ma) == (5.06, 5000)
