"""Energy from looks at a power source."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.telemetry.energy import EnergyCounter, Interval
from edge_agent.telemetry.reading import PowerReading


def watts(power_w: float | None) -> PowerReading:
    return PowerReading(power_w)


def joules(energy_j: float) -> PowerReading:
    return PowerReading(None, energy_j)


def test_nothing_is_known_before_two_looks() -> None:
    counter = EnergyCounter(30.0)
    assert counter.energy_j is None
    assert counter.look(0.0, watts(5.0)) is None
    assert counter.energy_j is None


def test_power_is_integrated_by_trapezoids() -> None:
    counter = EnergyCounter(30.0)
    counter.look(100.0, watts(2.0))
    assert counter.look(110.0, watts(4.0)) == Interval(100.0, 110.0, 30.0)
    counter.look(110.5, watts(4.0))
    assert counter.energy_j == 32.0
    assert counter.measured_seconds == 10.5


def test_a_hardware_counter_is_believed_before_power() -> None:
    counter = EnergyCounter(30.0)
    counter.look(0.0, PowerReading(100.0, 1000.0))
    assert counter.look(2.0, PowerReading(100.0, 1015.0)) == Interval(0.0, 2.0, 15.0)
    assert counter.energy_j == 15.0


def test_a_hardware_counter_that_went_back_counts_from_where_it_is() -> None:
    counter = EnergyCounter(30.0)
    for moment, energy in ((0.0, 500.0), (1.0, 510.0), (2.0, 3.0), (3.0, 8.0)):
        counter.look(moment, joules(energy))
    assert counter.energy_j == 15.0
    assert counter.measured_seconds == 2.0


def test_a_failed_look_within_the_bound_is_bridged_and_a_longer_gap_is_not() -> None:
    counter = EnergyCounter(30.0)
    counter.look(0.0, watts(3.0))
    counter.look(30.0, watts(3.0))  # the looks at 10 and 20 failed
    assert counter.energy_j == 90.0
    assert counter.look(60.5, watts(3.0)) is None
    assert counter.energy_j == 90.0
    counter.look(61.5, watts(3.0))
    assert counter.energy_j == 93.0
    assert counter.measured_seconds == 31.0


def test_a_suspension_is_not_counted() -> None:
    counter = EnergyCounter(30.0)
    counter.look(0.0, joules(0.0))
    counter.interrupt()
    assert counter.look(1.0, joules(4000.0)) is None
    counter.look(2.0, joules(4005.0))
    assert counter.energy_j == 5.0


def test_negative_power_counts_as_none() -> None:
    counter = EnergyCounter(30.0)
    counter.look(0.0, watts(-0.392))
    counter.look(10.0, watts(1.0))
    assert counter.energy_j == 5.0


@pytest.mark.parametrize("power", [None, math.nan, math.inf])
def test_a_look_without_a_number_is_one_that_failed(power: float | None) -> None:
    counter = EnergyCounter(30.0)
    counter.look(0.0, watts(1.0))
    assert counter.look(1.0, watts(power)) is None
    assert counter.look(2.0, watts(1.0)) == Interval(0.0, 2.0, 2.0)


def test_two_looks_at_one_moment_count_once() -> None:
    counter = EnergyCounter(30.0)
    counter.look(1.0, watts(9.0))
    assert counter.look(1.0, watts(1.0)) is None
    assert counter.look(3.0, watts(1.0)) == Interval(1.0, 3.0, 2.0)


@given(
    begin=st.floats(0, 100),
    slope=st.floats(0, 10),
    splits=st.lists(st.floats(0, 20), max_size=40, unique=True),
)
def test_any_split_of_the_time_gives_the_same_energy(begin: float, slope: float, splits: list[float]) -> None:
    counter = EnergyCounter(30.0)
    for moment in sorted({0.0, 20.0, *splits}):
        counter.look(moment, watts(begin + slope * moment))
    assert counter.energy_j == pytest.approx(20 * begin + 200 * slope)
    assert counter.measured_seconds == pytest.approx(20.0)


READINGS = st.builds(
    PowerReading,
    st.none() | st.floats(-1e3, 1e6) | st.just(math.nan),
    st.none() | st.floats(-1e9, 1e9) | st.just(math.inf),
)


@given(st.lists(st.tuples(st.floats(0, 60), READINGS, st.booleans()), max_size=30))
def test_whatever_a_sensor_says_the_counter_never_goes_down(
    looks: list[tuple[float, PowerReading, bool]],
) -> None:
    counter = EnergyCounter(30.0)
    moment, before = 0.0, 0.0
    for pause, reading, was_suspended in looks:
        moment += pause
        if was_suspended:
            counter.interrupt()
        interval = counter.look(moment, reading)
        now = counter.energy_j or 0.0
        assert now >= before
        assert math.isfinite(now)
        assert interval is None or interval.energy_j == pytest.approx(now - before, abs=1e-3)
        assert counter.measured_seconds <= moment + 1e-9
        before = now
