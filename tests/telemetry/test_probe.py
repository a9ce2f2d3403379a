"""A sensor that is read again and again."""

from __future__ import annotations

from threading import Thread

import pytest

from edge_agent.telemetry.probe import Overtaken, Probe, Turn
from edge_agent.telemetry.reading import PowerReading
from tests.fakes.sensors import FakeClock, FakePower


def probe_of(sensor: FakePower) -> Probe[PowerReading]:
    return Probe(sensor, Turn(FakeClock()), rest_seconds=10.0)


def test_a_sensor_is_believed() -> None:
    probe = probe_of(FakePower(PowerReading(4.0)))
    assert probe.look(0.0) == PowerReading(4.0)
    assert (probe.fault, probe.failures) == (None, 0)


def test_a_sensor_that_fails_is_unknown_and_counted_and_named_after_three_in_a_row() -> None:
    sensor = FakePower(PowerReading(4.0))
    sensor.fail("/sys/x: the device does not answer (EIO)")
    probe = probe_of(sensor)
    assert [probe.look(float(moment)) for moment in (0, 10)] == [None, None]
    assert (probe.fault, probe.failures) == (None, 2)
    assert probe.look(20.0) is None
    assert probe.fault == "sensor ina3221: /sys/x: the device does not answer (EIO)"
    assert probe.failures == 3


def test_a_sensor_that_is_named_is_looked_at_more_and_more_rarely() -> None:
    sensor = FakePower(PowerReading(4.0))
    sensor.fail()
    probe = probe_of(sensor)
    looked = []
    for moment in range(0, 2001, 10):
        before = sensor.looks
        probe.look(float(moment))
        if sensor.looks > before:
            looked.append(moment)
    assert looked == [0, 10, 20, 40, 80, 160, 320, 640, 960, 1280, 1600, 1920]
    assert probe.failures == len(looked)


def test_a_sensor_that_is_back_is_believed_at_once() -> None:
    sensor = FakePower(PowerReading(4.0))
    sensor.fail()
    probe = probe_of(sensor)
    for moment in (0.0, 10.0, 20.0):
        probe.look(moment)
    sensor.broken = None
    assert probe.look(39.9) is None
    assert probe.look(40.0) == PowerReading(4.0)
    assert (probe.fault, probe.failures) == (None, 3)


def test_a_sensor_that_flaps_is_counted_and_never_named() -> None:
    sensor = FakePower(PowerReading(4.0))
    probe = probe_of(sensor)
    for moment in range(100):
        sensor.broken = None
        if moment % 3:
            sensor.fail()
        probe.look(float(moment))
        assert probe.fault is None
    assert probe.failures == 66


def test_a_driver_that_breaks_in_its_own_way_is_named_without_its_words() -> None:
    sensor = FakePower(PowerReading(4.0))
    sensor.broken = ZeroDivisionError("something private")
    probe = probe_of(sensor)
    for moment in (0.0, 1.0, 2.0):
        assert probe.look(moment) is None
    assert probe.fault == "sensor ina3221: it fails with ZeroDivisionError"


def test_a_sensor_that_hangs_is_left_to_its_thread_and_read_again_when_it_has_come_back() -> None:
    clock = FakeClock()
    turn = Turn(clock)
    sensor = FakePower(PowerReading(4.0))
    probe: Probe[PowerReading] = Probe(sensor, turn, rest_seconds=10.0)
    sensor.hang()
    ends: list[object] = []

    def look() -> None:
        try:
            ends.append(probe.look(0.0))
        except Overtaken as overtaken:
            ends.append(type(overtaken))

    reader = Thread(target=look)
    reader.start()
    assert sensor.is_held.wait(30)
    clock.pass_by(4.9)
    assert turn.overtake(5.0) is None
    clock.pass_by(0.1)
    assert turn.overtake(5.0) == "ina3221"
    assert turn.overtake(5.0) is None
    told = probe.fault
    assert told == "sensor ina3221: reading it does not come back"
    assert probe.look(1.0) is None
    assert sensor.looks == 1
    sensor.let_go()
    reader.join(30)
    assert ends == [Overtaken]
    assert probe.fault is None
    assert probe.look(2.0) == PowerReading(4.0)


def test_nothing_is_overtaken_that_came_back_in_time() -> None:
    clock = FakeClock()
    turn = Turn(clock)
    probe: Probe[PowerReading] = Probe(FakePower(PowerReading(4.0)), turn, rest_seconds=10.0)
    assert probe.look(0.0) is not None
    clock.pass_by(100.0)
    assert turn.overtake(5.0) is None


@pytest.mark.parametrize("failures", [0, 1, 2, 5])
def test_failing_is_no_hanging(failures: int) -> None:
    clock = FakeClock()
    turn = Turn(clock)
    sensor = FakePower(PowerReading(4.0))
    sensor.fail()
    probe: Probe[PowerReading] = Probe(sensor, turn, rest_seconds=0.0)
    for moment in range(failures):
        probe.look(float(moment))
    clock.pass_by(100.0)
    assert turn.overtake(5.0) is None
