"""The operations of this release: what they find, what they say, and what they keep to themselves."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from edge_agent.link.commands import MAX_STATE_BYTES, Report, Status, render_report
from edge_agent.link.envelope import encode_json
from edge_agent.link.protocol import LinkStatus
from edge_agent.service.commands.diagnostics import REDACTED, Diagnostics, Sources, redacted, shrunk
from edge_agent.service.commands.operation import Outcome
from edge_agent.service.commands.operations import standard_operations
from edge_agent.service.commands.recent import KEPT, RecentEvents
from edge_agent.service.commands.restart import Restart
from edge_agent.service.commands.selftest import Parts, SelfTest
from edge_agent.service.commands.states import Interruption

UP = LinkStatus(connected_seconds=5.0, connections=1, protocol=5, session_resumed=True, fault=None)


class Choir:
    """Answers canaries at once; a model is ill on the sentences named for it."""

    def __init__(self, ill: dict[str, int] | None = None, *, is_mute: bool = False) -> None:
        self.asked: list[int] = []
        self.faults: dict[str, str] = {}
        self._ill = ill or {}
        self._is_mute = is_mute

    def canary(self, number: int) -> Event:
        self.asked.append(number)
        self.faults = {name: f"model {name}: wrong" for name, ill in self._ill.items() if ill == number}
        done = Event()
        if not self._is_mute:
            done.set()
        return done


def parts(folder: Path, choir: Choir | None = None) -> Parts:
    return Parts(
        singer=choir or Choir(),
        models=lambda: {"home": None, "mood": None},
        sentences=lambda: 3,
        link=lambda: UP,
        clock_synced=lambda: True,
        state=folder,
    )


def outcome_of(subject: Parts) -> tuple[Outcome, dict[str, Any]]:
    outcome = SelfTest(subject).run({}, Event())
    assert outcome is not None
    assert outcome.result is not None
    return outcome, {name: check["verdict"] for name, check in outcome.result["checks"].items()}


def test_a_device_that_is_well_passes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    choir = Choir()
    outcome, checks = outcome_of(parts(tmp_path, choir))
    assert outcome.reason is None
    names = ("model home", "model mood", "broker", "clock", "disk", "state_directory")
    assert checks == dict.fromkeys(names, "ok")
    assert choir.asked == [0, 1, 2]
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_fails_one_of_its_sentences_fails_the_test(tmp_path: Path) -> None:
    outcome, checks = outcome_of(parts(tmp_path, Choir(ill={"mood": 1})))
    assert outcome.reason == "model mood: model mood: wrong"
    assert (checks["model home"], checks["model mood"]) == ("ok", "failed")


def test_a_model_that_is_not_served_and_no_model_at_all_fail_the_test(tmp_path: Path) -> None:
    subject = parts(tmp_path)
    outcome, _ = outcome_of(replace(subject, models=lambda: {"home": "altered on disk"}))
    assert outcome.reason == "model home: altered on disk"
    outcome, _ = outcome_of(replace(subject, models=dict))
    assert outcome.reason == "models: no model was found"


def test_a_worker_that_does_not_answer_fails_the_test(tmp_path: Path) -> None:
    choir = Choir(is_mute=True)
    outcome = SelfTest(parts(tmp_path, choir), answer_seconds=0.5).run({}, Event())
    assert outcome is not None
    assert outcome.reason == "worker: did not answer within 0.5 s"
    assert choir.asked == [0]


def test_a_link_that_is_down_fails_and_a_clock_that_is_off_only_warns(tmp_path: Path) -> None:
    down = replace(UP, fault="not authorised")
    outcome, checks = outcome_of(replace(parts(tmp_path), link=lambda: down, clock_synced=lambda: False))
    assert outcome.reason == "broker: not authorised"
    assert checks["clock"] == "warning"


def test_a_state_directory_that_is_gone_fails_the_test(tmp_path: Path) -> None:
    outcome, checks = outcome_of(replace(parts(tmp_path), state=tmp_path / "gone"))
    assert (checks["disk"], checks["state_directory"]) == ("failed", "failed")
    assert "cannot be written: No such file or directory" in str(outcome.reason)


def test_the_end_of_the_daemon_ends_the_test_without_an_outcome(tmp_path: Path) -> None:
    stopping = Event()
    stopping.set()
    assert SelfTest(parts(tmp_path, Choir(is_mute=True))).run({}, stopping) is None


def test_a_restart_is_asked_for_once_and_left_to_the_next_process() -> None:
    asked: list[int] = []
    stopping = Event()
    stopping.set()
    restart = Restart(lambda: asked.append(1))
    assert restart.run({}, stopping) is None
    assert asked == [1]
    assert restart.interruption is Interruption.SUCCESSFUL


def sources(events: RecentEvents | None = None, **more: Any) -> Sources:
    return Sources(
        settings=lambda: {"mqtt": {"host": "broker", "password": "hunter2"}, **more},
        health=lambda: {"status": "up"},
        identity=lambda: {"agent": "0.1.0"},
        events=events or RecentEvents(),
    )


def collected(subject: Sources, most_bytes: int = MAX_STATE_BYTES) -> dict[str, Any]:
    outcome = Diagnostics(subject, lambda: most_bytes).run({}, Event())
    assert outcome is not None
    assert outcome.reason is None
    document = dict(outcome.result or {})
    state = render_report(Report(Status.SUCCESSFUL, None, document, 0.0, 0.0), most_bytes)
    assert json.loads(state)["result"] == document, "it fits"
    return document


def test_diagnostics_are_one_document_of_all_that_helps() -> None:
    events = RecentEvents(wall=lambda: 0.0)
    events(None, "warning", {"event": "mqtt.lost", "reason": "timeout"})
    document = collected(sources(events))
    assert set(document) == {"identity", "python", "platform", "packages", "health", "settings", "events"}
    assert document["python"] == sys.version.split()[0]
    assert {"numpy", "structlog", "paho-mqtt"} <= set(document["packages"])
    assert document["events"] == [
        {"event": "mqtt.lost", "level": "warning", "time": "1970-01-01T00:00:00Z", "reason": "timeout"}
    ]


def test_diagnostics_have_neither_secrets_nor_topics() -> None:
    route = {"subscribe": "shop/maria/reviews", "publish": "shop/out", "model": "mood"}
    subject = replace(
        sources(route=[route], metrics={"api_key": "k-123"}),
        identity=lambda: {"agent": "0.1.0", "settings": {"route": [route]}},
        health=lambda: {"status": "up", "topic": "shop/maria"},
    )
    document = collected(subject)
    text = json.dumps(document)
    assert not [word for word in ("hunter2", "maria", "shop", "k-123") if word in text]
    assert document["settings"]["route"] == [{"subscribe": REDACTED, "publish": REDACTED, "model": "mood"}]


def test_where_a_secret_lies_is_no_secret() -> None:
    assert redacted({"password_file": "/etc/p", "key_file": "/k", "password": None, "tokens": ["a"]}) == {
        "password_file": "/etc/p",
        "key_file": "/k",
        "password": None,
        "tokens": REDACTED,
    }


@pytest.mark.parametrize("most_bytes", [65_536, 20_000, 8_000, 4_000, 3_000])
def test_diagnostics_shrink_to_what_the_broker_takes(most_bytes: int) -> None:
    events = RecentEvents()
    for number in range(KEPT):
        events(None, "error", {"event": f"e{number}", "reason": "r" * 300, "where": "w" * 300})
    wide = {f"key_{number}": "v" * 100 for number in range(60)}
    document = collected(sources(events, wide=wide), most_bytes)
    if "events" in document:
        assert document["events"][-1]["event"] == f"e{KEPT - 1}", "the newest stay longest"


def test_a_document_that_cannot_shrink_says_what_is_missing() -> None:
    assert shrunk({"platform": "x" * 500}, 100) == {"left_out": ["platform"]}
    assert len(encode_json(shrunk({"health": {"a": "x" * 500}, "python": "3"}, 100))) <= 100


def test_only_warnings_and_worse_are_remembered_and_only_the_newest() -> None:
    events = RecentEvents()
    for number in range(KEPT + 5):
        events(None, "info", {"event": "fine"})
        events(None, "warning", {"event": f"e{number}"})
    assert [event["event"] for event in events.newest()] == [f"e{n}" for n in range(5, KEPT + 5)]
    assert len(events.newest(3)) == 3


def test_of_an_event_only_known_fields_are_remembered_and_the_log_gets_all() -> None:
    events = RecentEvents(wall=lambda: 1.0)
    event = {
        "event": "x",
        "text": "secret",
        "payload": "secret",
        "topic": "a/b",
        "reason": "r" * 500,
        "code": 7,
    }
    assert events(None, "exception", event) is event
    (kept,) = events.newest()
    assert kept == {"event": "x", "level": "error", "time": 1.0, "reason": "r" * 200, "code": 7}


def test_the_operations_have_the_names_of_the_protocol(tmp_path: Path) -> None:
    operations = standard_operations(parts(tmp_path), sources(), lambda: None)
    assert sorted(operations) == ["diagnostics", "restart", "self-test"]
    assert all(0 < operation.deadline_seconds <= 60 for operation in operations.values())
