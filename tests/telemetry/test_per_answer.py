"""Joules per answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.telemetry.energy import Interval
from edge_agent.telemetry.per_answer import AnswerMeter, PerAnswer


def steady(meter: AnswerMeter, begin: float, end: float, power_w: float, **said: object) -> None:
    """One interval of a steady power."""
    answers = said.get("answers", 0)
    assert isinstance(answers, int)
    meter.note(Interval(begin, end, (end - begin) * power_w), answers, said.get("state"))


def assert_told(told: PerAnswer, energy_mj: float, window_seconds: float, answers: int) -> None:
    assert told.energy_mj == pytest.approx(energy_mj)
    assert (told.window_seconds, told.answers) == (window_seconds, answers)


def test_an_answer_takes_what_is_drawn_above_rest() -> None:
    meter = AnswerMeter(0.1)
    steady(meter, 0.0, 10.0, 3.0)
    for number in range(20):
        steady(meter, 10 + number / 2, 10.5 + number / 2, 5.0, answers=50)
    told = meter.per_answer(20.0)
    assert told.energy_mj == pytest.approx((5.0 - 3.0) * 10.0 / 1000 * 1e3)
    assert (told.window_seconds, told.answers) == (10.0, 1000)


def test_nothing_is_said_without_answers_without_rest_or_above_no_difference() -> None:
    assert AnswerMeter(0.1).per_answer(1.0) == PerAnswer(None, 0.0, 0)
    restless = AnswerMeter(0.1)
    steady(restless, 0.0, 10.0, 5.0, answers=10)
    assert restless.per_answer(10.0) == PerAnswer(None, 10.0, 10)
    even = AnswerMeter(0.1)
    steady(even, 0.0, 10.0, 5.0)
    steady(even, 10.0, 20.0, 5.0, answers=10)
    assert even.per_answer(20.0) == PerAnswer(None, 10.0, 10)
    cooler = AnswerMeter(0.1)
    steady(cooler, 0.0, 10.0, 5.0)
    steady(cooler, 10.0, 20.0, 4.0, answers=10)
    assert cooler.per_answer(20.0).energy_mj is None


def test_a_window_shorter_than_the_sensors_update_time_says_nothing() -> None:
    meter = AnswerMeter(2.0)
    steady(meter, 0.0, 10.0, 3.0)
    steady(meter, 10.0, 11.5, 5.0, answers=10)
    assert meter.per_answer(11.5) == PerAnswer(None, 1.5, 10)
    steady(meter, 11.5, 12.0, 5.0, answers=10)
    assert_told(meter.per_answer(12.0), 200.0, 2.0, 20)


def test_what_a_slow_sensor_shows_late_belongs_to_the_answers() -> None:
    meter = AnswerMeter(1.0)
    steady(meter, 0.0, 10.0, 3.0)
    steady(meter, 10.0, 11.0, 3.0, answers=4)
    steady(meter, 11.0, 12.0, 5.0)
    steady(meter, 12.0, 13.0, 3.0)
    assert_told(meter.per_answer(13.0), 500.0, 2.0, 4)


def test_rest_of_another_state_is_no_baseline() -> None:
    meter = AnswerMeter(0.1)
    steady(meter, 0.0, 10.0, 3.0, state="plain")
    steady(meter, 10.0, 20.0, 4.0, answers=10, state="throttled")
    assert meter.per_answer(20.0) == PerAnswer(None, 10.0, 10)
    steady(meter, 21.0, 31.0, 2.0, state="throttled")
    assert_told(meter.per_answer(31.0), 2000.0, 10.0, 10)


def test_answers_of_another_state_do_not_count() -> None:
    meter = AnswerMeter(0.1)
    steady(meter, 0.0, 10.0, 9.0, answers=500, state="plain")
    steady(meter, 11.0, 21.0, 2.0, state="throttled")
    steady(meter, 21.0, 31.0, 4.0, answers=10, state="throttled")
    assert_told(meter.per_answer(31.0), 2000.0, 10.0, 10)


def test_the_window_forgets_after_a_minute_and_rest_after_a_quarter_of_an_hour() -> None:
    meter = AnswerMeter(0.1)
    steady(meter, 0.0, 10.0, 3.0)
    steady(meter, 10.0, 20.0, 5.0, answers=10)
    assert meter.per_answer(70.0).answers == 10
    assert meter.per_answer(70.1).answers == 0
    steady(meter, 905.0, 910.0, 5.0, answers=10)
    assert meter.per_answer(910.0).energy_mj == pytest.approx(1000.0)
    assert meter.per_answer(910.1).energy_mj is None


def test_a_difference_within_the_scatter_of_rest_is_not_told() -> None:
    meter = AnswerMeter(0.1)
    for second in range(10):
        steady(meter, second, second + 1, 3.0 + (0.5 if second % 2 else -0.5))
    steady(meter, 10.0, 11.0, 3.6, answers=10)
    assert meter.per_answer(11.0).energy_mj is None
    steady(meter, 11.0, 12.0, 8.0, answers=10)
    assert meter.per_answer(12.0).energy_mj == pytest.approx((0.6 + 5.0) / 20 * 1e3)


def test_after_answers_in_time_that_was_not_measured_the_sensor_is_given_its_update_time() -> None:
    meter = AnswerMeter(1.0)
    meter.skip(10.0)
    steady(meter, 10.5, 11.5, 9.0)
    steady(meter, 11.5, 20.0, 3.0)
    steady(meter, 20.0, 22.0, 5.0, answers=4)
    told = meter.per_answer(22.0)
    assert told.energy_mj == pytest.approx((6.0 + 4.0) / 4 * 1e3)


@given(st.lists(st.tuples(st.floats(0.1, 12), st.floats(0, 1e4), st.integers(0, 1000)), max_size=60))
def test_what_is_told_is_positive_and_never_without_answers(looks: list[tuple[float, float, int]]) -> None:
    meter = AnswerMeter(0.5)
    moment = 0.0
    for seconds, power_w, answers in looks:
        steady(meter, moment, moment + seconds, power_w, answers=answers)
        moment += seconds
        told = meter.per_answer(moment)
        assert 0 <= told.window_seconds <= 61
        assert told.energy_mj is None or (told.energy_mj > 0 and told.answers > 0)
