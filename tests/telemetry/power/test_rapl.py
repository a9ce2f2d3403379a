"""Energy counters: wraps undone, packages only."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.power.rapl import Counter
from edge_agent.telemetry.reading import SensorError
from tests.telemetry.trees import board, build_tree

RANGE = 262143328850
ZONE = "sys/class/powercap/intel-rapl"


@settings(deadline=None)
@given(st.lists(st.integers(0, RANGE - 1), max_size=30))
def test_the_total_grows_by_every_step_whatever_wraps(steps: list[int]) -> None:
    counter = Counter(0, 0)
    for taken in range(len(steps)):
        counter = counter.at(sum(steps[: taken + 1]) % RANGE, RANGE)
    assert counter.total_uj == sum(steps)


def test_a_step_back_without_a_known_range_counts_as_nothing() -> None:
    assert Counter(100, 1100).at(40, None) == Counter(40, 1100)


def test_a_wrap_between_two_looks_is_undone(tmp_path: Path) -> None:
    tree = board("rapl_x86").build(tmp_path)
    (source,) = find_sensors(tree).power
    before = source.read().energy_j
    (tmp_path / ZONE).with_name("intel-rapl:0").joinpath("energy_uj").write_text("1000000\n")
    after = source.read().energy_j
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx((RANGE - 240422366267 + 1000000) / 1e6)


def test_two_packages_are_added_and_their_parts_and_second_views_are_not(tmp_path: Path) -> None:
    zones = {
        "intel-rapl:0": ("package-0", 5_000_000),
        "intel-rapl:0:0": ("core", 3_000_000),
        "intel-rapl:0:1": ("dram", 1_000_000),
        "intel-rapl:1": ("package-1", 7_000_000),
        "intel-rapl:2": ("psys", 90_000_000),
        "intel-rapl-mmio:0": ("package-0", 5_000_000),
    }
    files = {f"sys/class/powercap/{zone}/name": name for zone, (name, _) in zones.items()}
    files |= {f"sys/class/powercap/{zone}/energy_uj": str(energy) for zone, (_, energy) in zones.items()}
    (source,) = find_sensors(build_tree(tmp_path, files)).power
    assert source.read().energy_j == 12.0


def test_root_only_counters_are_left_out_with_their_remedy_and_the_estimate_takes_their_place(
    tmp_path: Path,
) -> None:
    inventory = find_sensors(board("laptop_on_mains").build(tmp_path))
    assert "rapl" not in [source.name for source in inventory.power]
    assert "udev rule" in inventory.notes[0]


def test_a_counter_that_vanishes_is_an_error(tmp_path: Path) -> None:
    tree = board("rapl_x86").build(tmp_path)
    (source,) = find_sensors(tree).power
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    with pytest.raises(SensorError, match="no energy"):
        source.read()
