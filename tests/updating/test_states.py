"""What ``model/<name>`` tells of an update, step by step."""

from __future__ import annotations

from edge_agent.service.health import render_model
from edge_agent.service.models import Entry
from edge_agent.service.updating.states import Told, UpdateStates
from edge_agent.update.refusal import Reason
from edge_agent.update.slots import Event, Record, State, Version, begin, step

OLD, NEW = Version("1.0.0", "sha256:" + "0" * 64), Version("1.1.0", "sha256:" + "1" * 64)


def test_every_change_is_told_once_and_what_is_no_change_is_not() -> None:
    told: list[int] = []
    states = UpdateStates(lambda: told.append(1))
    record = begin(Record("home", serving=OLD), NEW)
    states.note(record)
    states.note(record)
    assert len(told) == 1
    states.download("home", 40)
    states.download("home", 40)
    assert len(told) == 2
    assert states.of("home") == Told(State.DOWNLOADING, True, "1.1.0", 40, None)


def test_a_percentage_belongs_to_the_download_alone() -> None:
    states = UpdateStates(lambda: None)
    record = begin(Record("home", serving=OLD), NEW)
    states.note(record)
    states.download("home", 90)
    states.note(step(record, Event.ARRIVED))
    states.download("home", 100)
    assert states.of("home") == Told(State.VERIFYING, True, "1.1.0", None, None)


def test_a_reason_begins_with_its_name() -> None:
    states = UpdateStates(lambda: None)
    begun = begin(Record("home", serving=OLD), NEW)
    states.note(begun)
    states.note(step(begun, Event.FAIL, Reason.EXPIRED, "expired: since May"))
    assert states.of("home") == Told(State.FAILED, False, "1.1.0", None, "expired: since May")
    states.note(Record("home", State.ROLLED_BACK, OLD, reason=Reason.UNHEALTHY, detail="it hangs"))
    reason = states.of("home")
    assert reason is not None
    assert reason.reason == "unhealthy_while_watched: it hangs"


def test_one_that_waits_is_in_progress_until_it_fails_or_begins() -> None:
    states = UpdateStates(lambda: None)
    states.wait("home", "waits: the battery is at 9 %")
    assert states.of("home") == Told(State.IDLE, True, None, None, "waits: the battery is at 9 %")
    states.fail("home", "waits: too long")
    assert states.of("home") == Told(State.FAILED, False, None, None, "waits: too long")
    states.note(begin(Record("home", serving=OLD), NEW))
    assert states.of("home") == Told(State.DOWNLOADING, True, "1.1.0")


def test_what_serves_is_never_newer_than_what_is_to_be_had() -> None:
    states = UpdateStates(lambda: None)
    states.offer({"home": "1.0.5"})
    states.note(Record("home", State.KEPT, NEW, (OLD,), NEW))
    assert states.of("home") == Told(State.KEPT, False, "1.1.0")


def test_a_poll_that_waits_is_told_of_no_model() -> None:
    states = UpdateStates(lambda: None)
    states.wait("", "waits: it is hot")
    states.fail("", "waits: it is hot")
    assert states.of("") is None


def test_a_model_that_nobody_updated_is_kept_or_failed() -> None:
    assert b'"state":"failed","reason":"model home: broken"' in render_model(
        Entry("home", None, "model home: broken")
    )
    assert b'"latest_version":"1.1.0"' in render_model(Entry("home", None), Told(latest="1.1.0"))
