"""The one source of power that counts."""

from __future__ import annotations

import pytest

from edge_agent.telemetry.power_gauge import PowerGauge
from edge_agent.telemetry.probe import Turn
from edge_agent.telemetry.reading import PowerReading, Quality, Scope
from tests.fakes.sensors import FakeClock, FakePower


def gauge_of(power: FakePower) -> PowerGauge:
    return PowerGauge(power, Turn(FakeClock()), interval_seconds=10.0, quick_seconds=0.5)


def test_a_quick_look_is_no_quicker_than_the_sensor() -> None:
    assert gauge_of(FakePower(PowerReading(3.0), update_seconds=0.1)).quick_seconds == 0.5
    assert gauge_of(FakePower(PowerReading(3.0), update_seconds=2.0)).quick_seconds == 2.0


def test_source_scope_and_quality_stand_with_every_figure() -> None:
    power = FakePower(PowerReading(3.0), name="estimate", scope=Scope.BOARD_INPUT, quality=Quality.ESTIMATED)
    gauge = gauge_of(power)
    power.fail()
    gauge.look(0.0, None)
    figures = gauge.figures()
    assert (figures.source, figures.scope, figures.quality) == (
        "estimate",
        Scope.BOARD_INPUT,
        Quality.ESTIMATED,
    )
    assert (figures.power_w, figures.energy_j) == (None, None)


def test_a_look_too_early_leaves_what_was_seen() -> None:
    power = FakePower(PowerReading(3.0), update_seconds=1.0)
    gauge = gauge_of(power)
    gauge.look(0.0, None)
    gauge.look(0.9, None)
    assert (power.looks, gauge.figures().power_w) == (1, 3.0)


def test_answers_given_while_the_sensor_failed_are_not_divided_by() -> None:
    power = FakePower(PowerReading(3.0), update_seconds=1.0)
    gauge = gauge_of(power)
    gauge.look(0.0, None)
    gauge.count(5)
    gauge.look(100.0, None)  # too far from the look before: nothing was measured meanwhile
    gauge.look(101.0, None)  # may still show those answers
    gauge.look(105.0, None)  # rest
    gauge.reckon(105.0)
    told = gauge.figures().per_answer
    assert (told.energy_mj, told.window_seconds, told.answers) == (None, 1.0, 0)
    power.value = PowerReading(5.0)
    gauge.look(106.0, None)
    gauge.count(4)
    gauge.look(108.0, None)
    gauge.reckon(108.0)
    told = gauge.figures().per_answer
    assert told.answers == 4
    assert told.window_seconds == pytest.approx(3.0)
