"""Millijoules per request, from looks and windows."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bench.energy import (
    NO_MORE,
    TOO_FEW,
    TOO_SHORT,
    Look,
    PerRequest,
    Window,
    per_request,
    rest_watts,
)
from edge_agent.telemetry.reading import PowerReading

UPDATE = 0.1
REST = [Window(0, 3), Window(6, 9)]
BUSY = [Window(3, 6, 3000)]


def powers(until: float, watts_at: dict[float, float], step: float = UPDATE) -> list[Look]:
    """Looks every ``step``; from each moment of ``watts_at`` on the power is what it says."""
    looks = []
    for number in range(int(until / step) + 1):
        moment = number * step
        looks.append(look_at(moment, PowerReading(_latest(watts_at, moment))))
    return looks


def _latest(values: dict[float, float], moment: float) -> float:
    return values[max(begun for begun in values if begun <= moment + 1e-9)]


def look_at(moment: float, reading: PowerReading) -> Look:
    """A look that took no time."""
    return Look(moment, moment, reading)


def told(looks: list[Look], busy: list[Window] | None = None, update: float = UPDATE) -> PerRequest:
    return per_request(looks, REST, BUSY if busy is None else busy, update)


def test_a_request_takes_what_the_window_draws_above_rest() -> None:
    found = told(powers(9, {0: 2.0, 3: 5.0, 6: 2.0}))
    assert found.value_mj == pytest.approx((5.0 - 2.0) * 3 / 3000 * 1e3)
    assert (found.reason, found.watts, found.requests, found.window_seconds) == (None, 5.0, 3000, 3.0)


def test_a_counter_of_energy_gives_the_same() -> None:
    joules = [
        look_at(t / 20, PowerReading(None, 100 + t / 10 + max(0, min(t - 60, 60)) * 0.15)) for t in range(181)
    ]
    found = told(joules, update=0.01)
    assert found.value_mj == pytest.approx(3.0, rel=1e-3)
    assert rest_watts(joules, REST, 0.01) == pytest.approx(2.0)


def test_a_counter_that_began_anew_loses_that_step_only() -> None:
    joules = [
        look_at(t / 20, PowerReading(None, t / 10 + max(0, min(t - 60, 60)) * 0.15)) for t in range(181)
    ]
    anew = [look_at(j.moment_seconds, PowerReading(None, (j.reading.energy_j or 0) - 5 * (n > 90)))
            for n, j in enumerate(joules)]  # fmt: skip
    assert told(anew, update=0.01).value_mj == pytest.approx(3.0, rel=1e-3)


def test_a_value_that_the_sensor_shows_late_does_not_blur_the_window() -> None:
    late = powers(9, {0: 2.0, 3 + 2 * UPDATE: 5.0, 6 + 2 * UPDATE: 2.0})
    assert told(late).value_mj == pytest.approx(3.0)


def test_a_look_that_began_before_the_window_or_ended_after_it_does_not_count() -> None:
    looks = powers(9, {0: 2.0, 3: 5.0, 6: 2.0})
    slow = [Look(2.9, 3.4, PowerReading(99.0)), Look(5.8, 6.1, PowerReading(99.0))]
    assert told(sorted([*looks, *slow], key=lambda look: look.asked_seconds)).value_mj == pytest.approx(3.0)


def test_an_offset_of_the_sensor_goes_with_the_difference() -> None:
    assert told(powers(9, {0: -0.4, 3: 2.6, 6: -0.4})).value_mj == pytest.approx(3.0)


def test_no_more_than_at_rest_is_null_and_says_so() -> None:
    for busy_w in (2.0, 1.5):
        found = told(powers(9, {0: 2.0, 3: busy_w, 6: 2.0}))
        assert (found.value_mj, found.error_mj, found.reason) == (None, None, NO_MORE)
        assert found.watts == busy_w


def test_a_window_shorter_than_the_update_time_says_so() -> None:
    found = told(powers(9, {0: 2.0, 3: 5.0}), [Window(3, 3.05, 50)])
    assert found == PerRequest(reason=TOO_SHORT)


def test_one_look_or_none_is_too_few() -> None:
    assert told(powers(9, {0: 2.0, 3: 5.0}), [Window(3.01, 3.31, 300)]).reason == TOO_FEW
    assert told([]).reason == TOO_FEW
    assert rest_watts([], REST, UPDATE) is None


def test_a_sensor_that_failed_says_with_what() -> None:
    found = per_request([], REST, BUSY, UPDATE, "ina3221: the device does not answer (EIO)")
    assert found.reason == "the sensor failed: ina3221: the device does not answer (EIO)"


def test_a_window_in_which_the_sensor_failed_is_left_out_with_its_requests() -> None:
    looks = [look for look in powers(9, {0: 2.0, 3: 5.0, 6: 2.0}) if look.moment_seconds < 9]
    found = per_request(looks, REST, [*BUSY, Window(10, 13, 99)], UPDATE, "it failed for a while")
    assert found.value_mj == pytest.approx(3.0)
    assert found.requests == 3000


def test_values_that_are_no_numbers_are_as_if_not_read() -> None:
    looks = powers(9, {0: 2.0, 3: 5.0, 6: 2.0})
    odd = [
        look_at(look.moment_seconds + 0.01, PowerReading(w))
        for look in looks
        for w in (math.nan, math.inf, None)
    ]
    both = sorted([*looks, *odd], key=lambda look: look.moment_seconds)
    assert told(both).value_mj == pytest.approx(3.0)


def test_a_drift_from_window_to_window_is_not_taken_for_what_requests_draw() -> None:
    # each window is steady, so single looks do not scatter much; the windows do
    rest = [Window(t, t + 3) for t in range(0, 30, 6)]
    busy = [Window(t + 3, t + 6, 3000) for t in range(0, 30, 6)]
    drifting = powers(30, {t: 2.0 + t * 0.2 for t in range(0, 30, 3)})
    assert per_request(drifting, rest, busy, UPDATE).reason == NO_MORE


@given(
    st.integers(0, 2**32),
    st.floats(0.5, 30),
    st.floats(0, 3),
    st.floats(-2, 2),
    st.integers(1, 4),
)
def test_noise_never_makes_a_figure_below_two_standard_errors(
    seed: int, rest_w: float, noise_w: float, above_w: float, turns: int
) -> None:
    chance = random.Random(seed)
    rest = [Window(2.0 * turn, 2.0 * turn + 1) for turn in range(turns + 1)]
    busy = [Window(2.0 * turn + 1, 2.0 * turn + 2, 500) for turn in range(turns)]
    looks = [
        look_at(n / 10, PowerReading(rest_w + above_w * (n // 10 % 2) + chance.gauss(0, noise_w)))
        for n in range(20 * turns + 11)
    ]
    found = per_request(looks, rest, busy, UPDATE)
    if found.value_mj is None:
        assert (found.reason, found.error_mj) == (NO_MORE, None)
    else:
        assert found.reason is None
        assert found.value_mj > 0
        assert found.value_mj >= 1.99 * (found.error_mj or 0)


def test_a_request_that_draws_nothing_is_seldom_told_to() -> None:
    # 2.3 % by chance, were the scatter known and normal; few windows make the limit coarser
    wrong = 0
    for seed in range(300):
        chance = random.Random(seed)
        looks = [look_at(n / 10, PowerReading(5 + chance.gauss(0, 0.3))) for n in range(211)]
        rest = [Window(6.0 * turn, 6.0 * turn + 3) for turn in range(4)]
        busy = [Window(6.0 * turn + 3, 6.0 * turn + 6, 3000) for turn in range(3)]
        wrong += per_request(looks, rest, busy, UPDATE).value_mj is not None
    assert wrong <= 12
