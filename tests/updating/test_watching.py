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
)
from edge_agent.settings.update_sections import UpdatesSettings

OLD = Stats(answered=5000, failed=40, latest_ms=(2.0,) * 128)
SWITCHED = replace(OLD, answered=5010, failed=41)
WATCH = Watch(OLD, SWITCHED, UpdatesSettings(), begun=1000.0)
END = 1060.0


def _since(answered: int = 0, failed: int = 0, each_ms: float = 2.2, age: float | None = 0.5) -> Stats:
    """What the daemon counts when the new model has answered so much since the switch."""
    return Stats(
        SWITCHED.answered + answered,
        SWITCHED.failed + failed,
        (*SWITCHED.latest_ms, *(each_ms,) * answered)[-128:],
        age,
    )


def test_a_model_that_does_well_is_watched_to_the_end_and_kept() -> None:
    well = _since(answered=100)
    assert WATCH.verdict(1000.0, well, None) == Watching(60.0)
    assert WATCH.verdict(END - 1.0, well, None) == Watching(1.0)
    assert WATCH.verdict(END, well, None) == Keep()


def test_a_fault_rolls_back_at_once_in_its_own_words() -> None:
    words = "model home: the canary expected HassTurnOn, got nothing"
    assert WATCH.verdict(1000.1, _since(answered=100), words) == RollBack(words)


@pytest.mark.parametrize(
    ("answered", "failed", "is_borne"),
    [(0, 1, True), (1, 1, True), (0, 2, False), (18, 2, False), (95, 5, True), (94, 6, False)],
)
def test_a_share_of_failures_is_taken_of_twenty_requests_at_least(
    answered: int, failed: int, is_borne: bool
) -> None:
    verdict = WATCH.verdict(1010.0, _since(answered, failed), None)
    if is_borne:
        assert verdict == Watching(50.0)
    else:
        assert verdict == RollBack(f"it failed on {failed} of {answered + failed} requests")


def test_where_no_failure_is_allowed_the_first_one_rolls_back() -> None:
    strict = replace(WATCH, rules=UpdatesSettings(watch_max_errors=0.0))
    assert isinstance(strict.verdict(1010.0, _since(1000, 1), None), RollBack)
    assert strict.verdict(END, _since(1000), None) == Keep()


def test_where_all_may_fail_no_failure_rolls_back() -> None:
    lax = replace(WATCH, rules=UpdatesSettings(watch_max_errors=1.0))
    assert lax.verdict(1010.0, _since(0, 1000), None) == Watching(50.0)


def test_a_slow_model_is_rolled_back_with_both_figures() -> None:
    assert WATCH.verdict(1030.0, _since(30, each_ms=6.0), None) == Watching(30.0)
    assert WATCH.verdict(1030.0, _since(30, each_ms=6.1), None) == RollBack(
        "it takes 6.1 ms for a request, the old one took 2.0 ms (medians)"
    )
    assert isinstance(WATCH.verdict(1030.0, _since(1000, each_ms=6.1), None), RollBack)


def test_answers_of_the_old_one_do_not_hide_that_the_new_one_is_slow() -> None:
    few = _since(LEAST_ANSWERS, each_ms=50.0)
    assert few.latest_ms.count(2.0) > few.latest_ms.count(50.0)
    assert isinstance(WATCH.verdict(1010.0, few, None), RollBack)


@pytest.mark.parametrize(
    ("before", "answered", "is_strained"),
    [
        (OLD, LEAST_ANSWERS - 1, False),
        (OLD, 0, False),
        (replace(OLD, latest_ms=(2.0,) * (LEAST_ANSWERS - 1)), 100, False),
        (None, 100, False),
        (OLD, 100, True),
    ],
    ids=["few new answers", "no new answers", "few old answers", "no old model", "a strained board"],
)
def test_slowness_is_not_judged_by_too_little_or_on_a_board_that_is_slow(
    before: Stats | None, answered: int, is_strained: bool
) -> None:
    watch = replace(WATCH, before=before)
    assert watch.verdict(END, _since(answered, each_ms=500.0), None, is_strained=is_strained) == Keep()


def test_without_traffic_the_canary_decides() -> None:
    assert WATCH.verdict(END, _since(age=30.0), None) == Keep()
    assert isinstance(WATCH.verdict(END, _since(age=30.0), "the canary failed"), RollBack)


@pytest.mark.parametrize("age", [None, 61.0])
def test_a_model_that_was_not_right_since_the_switch_is_not_kept(age: float | None) -> None:
    assert WATCH.verdict(END, _since(age=age), None) == Watching(0.0)
    late = END + GRACE_SECONDS
    aged = _since(age=None if age is None else age + GRACE_SECONDS)
    assert WATCH.verdict(late, aged, None) == RollBack("it has answered nothing rightly since the switch")
    assert WATCH.verdict(late, _since(age=1.0), None) == Keep()


def test_no_watch_keeps_at_once_but_for_what_is_wrong_already() -> None:
    watch = replace(WATCH, rules=UpdatesSettings(watch_seconds=0.0))
    assert watch.verdict(1000.0, SWITCHED, None) == Keep()
    assert isinstance(watch.verdict(1000.0, SWITCHED, "the canary failed"), RollBack)


@given(
    answered=st.integers(0, 10_000),
    failed=st.integers(0, 10_000),
    share=st.floats(0, 1),
    seconds=st.floats(0, 100),
)
def test_a_verdict_on_failures_is_never_milder_for_more_of_them(
    answered: int, failed: int, share: float, seconds: float
) -> None:
    watch = replace(WATCH, before=None, rules=UpdatesSettings(watch_max_errors=share))
    counted = replace(SWITCHED, answered=SWITCHED.answered + answered, last_ok_age_seconds=0.0)
    some, more = (replace(counted, failed=SWITCHED.failed + each) for each in (failed, failed + 1))
    if isinstance(watch.verdict(1000.0 + seconds, some, None), RollBack):
        assert failed > share * max(answered + failed, LEAST_REQUESTS)
        assert isinstance(watch.verdict(1000.0 + seconds, more, None), RollBack)
