from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.update.refusal import Reason
from edge_agent.update.slots import (
    MOST_CUTS,
    REST,
    TRANSITIONS,
    Event,
    Record,
    State,
    Version,
    advance,
    begin,
    recover,
    step,
)

OLD, NEW = Version("1.0.0", "sha256:" + "0" * 64), Version("1.1.0", "sha256:" + "1" * 64)
THIRD = Version("1.2.0", "sha256:" + "2" * 64)
CUT = "cut"
Happening = tuple[Any, Version]

happenings = st.lists(
    st.tuples(st.sampled_from([*Event, CUT]), st.sampled_from([OLD, NEW, THIRD])), max_size=40
)


def _happen(record: Record, happening: Happening) -> Record:
    """What a happening makes of a record; one that cannot happen now makes nothing of it."""
    what, candidate = happening
    if what == CUT:
        return recover(record)
    if (record.state, what) not in TRANSITIONS or (what is Event.ROLL_BACK and record.fallback is None):
        return record
    if what is Event.BEGIN:
        return begin(record, candidate)
    reason = Reason.UNHEALTHY if what in (Event.FAIL, Event.ROLL_BACK) else None
    return step(record, what, reason)


@given(happenings)
def test_after_any_events_and_cuts_exactly_one_version_serves_the_old_or_the_new(
    sequence: list[Happening],
) -> None:
    record = Record("home", State.KEPT, OLD)
    for happening in sequence:
        before, record = record, _happen(record, happening)
        assert record.serving in {before.serving, before.candidate, before.fallback}
        assert record.serving is not None
        assert record.serving not in record.previous
        if record.serving != before.serving:
            assert record.state in (State.WATCHING, State.ROLLED_BACK)


@given(happenings)
def test_a_candidate_serves_only_after_it_was_proved(sequence: list[Happening]) -> None:
    record, proved = Record("home", State.KEPT, OLD), {OLD}
    for happening in sequence:
        before, record = record, _happen(record, happening)
        if record.state is State.SWITCHING and before.state is not State.SWITCHING and record.candidate:
            proved.add(record.candidate)
        assert record.serving in proved


@given(happenings)
def test_cuts_alone_always_come_to_rest(sequence: list[Happening]) -> None:
    record = Record("home", State.KEPT, OLD)
    for happening in sequence:
        record = _happen(record, happening)
    for _ in range(MOST_CUTS):
        record = recover(record)
    assert record.is_at_rest
    assert recover(record) == record


def test_every_state_but_rest_can_fail_and_rest_cannot() -> None:
    assert {state for state, event in TRANSITIONS if event is Event.FAIL} == set(State) - REST


def test_an_event_out_of_place_is_refused() -> None:
    with pytest.raises(ValueError, match="idle cannot proved"):
        advance(State.IDLE, Event.PROVED)


def _watching() -> Record:
    record = begin(Record("home", State.KEPT, OLD), NEW)
    for event in (Event.ARRIVED, Event.VERIFIED, Event.PROVED, Event.SWITCHED):
        record = step(record, event)
    return record


def test_a_model_that_fails_while_watched_is_rolled_back_and_condemned() -> None:
    record = step(_watching(), Event.FAIL, Reason.UNHEALTHY, "2 of 10 wrong")
    assert (record.state, record.serving, record.previous) == (State.ROLLED_BACK, OLD, ())
    assert (record.reason, record.condemns(NEW.digest)) == (Reason.UNHEALTHY, True)


def test_a_model_that_takes_the_machine_down_twice_is_rolled_back_and_condemned() -> None:
    once = recover(_watching())
    assert (once.state, once.serving) == (State.WATCHING, NEW)
    twice = recover(once)
    assert (twice.state, twice.serving, twice.condemns(NEW.digest)) == (State.ROLLED_BACK, OLD, True)


def test_a_candidate_that_takes_the_machine_down_twice_while_tried_is_condemned() -> None:
    record = Record("home", State.KEPT, OLD)
    for is_condemned in (False, True):
        record = begin(record, NEW)
        for event in (Event.ARRIVED, Event.VERIFIED):
            record = step(record, event)
        record = recover(record)
        assert (record.state, record.serving) == (State.FAILED, OLD)
        assert record.condemns(NEW.digest) is is_condemned


def test_a_lost_network_condemns_nothing() -> None:
    record = step(begin(Record("home", State.KEPT, OLD), NEW), Event.FAIL, Reason.UNREACHABLE)
    assert (record.state, record.condemned) == (State.FAILED, ())
