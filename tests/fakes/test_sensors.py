"""The fake sensors keep the contracts of real ones."""

from __future__ import annotations

from threading import Thread

import pytest

from edge_agent.telemetry.reading import (
    BatteryReading,
    BatterySource,
    PowerReading,
    PowerSource,
    Quality,
    Scope,
    SensorError,
    SupplyReading,
    SupplySource,
)
from tests.fakes.sensors import FakeBattery, FakeBoard, FakeClock, FakePower, FakeSupply


def test_the_fakes_are_what_they_stand_for() -> None:
    power: PowerSource = FakePower(PowerReading(4.0))
    supply: SupplySource = FakeSupply(SupplyReading(throttled=True))
    battery: BatterySource = FakeBattery(BatteryReading(81.0))
    assert (power.name, power.scope, power.quality, power.update_seconds) == (
        "ina3221",
        Scope.MODULE,
        Quality.MEASURED,
        0.1,
    )
    assert power.read() == PowerReading(4.0)
    assert supply.read().throttled
    assert battery.read().percent == 81.0
    assert FakeBoard(50.0).read().temperatures == {"cpu-thermal": 50.0}


def test_a_fake_says_another_thing_at_each_look() -> None:
    power = FakePower(lambda look: PowerReading(float(look)))
    assert [power.read().power_w for _ in range(3)] == [1.0, 2.0, 3.0]


def test_a_fake_fails_until_it_is_mended() -> None:
    board = FakeBoard(50.0)
    board.fail("gone")
    with pytest.raises(SensorError, match="gone"):
        board.read()
    board.broken = None
    assert board.read().temperature_c == 50.0


def test_a_fake_hangs_until_it_is_let_go() -> None:
    power = FakePower(PowerReading(4.0))
    power.hang()
    said: list[PowerReading] = []
    reader = Thread(target=lambda: said.append(power.read()))
    reader.start()
    assert power.is_held.wait(10)
    assert said == []
    power.let_go()
    reader.join(10)
    assert said == [PowerReading(4.0)]


def test_the_fake_clock_goes_when_told() -> None:
    clock = FakeClock(5.0)
    assert (clock(), clock.pass_by(2.5), clock()) == (5.0, 7.5, 7.5)
