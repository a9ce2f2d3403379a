"""A new model is kept when it proved itself, and rolled back for what it does wrong; nothing in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.service.updating.watching import (
    GRACE_SECONDS,
    LEAST_ANSWERS,
    LEAST_REQUESTS,
    Keep,
    RollBack,
    Stats,
    Watch,
    Watching,
    WatchRules,
)
from edge_agent.settings.update_sections import UpdatesSettings

OLD = Stats(answered=5000, median_ms=2.0, samples=LEAST_ANSWERS, last_ok_age_seconds=0.1)
WATCH = Watch(OLD, WatchRules(), begun=1000.0)
WELL = Stats(answered=100, median_ms=2.2, samples=LEAST_ANSWERS, last_ok_age_seconds=0.5)
END = 1060.0


def test_a_model_that_does_well_is_watched_to_the_end_and_kept() -> None:
    assert WATCH.verdict(1000.0, WELL) == Watching(60.0)
    assert WATCH.verdict(END - 1.0, WELL) == Watching(1.0)
    assert WATCH.verdict(END, WELL) == Keep()


def test_a_wrong_canary_rolls_back_at_once_in_its_own_words() -> None:
    words = "model home: the canary expected HassTurnOn, got nothing"
    assert WATCH.verdict(1000.1, replace(WELL, canary_fault=words)) == RollBack(words)


def test_a_worker_that_hangs_rolls_back() -> None:
    assert WATCH.verdict(1010.0, replace(WELL, is_stuck=True)) == RollBack("the worker hangs")


@pytest.mark.parametrize(
    ("answered", "failed", "is_borne"),
    [(0, 1, True), (1, 1, True), (0, 2, False), (18, 2, False), (95, 5, True), (94, 6, False)],
)
def test_a_share_of_failures_is_taken_of_twenty_requests_at_least(
    answered: int, failed: int, is_borne: bool
) -> None:
    verdict = WATCH.verdict(1010.0, Stats(answered=answered, failed=failed))
    if is_borne:
        assert verdict == Watching(50.0)
    else:
        assert verdict == RollBack(f"it failed on {failed} of {answered + failed} requests")


def test_where_no_failure_is_allowed_the_first_one_rolls_back() -> None:
    strict = replace(WATCH, rules=WatchRules(max_errors=0.0))
    assert isinstance(strict.verdict(1010.0, Stats(answered=1000, failed=1)), RollBack)
    assert strict.verdict(END, WELL) == Keep()


def test_where_all_may_fail_no_failure_rolls_back() -> None:
    lax = replace(WATCH, rules=WatchRules(max_errors=1.0))
    assert lax.verdict(1010.0, Stats(failed=1000)) == Watching(50.0)


def test_a_slow_model_is_rolled_back_with_both_figures() -> None:
    assert WATCH.verdict(1030.0, replace(WELL, median_ms=6.0)) == Watching(30.0)
    assert WATCH.verdict(1030.0, replace(WELL, median_ms=6.1)) == RollBack(
        "it takes 6.1 ms for a request, the old one took 2.0 ms (medians)"
    )


@pytest.mark.parametrize(
    ("before", "stats"),
    [
        (OLD, replace(WELL, samples=LEAST_ANSWERS - 1)),
        (replace(OLD, samples=LEAST_ANSWERS - 1), WELL),
        (Stats(), WELL),
        (OLD, replace(WELL, is_strained=True)),
    ],
    ids=["few new answers", "few old answers", "no old model", "a strained board"],
)
def test_slowness_is_not_judged_by_too_little_or_on_a_board_that_is_slow(before: Stats, stats: Stats) -> None:
    watch = replace(WATCH, before=before)
    assert watch.verdict(END, replace(stats, median_ms=500.0)) == Keep()


def test_without_traffic_the_canary_decides() -> None:
    silent = Stats(last_ok_age_seconds=30.0)
    assert WATCH.verdict(END, silent) == Keep()
    assert isinstance(WATCH.verdict(END, replace(silent, canary_fault="wrong")), RollBack)


@pytest.mark.parametrize("age", [None, 61.0])
def test_a_model_that_was_not_right_since_the_switch_is_not_kept(age: float | None) -> None:
    silent = Stats(last_ok_age_seconds=age)
    assert WATCH.verdict(END, silent) == Watching(0.0)
    late = END + GRACE_SECONDS
    aged = replace(silent, last_ok_age_seconds=None if age is None else age + GRACE_SECONDS)
    assert WATCH.verdict(late, aged) == RollBack("it has answered nothing rightly since the switch")
    assert WATCH.verdict(late, replace(silent, last_ok_age_seconds=1.0)) == Keep()


def test_no_watch_keeps_at_once_but_for_a_canary_that_is_wrong_already() -> None:
    watch = replace(WATCH, rules=WatchRules(seconds=0.0))
    assert watch.verdict(1000.0, Stats()) == Keep()
    assert isinstance(watch.verdict(1000.0, Stats(canary_fault="wrong")), RollBack)


def test_the_rules_are_those_of_the_settings() -> None:
    settings = UpdatesSettings(watch_seconds=5.0, watch_max_errors=0.5, watch_max_slowdown=2.0)
    assert WatchRules.of(settings) == WatchRules(5.0, 0.5, 2.0)
    assert WatchRules.of(UpdatesSettings()) == WatchRules()


@given(
    answered=st.integers(0, 10_000),
    failed=st.integers(0, 10_000),
    share=st.floats(0, 1),
    seconds=st.floats(0, 100),
)
def test_a_verdict_on_failures_is_never_milder_for_more_of_them(
    answered: int, failed: int, share: float, seconds: float
) -> None:
    watch = replace(WATCH, rules=WatchRules(max_errors=share))
    stats = Stats(answered=answered, failed=failed, last_ok_age_seconds=0.0)
    if isinstance(watch.verdict(1000.0 + seconds, stats), RollBack):
        assert failed / max(answered + failed, LEAST_REQUESTS) >= share
        worse = replace(stats, failed=failed + 1)
        assert isinstance(watch.verdict(1000.0 + seconds, worse), RollBack)
