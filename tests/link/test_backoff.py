"""Pauses between attempts: short after a loss, long where asking again cannot help."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.backoff import History, Outcome, Pauses

PAUSES = Pauses()
FRACTIONS = st.floats(0.0, 1.0, exclude_max=True)


def after(outcome: Outcome, times: int, lasted_seconds: float = 1.0) -> History:
    history = History()
    for _ in range(times):
        history = history.after(outcome, lasted_seconds)
    return history


@given(st.integers(1, 80), FRACTIONS)
def test_a_wrong_password_waits_half_a_minute_at_least_and_ten_at_most(times: int, fraction: float) -> None:
    pause = after(Outcome.DENIED, times).pause_seconds(Outcome.DENIED, PAUSES, fraction)
    assert 30.0 <= pause <= min(600.0, 30.0 * 2**times)


def test_the_pause_after_a_wrong_password_grows_to_ten_minutes() -> None:
    limits = [
        after(Outcome.DENIED, times).pause_seconds(Outcome.DENIED, PAUSES, 1.0) for times in range(1, 8)
    ]
    assert limits == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0]


@given(st.integers(1, 80), FRACTIONS)
def test_a_busy_broker_is_asked_again_soon(times: int, fraction: float) -> None:
    pause = after(Outcome.REFUSED, times).pause_seconds(Outcome.REFUSED, PAUSES, fraction)
    assert 0.0 <= pause <= min(30.0, 2.0 ** (times - 1))


def test_evictions_count_although_each_connection_lasts_a_minute() -> None:
    history = after(Outcome.TAKEN_OVER, 6, lasted_seconds=60.0)
    assert history.evictions == 6
    assert history.pause_seconds(Outcome.TAKEN_OVER, PAUSES, 0.5) > 100.0
    assert history.pause_seconds(Outcome.TAKEN_OVER, PAUSES, 0.0) == 5.0


def test_ten_minutes_of_peace_forgive_an_eviction() -> None:
    history = after(Outcome.TAKEN_OVER, 3).after(Outcome.LOST, 700.0)
    assert history.evictions == 0
    assert after(Outcome.TAKEN_OVER, 3).after(Outcome.LOST, 60.0).evictions == 3


def test_quick_losses_in_a_row_are_suspicious_and_slow_us_down() -> None:
    assert not after(Outcome.LOST, 3).is_suspicious
    history = after(Outcome.LOST, 4)
    assert history.is_suspicious
    assert history.pause_seconds(Outcome.LOST, PAUSES, 0.0) == 5.0
    assert not history.after(Outcome.UNREACHABLE, 0.0).is_suspicious
    assert not history.after(Outcome.LOST, 200.0).is_suspicious


def test_a_war_stays_slow_although_the_pauses_of_the_other_let_each_connection_live() -> None:
    history = after(Outcome.LOST, 4)
    limits = []
    for _ in range(5):
        history = history.after(Outcome.LOST, 40.0)
        limits.append(history.pause_seconds(Outcome.LOST, PAUSES, 1.0))
    assert limits == [20.0, 30.0, 30.0, 30.0, 30.0]


def test_a_mere_suspicion_never_waits_longer_than_the_owner_allows() -> None:
    history = after(Outcome.LOST, 9)
    assert history.is_suspicious
    impatient = Pauses(cap=1.0)
    assert [history.pause_seconds(Outcome.LOST, impatient, drawn) for drawn in (0.0, 1.0)] == [0.5, 1.0]


def test_a_success_ends_a_row_of_refusals() -> None:
    assert after(Outcome.DENIED, 5).after(Outcome.LOST, 60.0) == History()
