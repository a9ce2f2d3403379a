"""Every board of the fixtures, with its numbers shuffled: exact values, from the sources and in full."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edge_agent.telemetry.power import ina2xx, pmic
from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.power.rapl import Counter
from edge_agent.telemetry.reading import Inventory, Scope, SensorError
from edge_agent.telemetry.sysfs import Tree
from tests.telemetry.trees import Board, board, board_names, said

SEEDS = (0, 1, 2)
SCOPES = {
    "board-input": Scope.BOARD_INPUT,
    "module-input": Scope.MODULE,
    "module-rails-partial": Scope.RAILS_PARTIAL,
    "pmic-rails": Scope.PMIC_RAILS,
}


def found(fixture: Board, root: Path, seed: int = 0) -> Inventory:
    return find_sensors(fixture.build(root, seed), firmware=fixture.firmware())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", board_names())
def test_a_board_says_exactly_this_whatever_its_numbers(name: str, seed: int, tmp_path: Path) -> None:
    fixture = board(name)
    assert said(found(fixture, tmp_path, seed)) == fixture.says


class Checks:
    """What the sources expect, by the key in ``expect``; each check gets the value that is expected."""

    def __init__(self, fixture: Board, tree: Tree) -> None:
        self.fixture = fixture
        self.tree = tree
        self.inventory = find_sensors(tree, firmware=fixture.firmware())

    def power(self) -> dict[str, Any]:
        (source,) = self.inventory.power
        return asdict(source.read())

    def supply(self, key: str) -> object:
        """What any of the sources says."""
        values = [getattr(source.read(), key) for source in self.inventory.supply]
        known = [value for value in values if value is not None]
        if not known:
            return None
        return any(known) if isinstance(known[0], bool) else known[0]

    def battery(self, key: str) -> object:
        (source,) = self.inventory.batteries
        return getattr(source.read(), key)

    def power_w(self, value: float | None) -> bool:
        if self.inventory.power:
            return bool(self.power()["power_w"] == value)
        return value is None

    def power_source(self, value: str) -> bool:
        if value == "unavailable":
            return self.inventory.power == ()
        chips = {chip.chip for chip in ina2xx.chips(self.tree, *ina2xx.DRIVERS)}
        return value in chips and [source.name for source in self.inventory.power] == ["ina2xx"]

    def power_scope(self, value: str) -> bool:
        return [source.scope for source in self.inventory.power] == [SCOPES[value]]

    def total_rail(self, value: str) -> bool:
        power = self.power()
        return bool(power["power_w"] == power["rails"][value])

    def sum_of(self, value: list[str]) -> bool:
        power = self.power()
        return bool(power["power_w"] == pytest.approx(sum(power["rails"][rail] for rail in value), abs=1e-9))

    def must_not_sum(self, value: bool) -> bool:
        power = self.power()
        return value and bool(power["power_w"] < sum(power["rails"].values()))

    def exclude(self, value: list[str]) -> bool:
        power = self.power()
        others = [watts for rail, watts in power["rails"].items() if rail not in value]
        return "NC" not in power["rails"] and bool(power["power_w"] <= sum(others) + 1e-9)

    def negative_rail(self, value: str) -> bool:
        return bool(self.power()["rails"][value] < 0)

    def rails_paired(self, value: int) -> bool:
        return len(self.power()["rails"]) == value

    def rails_sum_w(self, value: float) -> bool:
        return bool(round(self.power()["power_w"], 3) == value)

    def corrected_w_if_formula_used(self, value: float) -> bool:
        """The fit of docs/power.md, which the owner may use and the agent does not."""
        fit = 1.1451 * self.power()["power_w"] + 0.5879
        return bool(round(fit, 3) == round(value, 3))

    def ext5v_v(self, value: float) -> bool:
        return self.supply("supply_v") == value

    def psu_max_current_ma(self, value: int) -> bool:
        return self.supply("supply_max_ma") == value

    def current_a(self, value: float) -> bool:
        return self.supply("supply_a") == value

    def note(self, value: str) -> bool:
        return value.startswith("no voltage_now") and any("no volts" in note for note in self.inventory.notes)

    def bus_voltage_v(self, value: float) -> bool:
        return [chip.bus_volts() for chip in ina2xx.chips(self.tree, "ina219")] == [value]

    def under_voltage_now(self, value: bool) -> bool:
        return self.supply("under_voltage") is value

    def throttled_now(self, value: bool) -> bool:
        return self.supply("throttled") is value

    def under_voltage_since_boot(self, value: bool) -> bool:
        return self.supply("under_voltage_since_boot") is value

    def throttled_since_boot(self, value: bool) -> bool:
        return self.supply("throttled_since_boot") is value

    def freq_capped_now(self, value: bool) -> bool:
        return self.supply("frequency_capped") is value

    def freq_capped_since_boot(self, value: bool) -> bool:
        return self.supply("frequency_capped_since_boot") is value

    def must_not_treat_core_mv_as_supply(self, value: bool) -> bool:
        return value and self.supply("supply_v") is None

    def battery_percent(self, value: float) -> bool:
        return self.battery("percent") == value

    def on_mains(self, value: bool | None) -> bool:
        on_battery = self.battery("on_battery")
        return bool(on_battery) if value is None else on_battery is (not value)

    def hours_left(self, value: float | None) -> bool:
        return self.battery("hours_left") == value

    def wraps_at_uj(self, value: int) -> bool:
        return Counter(value - 5, value - 5).at(7, value).total_uj == value + 7

    def do_not_add_core_to_package(self, value: bool) -> bool:
        return value and bool(self.power()["energy_j"] == 240422.366267)

    def soc_temp_c(self, value: float) -> bool:
        """Temperature has its own module and tests; here only that it is no power."""
        return value > 0 and self.inventory.power == ()


EXPECTATIONS = [(name, key) for name in board_names() for key in board(name).expect]


@pytest.mark.parametrize(("name", "key"), EXPECTATIONS)
def test_a_board_is_read_as_its_source_expects(name: str, key: str, tmp_path: Path) -> None:
    fixture = board(name)
    checks = Checks(fixture, fixture.build(tmp_path, seed=7))
    check: Callable[[Any], bool] = getattr(checks, key)
    assert check(fixture.expect[key]), said(checks.inventory)


def test_the_sum_of_a_pi_5_is_that_of_its_twelve_rails_and_the_input_has_no_current() -> None:
    reading = pmic.parse(board("rpi5_idle").commands["pmic_read_adc"])
    assert "EXT5V" not in reading.rails
    assert "BATT" not in reading.rails
    assert reading.power_w == pytest.approx(2.947978, abs=1e-6)


def test_the_kernel_of_this_machine_can_be_asked_whatever_it_is() -> None:
    inventory = find_sensors(Tree())
    for source in inventory.power:
        with suppress(SensorError):
            source.read()
    for note in inventory.notes:
        assert note.endswith(".")
