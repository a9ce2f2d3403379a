"""When an update waits: what presses the board, how busy it is, and no flapping between the two."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_agent.service.updating.deferral import (
    CALM_SECONDS,
    AnswerRate,
    Deferral,
    DeferralRules,
    reason_to_wait,
)
from edge_agent.settings import Settings
from edge_agent.settings.board_sections import PowerSettings
from edge_agent.settings.update_sections import UpdatesSettings
from edge_agent.telemetry.board import BoardReading
from edge_agent.telemetry.reading import BatteryReading, SupplyReading
from edge_agent.telemetry.snapshot import Snapshot
from edge_agent.telemetry.strain import Strain, judge_strain

RULES = DeferralRules()


def _seen(
    supply: SupplyReading | None = None,
    temperature_c: float | None = None,
    battery: BatteryReading | None = None,
    before: Strain | None = None,
) -> Snapshot:
    """A board as the sampler would tell it."""
    supply = supply or SupplyReading()
    batteries = {} if battery is None else {"BAT0": battery}
    strain = judge_strain(supply, temperature_c, batteries, PowerSettings(), before=before or Strain())
    return Snapshot(
        moment_seconds=1.0,
        supply=supply,
        board=BoardReading(temperature_c),
        batteries=batteries,
        strain=strain,
    )


LOW = _seen(battery=BatteryReading(percent=9.0, on_battery=True))


@pytest.mark.parametrize(
    ("board", "words"),
    [
        (LOW, "waits: the battery is at 9 %"),
        (_seen(SupplyReading(under_voltage=True)), "waits: the supply is too weak"),
        (_seen(SupplyReading(throttled=True)), "waits: the processor is throttled"),
        (_seen(SupplyReading(frequency_capped=True)), "waits: the processor's clock is capped"),
        (_seen(SupplyReading(soft_temperature_limit=True)), "waits: the processor is slowed down for heat"),
        (_seen(temperature_c=85.0), "waits: the processor is too hot"),
        (
            _seen(SupplyReading(under_voltage=True), 90.0, BatteryReading(percent=3.0, on_battery=True)),
            "waits: the supply is too weak, the processor is too hot, the battery is at 3 %",
        ),
    ],
)
def test_a_hard_pressed_board_is_not_updated_and_says_why(board: Snapshot, words: str) -> None:
    assert reason_to_wait(RULES, board, None) == words
    assert reason_to_wait(replace(RULES, when_strained=False), board, None) is None


@pytest.mark.parametrize(
    "board",
    [
        Snapshot(),
        _seen(SupplyReading(under_voltage=False), 60.0, BatteryReading(percent=90.0, on_battery=True)),
        _seen(battery=BatteryReading(percent=9.0, on_battery=False)),
        _seen(battery=BatteryReading(percent=9.0)),
        _seen(battery=BatteryReading(on_battery=True)),
    ],
)
def test_a_board_that_is_well_or_unknown_or_fed_does_not_wait(board: Snapshot) -> None:
    assert reason_to_wait(RULES, board, None) is None


@pytest.mark.parametrize(
    "board", [LOW, _seen(SupplyReading(throttled=True)), _seen(temperature_c=99.0)], ids=str
)
def test_what_was_seen_long_ago_is_no_reason(board: Snapshot) -> None:
    faded = board.faded()
    assert faded.strain.is_strained
    assert reason_to_wait(RULES, faded, None) is None


def test_a_sensor_that_fails_is_no_reason() -> None:
    board = Snapshot(strain=Strain(faults=("sensors: ina3221 fails",), reasons=("sensors: ina3221 fails",)))
    assert reason_to_wait(RULES, board, None) is None


def test_a_busy_device_waits_where_the_settings_say_so() -> None:
    rules = DeferralRules(above_per_minute=60.0)
    assert reason_to_wait(RULES, Snapshot(), 1e6) is None
    assert reason_to_wait(rules, Snapshot(), None) is None
    assert reason_to_wait(rules, Snapshot(), 60.0) is None
    assert reason_to_wait(rules, Snapshot(), 61.0) == "waits: more than 60 requests a minute are answered"


def test_who_waits_goes_on_only_when_it_is_clearly_better() -> None:
    rules = DeferralRules(above_per_minute=60.0)
    assert reason_to_wait(rules, Snapshot(), 50.0, waits=True) is not None
    assert reason_to_wait(rules, Snapshot(), 48.0, waits=True) is None
    barely = _seen(battery=BatteryReading(percent=18.0, on_battery=True))
    assert reason_to_wait(rules, barely, None) is None
    assert reason_to_wait(rules, barely, None, waits=True) == "waits: the battery is at 18 %"
    charging = _seen(battery=BatteryReading(percent=18.0, on_battery=False))
    assert reason_to_wait(rules, charging, None, waits=True) is None


def test_a_short_pause_of_the_trouble_is_not_used() -> None:
    deferral, weak, well = Deferral(RULES), _seen(SupplyReading(under_voltage=True)), Snapshot()
    assert deferral.look(well, 0, 0.0) is None
    words = deferral.look(weak, 0, 10.0)
    assert words == "waits: the supply is too weak"
    assert deferral.look(well, 0, 12.0) == words
    assert deferral.look(weak, 0, 12.0 + CALM_SECONDS) == words
    assert deferral.look(well, 0, 100.0) == words
    assert deferral.look(well, 0, 99.0 + CALM_SECONDS) == words
    assert deferral.look(well, 0, 100.0 + CALM_SECONDS) is None


def test_the_words_follow_what_is_the_trouble_now() -> None:
    deferral = Deferral(RULES)
    assert deferral.look(LOW, 0, 0.0) == "waits: the battery is at 9 %"
    assert deferral.look(_seen(temperature_c=85.0), 0, 5.0) == "waits: the processor is too hot"


def test_how_busy_it_is_comes_from_the_count_of_answers() -> None:
    deferral = Deferral(DeferralRules(above_per_minute=60.0))
    assert deferral.look(Snapshot(), 0, 0.0) is None
    assert deferral.look(Snapshot(), 500, 5.0) is None
    assert deferral.look(Snapshot(), 500, 20.0) == "waits: more than 60 requests a minute are answered"
    quiet = [deferral.look(Snapshot(), 500, 20.0 + seconds) for seconds in range(1, 181)]
    assert quiet[-1] is None
    assert quiet.index(None) >= CALM_SECONDS


def test_the_rate_is_that_of_the_latest_minute() -> None:
    rate = AnswerRate()
    assert rate.note(0, 0.0) is None
    told = [rate.note(2 * second, float(second)) for second in range(1, 301)]
    assert told[8] is None
    assert told[9] == told[299] == pytest.approx(120.0)
    assert rate.note(600, 330.0) == pytest.approx(60.0, rel=0.1)
    assert rate.note(600, 420.0) == pytest.approx(0.0)


def test_the_rate_remembers_no_more_than_a_minute_however_often_it_is_asked() -> None:
    rate = AnswerRate()
    for step in range(10_000):
        rate.note(step, step / 10)
    assert len(rate._seen) <= 62


def test_the_rules_are_those_of_the_settings() -> None:
    settings = Settings(
        updates=UpdatesSettings(wait_when_strained=False, wait_above_per_minute=30.0),
        power=PowerSettings(low_battery_percent=25.0),
    )
    assert DeferralRules.of(settings) == DeferralRules(False, 30.0, 25.0)
