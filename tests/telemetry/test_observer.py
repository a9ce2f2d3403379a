"""When which sensor is looked at, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.settings.board_sections import PowerSettings, TelemetrySettings
from edge_agent.telemetry.observer import Observer
from edge_agent.telemetry.per_answer import PerAnswer
from edge_agent.telemetry.probe import Turn
from edge_agent.telemetry.reading import BatteryReading, Inventory, PowerReading, SensorError, SupplyReading
from edge_agent.telemetry.snapshot import PowerFigures, Snapshot
from edge_agent.telemetry.strain import Press
from tests.fakes.sensors import FakeBattery, FakeBoard, FakeClock, FakePower, FakeSupply

WELL = SupplyReading(under_voltage=False, under_voltage_since_boot=False, throttled=False)


@dataclass
class Bench:
    """A board of fakes with its observer, 10 s between looks and 0.5 s between quick ones."""

    power: FakePower | None = None
    supply: FakeSupply | None = None
    battery: FakeBattery | None = None
    board: FakeBoard = field(default_factory=lambda: FakeBoard(50.0))
    clock: FakeClock = field(default_factory=FakeClock)
    answers: int = 0
    suspended: float = 0.0

    def __post_init__(self) -> None:
        inventory = Inventory(
            power=() if self.power is None else (self.power,),
            supply=() if self.supply is None else (self.supply,),
            batteries=() if self.battery is None else (self.battery,),
        )
        self.observer = Observer(
            inventory, self.board, TelemetrySettings(), PowerSettings(), Turn(self.clock)
        )

    @property
    def snapshot(self) -> Snapshot:
        return self.observer.snapshot

    @property
    def figures(self) -> PowerFigures:
        power = self.observer.snapshot.power
        assert power is not None
        return power

    def look(self, *, is_woken: bool = False) -> bool:
        return self.observer.observe(self.clock(), self.answers, self.suspended, is_woken=is_woken)

    def run(self, seconds: float, answers_per_second: int = 0) -> int:
        """Lets time pass and looks whenever it is due; returns how many of the looks brought news."""
        news = int(self.look(is_woken=answers_per_second > 0))
        end = self.clock() + seconds
        while (due := self.observer.next_seconds(self.clock())) <= end:
            pause = max(due - self.clock(), 0.001)
            self.answers += round(answers_per_second * pause)
            self.clock.pass_by(pause)
            news += self.look()
        self.clock.seconds = end
        return news


def test_at_rest_every_sensor_is_looked_at_once_an_interval() -> None:
    bench = Bench(FakePower(PowerReading(3.0)), FakeSupply(WELL), FakeBattery(BatteryReading(81.0)))
    bench.run(60.0)
    assert bench.power is not None
    assert bench.supply is not None
    assert bench.battery is not None
    assert [s.looks for s in (bench.power, bench.supply, bench.battery, bench.board)] == [7, 7, 7, 7]


def test_while_answers_are_given_only_power_and_supply_are_looked_at_quickly() -> None:
    bench = Bench(FakePower(PowerReading(3.0)), FakeSupply(WELL), FakeBattery(BatteryReading(81.0)))
    bench.run(20.0, answers_per_second=100)
    assert bench.power is not None
    assert bench.supply is not None
    assert bench.battery is not None
    assert bench.power.looks == 41
    assert bench.supply.looks == 11
    assert bench.battery.looks == bench.board.looks == 3
    bench.answers += 0
    bench.run(2.0)
    quick = bench.power.looks
    bench.run(60.0)
    assert bench.power.looks <= quick + 7


def test_a_slow_sensor_is_not_asked_more_often_than_it_has_values() -> None:
    bench = Bench(FakePower(PowerReading(3.0), update_seconds=4.0))
    bench.run(20.0, answers_per_second=10)
    assert bench.power is not None
    assert bench.power.looks == 6
    slower = Bench(FakePower(PowerReading(3.0), update_seconds=25.0))
    slower.run(60.0)
    assert slower.power is not None
    assert slower.power.looks == 3
    assert slower.figures.power_w == 3.0


def test_a_machine_without_sensors_looks_only_for_heat_even_while_it_answers() -> None:
    bench = Bench(board=FakeBoard(None))
    assert not bench.observer.minds_activity
    bench.run(60.0, answers_per_second=100)
    assert bench.board.looks == 7
    assert bench.snapshot.power is None
    assert bench.snapshot.latch.is_power_ok(bench.clock(), bench.clock(), 30.0) is None
    assert bench.snapshot.board.temperature_c is None


def test_a_snapshot_tells_what_was_seen() -> None:
    bench = Bench(
        FakePower(PowerReading(4.73, rails={"VDD_IN": 4.73})),
        FakeSupply(WELL),
        FakeBattery(BatteryReading(81.0, on_battery=False)),
    )
    bench.run(10.0)
    assert bench.snapshot.moment_seconds == 1010.0
    assert (bench.figures.power_w, bench.figures.rails) == (4.73, {"VDD_IN": 4.73})
    assert bench.figures.energy_j == pytest.approx(47.3)
    assert bench.snapshot.supply == WELL
    assert bench.snapshot.board.temperature_c == 50.0
    assert bench.snapshot.batteries == {"BAT0": BatteryReading(81.0, on_battery=False)}
    assert bench.snapshot.failures == {"ina3221": 0, "rpi_volt": 0, "BAT0": 0, "thermal": 0}
    assert not bench.snapshot.strain.is_strained


def test_of_several_sources_of_power_only_the_first_is_read() -> None:
    first, second = FakePower(PowerReading(3.0)), FakePower(PowerReading(2.0), name="rapl")
    observer = Observer(
        Inventory(power=(first, second)), FakeBoard(), TelemetrySettings(), PowerSettings(), Turn(FakeClock())
    )
    observer.observe(0.0, 0)
    assert (first.looks, second.looks) == (1, 0)


def test_power_is_the_mean_between_looks_where_only_energy_is_counted() -> None:
    bench = Bench(FakePower(lambda look: PowerReading(None, 100.0 + 35.0 * look), name="rapl"))
    bench.look()
    first = bench.figures
    bench.run(10.0)
    second = bench.figures
    assert (first.power_w, first.energy_j) == (None, None)
    assert (second.power_w, second.energy_j) == (3.5, 35.0)


def test_an_answer_takes_what_is_drawn_above_rest() -> None:
    bench = Bench(FakePower(PowerReading(3.0)))
    bench.run(30.0)
    assert bench.power is not None
    bench.power.value = PowerReading(5.0)
    bench.run(60.0, answers_per_second=100)
    told = bench.figures.per_answer
    assert told.energy_mj == pytest.approx(20.0, rel=0.03)
    assert told.window_seconds == pytest.approx(60.0, abs=1.0)


def test_a_throttled_board_is_not_compared_with_its_rest_at_full_speed() -> None:
    bench = Bench(FakePower(PowerReading(3.0)), FakeSupply(WELL))
    bench.run(30.0)
    assert bench.power is not None
    assert bench.supply is not None
    bench.power.value = PowerReading(5.0)
    bench.supply.value = SupplyReading(under_voltage=False, throttled=True)
    bench.run(60.0, answers_per_second=100)
    assert bench.figures.per_answer.energy_mj is None
    assert bench.figures.per_answer.answers > 0


def test_a_strained_board_is_not_compared_with_its_rest_before() -> None:
    bench = Bench(FakePower(PowerReading(3.0)))
    bench.run(30.0)
    assert bench.power is not None
    bench.power.value = PowerReading(5.0)
    bench.board.warm(85.0)
    bench.run(60.0, answers_per_second=100)
    assert bench.figures.per_answer.energy_mj is None
    assert bench.figures.per_answer.answers > 0


def test_a_power_sensor_that_fails_is_unknown_and_its_energy_is_not_guessed() -> None:
    bench = Bench(FakePower(PowerReading(4.0)))
    bench.run(10.0)
    assert bench.power is not None
    bench.power.fail()
    news = bench.run(100.0)
    assert (bench.figures.power_w, bench.figures.rails) == (None, {})
    assert bench.figures.energy_j == pytest.approx(40.0)
    named = bench.snapshot.strain
    assert named.reasons == ("sensor ina3221: the device does not answer (EIO)",)
    assert news == 1
    bench.power.broken = None
    assert bench.run(400.0) == 1
    well = bench.snapshot.strain
    assert well.reasons == ()
    measured = bench.figures.measured_seconds
    assert bench.figures.energy_j == pytest.approx(4.0 * measured)
    assert measured < 400.0


def test_a_sensor_that_flaps_loses_nothing_and_is_not_named() -> None:
    bench = Bench(FakePower(PowerReading(4.0)))
    assert bench.power is not None
    for look in range(50):
        bench.power.broken = None
        if look % 3 == 1:
            bench.power.fail()
        bench.look()
        bench.clock.pass_by(10.0)
    assert bench.figures.energy_j == pytest.approx(4.0 * 480.0)
    assert bench.snapshot.strain.reasons == ()
    assert bench.snapshot.failures["ina3221"] == 17


def test_two_looks_that_failed_are_bridged_even_when_the_next_comes_late() -> None:
    bench = Bench(FakePower(PowerReading(4.0)))
    bench.look()
    assert bench.power is not None
    for pause, is_broken in ((10.1, True), (10.2, True), (10.3, False)):
        bench.clock.pass_by(pause)
        bench.power.broken = SensorError("EIO") if is_broken else None
        bench.look()
    assert bench.figures.energy_j == pytest.approx(4.0 * 30.6)


def test_a_suspension_is_not_counted_and_what_comes_after_it_is() -> None:
    bench = Bench(FakePower(lambda look: PowerReading(None, 10.0 * look), name="rapl"))
    bench.run(10.0)
    assert bench.figures.energy_j == 10.0
    bench.suspended = 3600.0
    bench.run(10.0)
    assert bench.figures.energy_j == 10.0
    bench.run(10.0)
    assert bench.figures.energy_j == 20.0


def test_under_voltage_is_news_and_is_remembered() -> None:
    bench = Bench(supply=FakeSupply(WELL))
    assert bench.run(20.0) == 0
    assert bench.supply is not None
    bench.supply.value = SupplyReading(under_voltage=True)
    began = bench.clock()
    assert bench.run(30.0) == 1
    assert bench.snapshot.strain.presses == {Press.UNDER_VOLTAGE}
    assert bench.snapshot.latch.is_power_ok(began, bench.clock(), 30.0) is False
    bench.supply.value = WELL
    assert bench.run(30.0) == 1
    assert (bench.snapshot.latch.now, bench.snapshot.latch.since_boot) == (False, True)
    assert bench.snapshot.latch.is_power_ok(bench.clock() - 1, bench.clock(), 30.0) is True


def test_a_processor_that_grows_hot_is_news_once() -> None:
    bench = Bench()
    assert bench.run(30.0) == 0
    bench.board.warm(81.0)
    assert bench.run(10.0) == 1
    bench.board.warm(82.0)
    assert bench.run(30.0) == 0
    assert bench.snapshot.strain.reasons == ("heat: the processor is at 82 °C; 80 °C is too hot",)
    bench.board.warm(74.0)
    assert bench.run(10.0) == 1


def test_of_two_supply_sources_one_that_fails_leaves_the_other() -> None:
    kernel = FakeSupply(SupplyReading(under_voltage=False))
    firmware = FakeSupply(SupplyReading(throttled=True), name="firmware")
    firmware.fail()
    observer = Observer(
        Inventory(supply=(kernel, firmware)),
        FakeBoard(),
        TelemetrySettings(),
        PowerSettings(),
        Turn(FakeClock()),
    )
    observer.observe(0.0, 0)
    assert observer.snapshot.supply == SupplyReading(under_voltage=False)


def test_started_over_everything_is_looked_at_at_once() -> None:
    bench = Bench(FakePower(PowerReading(3.0)))
    bench.look()
    bench.clock.pass_by(1.0)
    bench.observer.start_over()
    bench.look()
    assert bench.board.looks == 2


def test_a_faded_snapshot_keeps_counters_and_memories_and_no_reading() -> None:
    bench = Bench(
        FakePower(PowerReading(4.0, rails={"VDD_IN": 4.0})),
        FakeSupply(SupplyReading(under_voltage=True)),
        FakeBattery(BatteryReading(81.0)),
    )
    bench.run(10.0)
    faded = bench.snapshot.faded()
    assert faded.power is not None
    assert (faded.power.power_w, faded.power.rails, faded.power.energy_j) == (None, {}, 40.0)
    assert faded.power.per_answer == PerAnswer()
    assert (faded.latch.now, faded.latch.since_boot) == (None, True)
    assert (faded.board.temperature_c, faded.batteries, faded.supply) == (None, {}, SupplyReading())


@given(st.lists(st.tuples(st.floats(0.001, 40), st.integers(0, 50), st.booleans()), min_size=2, max_size=40))
def test_however_it_is_woken_steady_power_gives_the_same_energy(
    steps: list[tuple[float, int, bool]],
) -> None:
    bench = Bench(FakePower(PowerReading(2.0), update_seconds=0.0))
    bench.look()
    for pause, answers, is_woken in steps:
        bench.clock.pass_by(min(pause, 30.0))
        bench.answers += answers
        bench.observer.start_over()
        bench.look(is_woken=is_woken)
        assert bench.figures.energy_j == pytest.approx(2.0 * (bench.clock() - 1000.0))
