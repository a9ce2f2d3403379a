"""The thread that looks at a sensor, and the turns of rest and load around it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Event

import pytest

from edge_agent.bench.energy import LEFT_OUT, NO_SENSOR, TOO_SHORT, unknown
from edge_agent.bench.power_sampler import PowerSampler
from edge_agent.cli.bench_energy import EnergyPlan, EnergyStage, measuring_source
from edge_agent.telemetry.reading import PowerReading, Quality, Scope
from tests.fakes.sensors import FakePower
from tests.telemetry import trees

PLAN = EnergyPlan(turns=2, seconds=0.4)


def quiet(_: str) -> None:
    """Nobody listens."""


class Board:
    """Draws 2 W at rest and 5 W under load, by what its stage tells."""

    def __init__(self) -> None:
        self.is_busy = False
        self.power = FakePower(self._reading, update_seconds=0.02)

    def _reading(self, _look: int) -> PowerReading:
        return PowerReading(5.0 if self.is_busy else 2.0)

    def stage(self, plan: EnergyPlan = PLAN) -> EnergyStage:
        """It with its sensor."""
        return EnergyStage(plan, self.power, None, self._hear)

    def _hear(self, what: str) -> None:
        self.is_busy = not what.endswith("at rest")


def load(seconds: float) -> int:
    """100 requests."""
    time.sleep(seconds)
    return 100


def test_it_looks_again_and_again_at_the_sensors_own_pace_and_stops() -> None:
    third = Event()

    def reading(look: int) -> PowerReading:
        if look == 3:
            third.set()
        return PowerReading(float(look))

    power = FakePower(reading, update_seconds=0.06)
    with PowerSampler(power, None) as sampler:
        assert third.wait(30)
    seen = sampler.looks
    assert [look.reading.power_w for look in seen[:3]] == [1.0, 2.0, 3.0]
    assert seen[2].moment_seconds - seen[0].moment_seconds >= 2 * 0.06 - 0.01
    looks = power.looks
    time.sleep(0.2)
    assert power.looks == looks
    assert sampler.core_share is not None


def test_its_thread_runs_on_the_core_that_it_is_given() -> None:
    last = max(os.sched_getaffinity(0))
    seen: list[set[int]] = []
    looked = Event()

    def reading(_look: int) -> PowerReading:
        seen.append(os.sched_getaffinity(0))
        looked.set()
        return PowerReading(1.0)

    before = os.sched_getaffinity(0)
    with PowerSampler(FakePower(reading), last):
        assert looked.wait(30)
        assert os.sched_getaffinity(0) == before
    assert seen[0] == {last}


def test_looks_that_fail_are_left_out_and_the_last_reason_is_kept() -> None:
    looked = Event()

    def reading(look: int) -> PowerReading:
        if look == 2:
            power.fail("ina3221: the device does not answer (EIO)")
            looked.set()
        return PowerReading(1.0)

    power = FakePower(reading, update_seconds=0.01)
    with PowerSampler(power, None) as sampler:
        assert looked.wait(30)
        while sampler.failure is None:
            time.sleep(0.01)
    assert len(sampler.looks) == 2
    assert sampler.failure == "ina3221: the device does not answer (EIO)"


def test_a_sensor_that_hangs_is_not_waited_for_long() -> None:
    power = FakePower(PowerReading(1.0))
    power.hang()
    with PowerSampler(power, None, patience_seconds=0.1) as sampler:
        assert power.is_held.wait(30)
    assert sampler.failure == "ina3221: it does not answer"
    power.let_go()


def test_rest_and_load_take_turns_and_the_difference_is_told() -> None:
    board = Board()
    found = board.stage().measure(load, load)
    assert (found.source, found.scope, found.quality) == ("ina3221", Scope.MODULE, Quality.MEASURED)
    assert found.rest_watts == pytest.approx(2.0)
    for one in (found.bare, found.daemon):
        assert (one.reason, one.requests) == (None, 200)
        assert one.value_mj == pytest.approx(3.0 * one.window_seconds / 200 * 1e3, rel=1e-3)


def test_without_a_sensor_or_with_a_slow_one_nothing_is_run() -> None:
    def never(_seconds: float) -> int:
        raise AssertionError("a load without a sensor")

    assert EnergyStage(PLAN, None, None, quiet).measure(never, never) == unknown(NO_SENSOR)
    battery = FakePower(PowerReading(9.0), name="battery", update_seconds=30.0)
    slow = EnergyStage(PLAN, battery, None, quiet).measure(never, never)
    assert (slow.source, slow.rest_watts) == ("battery", None)
    assert slow.bare.reason == slow.daemon.reason == TOO_SHORT


def test_a_daemon_that_was_left_out_is_told_so() -> None:
    board = Board()
    found = board.stage(EnergyPlan(1, 0.3)).measure(load, None)
    assert found.bare.value_mj is not None
    assert found.daemon.reason == LEFT_OUT


def test_a_sensor_that_fails_throughout_gives_null_and_its_reason() -> None:
    board = Board()
    board.power.fail("ina3221: the device is gone (ENXIO)")
    found = board.stage(EnergyPlan(1, 0.2)).measure(load, load)
    assert found.rest_watts is found.daemon.value_mj is None
    assert found.daemon.reason == "the sensor failed: ina3221: the device is gone (ENXIO)"


@pytest.mark.parametrize(
    ("board", "source"),
    [("jetson_orin_nano_jp5", "ina3221"), ("rapl_x86", "rapl"), ("battery_bat0", "battery")],
)
def test_the_sensor_that_measures_a_board_is_taken(board: str, source: str, tmp_path: Path) -> None:
    trees.board(board).build(tmp_path)
    found, notes = measuring_source(tmp_path)
    assert found is not None
    assert (found.name, notes) == (source, ())


def test_a_battery_on_mains_measures_nothing(tmp_path: Path) -> None:
    laptop = trees.board("laptop_on_mains")
    without = {path: None for path in laptop.files if "powercap" in path}
    laptop.with_files(without).build(tmp_path)
    assert measuring_source(tmp_path) == (None, ())


def test_a_machine_without_sensors_has_none_to_take(tmp_path: Path) -> None:
    assert measuring_source(tmp_path) == (None, ())
