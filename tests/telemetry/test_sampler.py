"""The sampler's thread: it looks, is woken, and is replaced when a sensor holds it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from threading import enumerate as threads

from edge_agent.settings.board_sections import PowerSettings, TelemetrySettings
from edge_agent.telemetry.reading import Inventory, PowerReading, SupplyReading
from edge_agent.telemetry.sampler import Sampler, suspended_seconds
from edge_agent.telemetry.snapshot import Snapshot
from tests.fakes.sensors import FakeBoard, FakeClock, FakePower, FakeSupply

DEADLINE_SECONDS = 30.0


class Counting:
    """Answers so far, and whether there was news."""

    def __init__(self) -> None:
        self.answers = 0
        self.news = Event()

    def __call__(self) -> int:
        return self.answers


@contextmanager
def sampling(
    inventory: Inventory,
    board: FakeBoard,
    counting: Counting,
    *,
    interval_seconds: float = 3600.0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Sampler]:
    sampler = Sampler(
        inventory,
        board,
        TelemetrySettings(interval_seconds=interval_seconds, busy_interval_seconds=0.1),
        PowerSettings(),
        activity=counting,
        on_change=counting.news.set,
        clock=clock,
    )
    sampler.start()
    try:
        yield sampler
    finally:
        assert sampler.stop(DEADLINE_SECONDS)
        wait_until(lambda: not sampling_threads())  # one that was held, too


def sampling_threads() -> int:
    return [thread.name for thread in threads()].count("sampler")


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    pause = Event()
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        pause.wait(0.005)


def has_seen(sampler: Sampler) -> Callable[[], bool]:
    return lambda: sampler.snapshot().moment_seconds is not None


def test_the_first_look_is_at_once() -> None:
    with sampling(Inventory(), FakeBoard(51.0), Counting()) as sampler:
        wait_until(has_seen(sampler))
        assert sampler.snapshot().board.temperature_c == 51.0
        assert sampler.progress_age_seconds < DEADLINE_SECONDS
        assert sampler.reasons() == ()
        assert not sampler.is_strained


def test_it_stops_in_the_middle_of_a_long_pause() -> None:
    with sampling(Inventory(), FakeBoard(51.0), Counting()) as sampler:
        wait_until(has_seen(sampler))
    assert sampling_threads() == 0


def test_a_sampler_that_never_began_knows_nothing_and_finds_no_fault() -> None:
    clock = FakeClock()
    sampler = Sampler(
        Inventory(power=(FakePower(PowerReading(3.0)),)),
        FakeBoard(99.0),
        TelemetrySettings(),
        PowerSettings(),
        activity=lambda: 0,
        clock=clock,
    )
    clock.pass_by(1e6)
    sampler.note_activity()
    assert sampler.snapshot() == Snapshot()
    assert (sampler.reasons(), sampler.is_strained, sampler.tend(0.0)) == ((), False, False)
    assert (sampler.energy_mj, sampler.is_power_ok(clock(), clock())) == (None, None)
    assert sampler.stop(0.0)


def test_a_request_ends_the_pause_and_the_power_sensor_is_looked_at_quickly() -> None:
    power, board, counting = FakePower(PowerReading(3.0), update_seconds=0.0), FakeBoard(51.0), Counting()
    with sampling(Inventory(power=(power,)), board, counting) as sampler:
        wait_until(has_seen(sampler))

        def is_woken() -> bool:
            sampler.note_activity()
            return power.looks >= 2

        def is_kept_awake() -> bool:
            counting.answers += 1
            return power.looks >= 5

        wait_until(is_woken)
        wait_until(is_kept_awake)
        assert board.looks == 1


def test_without_a_power_sensor_nobody_is_woken() -> None:
    board = FakeBoard(51.0)
    with sampling(Inventory(), board, Counting()) as sampler:
        wait_until(has_seen(sampler))
        for _ in range(1000):
            sampler.note_activity()
        assert sampler._bell.empty()
        assert board.looks == 1


def test_under_voltage_is_news_and_spoils_the_results_of_its_time() -> None:
    supply, counting = FakeSupply(SupplyReading(under_voltage=True)), Counting()
    with sampling(Inventory(supply=(supply,)), FakeBoard(), counting) as sampler:
        assert counting.news.wait(DEADLINE_SECONDS)
        now = time.monotonic()
        assert sampler.is_power_ok(now, now) is False
        assert sampler.is_strained
        assert sampler.reasons() == ("power: under-voltage; use a stronger supply",)


def test_without_a_sensor_nothing_is_claimed_of_a_result() -> None:
    with sampling(Inventory(), FakeBoard(), Counting()) as sampler:
        wait_until(has_seen(sampler))
        now = time.monotonic()
        assert (sampler.energy_mj, sampler.is_power_ok(now, now)) == (None, None)


def test_a_sensor_that_hangs_is_named_and_the_others_are_looked_at_without_it() -> None:
    power, board, counting = FakePower(PowerReading(3.0)), FakeBoard(51.0), Counting()
    power.hang()
    with sampling(Inventory(power=(power,)), board, counting) as sampler:
        assert power.is_held.wait(DEADLINE_SECONDS)
        assert board.looks == 0
        assert sampler.snapshot().moment_seconds is None
        assert not sampler.tend(3600.0)
        assert sampler.tend(0.0)
        assert counting.news.wait(DEADLINE_SECONDS)
        assert sampler.reasons() == ("sensor ina3221: reading it does not come back",)
        wait_until(lambda: sampler.snapshot().board.temperature_c == 51.0)
        assert not sampler.tend(0.0)
        power.let_go()


def test_what_a_sensor_said_before_it_hung_is_no_longer_known() -> None:
    power, counting = FakePower(PowerReading(3.0)), Counting()
    with sampling(Inventory(power=(power,)), FakeBoard(51.0), counting, interval_seconds=1.0) as sampler:
        wait_until(lambda: power_of(sampler) == 3.0)
        power.hang()
        assert power.is_held.wait(DEADLINE_SECONDS)
        assert sampler.tend(0.0)
        wait_until(lambda: power_of(sampler) is None)
        power.let_go()


def test_a_sensor_that_came_back_after_it_hung_is_read_again() -> None:
    power, counting = FakePower(PowerReading(3.0)), Counting()
    power.hang()
    with sampling(Inventory(power=(power,)), FakeBoard(51.0), counting, interval_seconds=1.0) as sampler:
        assert power.is_held.wait(DEADLINE_SECONDS)
        assert sampler.tend(0.0)
        assert counting.news.wait(DEADLINE_SECONDS)
        power.let_go()
        wait_until(lambda: sampler.reasons() == ())
        wait_until(lambda: sampling_threads() == 1)
        wait_until(lambda: power_of(sampler) == 3.0)


def power_of(sampler: Sampler) -> float | None:
    power = sampler.snapshot().power
    return None if power is None else power.power_w


def test_a_sensor_that_hangs_does_not_keep_the_daemon_from_ending() -> None:
    power = FakePower(PowerReading(3.0))
    power.hang()
    sampler = Sampler(
        Inventory(power=(power,)), FakeBoard(), TelemetrySettings(), PowerSettings(), activity=lambda: 0
    )
    sampler.start()
    assert power.is_held.wait(DEADLINE_SECONDS)
    assert not sampler.stop(0.01)
    assert not sampler.tend(0.0)
    power.let_go()
    assert sampler.stop(DEADLINE_SECONDS)


def test_readings_that_nobody_renews_fade_and_it_is_told() -> None:
    offset = [0.0]
    counting = Counting()
    with sampling(
        Inventory(), FakeBoard(51.0), counting, clock=lambda: time.monotonic() + offset[0]
    ) as sampler:
        wait_until(has_seen(sampler))
        offset[0] = 3 * 3600.0 + 1
        assert sampler.snapshot().board.temperature_c is None
        assert sampler.reasons()[0].startswith("sensors: none has been read for 1080")


def test_a_fault_of_our_own_does_not_end_the_looking() -> None:
    board, failing = FakeBoard(51.0), [True]

    def answers() -> int:
        if failing[0]:
            failing[0] = False
            raise ZeroDivisionError
        return 0

    sampler = Sampler(
        Inventory(), board, TelemetrySettings(interval_seconds=1.0), PowerSettings(), activity=answers
    )
    sampler.start()
    try:
        wait_until(has_seen(sampler))
    finally:
        assert sampler.stop(DEADLINE_SECONDS)


def test_the_time_that_the_machine_slept_is_no_less_than_nothing() -> None:
    assert suspended_seconds() >= -0.001
