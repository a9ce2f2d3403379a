"""Commands on the wire: topics, payloads, what is refused, and what is reported."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.commands import (
    MAX_COMMAND_BYTES,
    MAX_CONTAINERS,
    Address,
    Ask,
    Cleared,
    CommandFault,
    Report,
    Status,
    address_of,
    command_topic,
    parse_command,
    parse_wish,
    quoted,
    refusal_of,
    render_report,
)
from edge_agent.link.topics import Topics

ROOT = "edge-agent/pi"
NOW = 1_800_000_000.0


def _init(**fields: Any) -> bytes:
    return json.dumps({"status": "init", **fields}).encode()


def test_a_topic_names_its_operation_and_id() -> None:
    assert address_of(f"{ROOT}/cmd/self-test/7", ROOT) == Address("self-test", "7")
    assert address_of(f"{ROOT}/request/restart", ROOT) == Address("restart", None)
    assert command_topic(ROOT, "self-test", "7") == f"{ROOT}/cmd/self-test/7"


@pytest.mark.parametrize(
    "topic",
    [
        f"{ROOT}/cmd/self-test",
        f"{ROOT}/cmd/self-test/7/8",
        f"{ROOT}/request/restart/7",
        f"{ROOT}/in/home",
        "edge-agent/pie/cmd/self-test/7",
        "edge-agent/pi",
    ],
)
def test_other_topics_name_no_command(topic: str) -> None:
    assert address_of(topic, ROOT) is None


def test_the_filters_match_commands_and_wishes() -> None:
    topics = Topics("edge-agent", "pi")
    assert (topics.commands, topics.wishes) == (f"{ROOT}/cmd/+/+", f"{ROOT}/request/+")


def test_an_init_is_read_with_its_arguments_and_its_age() -> None:
    ask = parse_command(_init(name="home", version="1.1.0", sent_at="2026-11-23T05:00:00Z", ttl_s=60))
    assert ask == Ask({"name": "home", "version": "1.1.0"}, sent_at=1_795_410_000.0, ttl_seconds=60.0)


def test_an_empty_payload_clears() -> None:
    assert parse_command(b"") == Cleared()


@pytest.mark.parametrize("status", [Status.EXECUTING, Status.SUCCESSFUL, Status.FAILED])
def test_our_own_states_are_known_whoever_wrote_them_how(status: Status) -> None:
    assert parse_command(render_report(Report(status))) == status
    assert parse_command(json.dumps({"x": 1, "status": status.value}, indent=2).encode()) == status


def test_a_long_result_of_ours_is_known_without_being_read() -> None:
    long = render_report(Report(Status.SUCCESSFUL, result={"a": "x" * 60_000}))
    assert parse_command(long) is Status.SUCCESSFUL


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"restart", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not an object"),
        (b"{}", 'no "status":"init"'),
        (b'{"status":"started"}', 'no "status":"init"'),
        (b'{"status":{}}', 'no "status":"init"'),
        (b'{"status":null}', 'no "status":"init"'),
        (b'{"status":"init","x":NaN}', "not JSON"),
        (b'{"status":"init","x":1e999}', "cannot carry"),
        (b'{"status":"init","x":"\\ud800"}', "cannot carry"),
        (b'{"status":"init","sent_at":5}', "sent_at is not a time"),
        (b'{"status":"init","expires_at":"tomorrow"}', "expires_at is not a time"),
        (b'{"status":"init","ttl_s":true}', "ttl_s is not a number"),
        (b'{"status":"init","ttl_s":-1}', "ttl_s is not a number"),
        (b'{"status":"init","ttl_s":1' + b"0" * 400 + b"}", "ttl_s is not a number"),
        (b'{"status":"init","x":' + b"[" * 100_000, "more than"),
        (b'{"status":"init","x":' + b"[" * (MAX_CONTAINERS + 1), "more than"),
        (b'{"status":"init","x":"' + b"y" * MAX_COMMAND_BYTES + b'"}', "more than"),
    ],
)
def test_what_asks_for_nothing_is_a_fault_that_says_why(payload: bytes, reason: str) -> None:
    with pytest.raises(CommandFault, match=reason):
        parse_command(payload)


@pytest.mark.parametrize("payload", [b"", b"PRESS", b"[1]", b"5", b"\xff", b'{"a":', b"null"])
def test_a_wish_that_is_no_object_has_no_arguments(payload: bytes) -> None:
    assert parse_wish(payload) == Ask({})


def test_a_wish_may_carry_arguments_and_a_time_to_live() -> None:
    assert parse_wish(b'{"name":"home","ttl_s":5}') == Ask({"name": "home"}, ttl_seconds=5.0)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_any_bytes_are_read_or_are_a_fault(payload: bytes) -> None:
    with suppress(CommandFault):
        parse_command(payload)
    with suppress(CommandFault):
        parse_wish(payload)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@given(st.dictionaries(st.sampled_from(("status", "sent_at", "ttl_s", "expires_at", "x")), _VALUES))
def test_any_object_is_read_or_is_a_fault(fields: dict[str, Any]) -> None:
    payload = json.dumps(fields).encode()
    for read in (parse_command, parse_wish):
        with suppress(CommandFault):
            read(payload)


def _late(ask: Ask, *, waited: float = 0.0, expiry: int | None = None, synced: bool = True) -> str | None:
    return refusal_of(ask, now=NOW, waited_seconds=waited, message_expiry_seconds=expiry, clock_synced=synced)


def test_a_command_that_comes_too_late_is_refused() -> None:
    assert _late(Ask({}, expires_at=NOW - 1)) == "expired: expires_at is in the past"
    assert _late(Ask({}, sent_at=NOW - 61, ttl_seconds=60)) == "expired: its time to live is over"
    assert _late(Ask({}, ttl_seconds=5), waited=6.0) == "expired: its time to live is over"
    assert _late(Ask({}), waited=6.0, expiry=5) == "expired: its time to live is over"


def test_a_command_in_time_is_not_refused() -> None:
    assert _late(Ask({})) is None
    assert _late(Ask({}, expires_at=NOW + 1, sent_at=NOW - 59, ttl_seconds=60)) is None


def test_a_clock_that_is_not_synchronised_refuses_nothing() -> None:
    assert _late(Ask({}, expires_at=NOW - 99), synced=False) is None
    assert _late(Ask({}, sent_at=NOW - 99, ttl_seconds=60), synced=False) is None


def test_a_report_has_every_field() -> None:
    report = Report(Status.FAILED, "no", {"a": 1}, NOW, NOW + 5)
    assert json.loads(render_report(report)) == {
        "status": "failed",
        "reason": "no",
        "result": {"a": 1},
        "started_at": "2027-01-15T08:00:00Z",
        "ended_at": "2027-01-15T08:00:05Z",
    }


def test_a_result_that_the_broker_would_refuse_is_left_out_and_that_said() -> None:
    payload = render_report(Report(Status.SUCCESSFUL, result={"a": "x" * 5000}), 1000)
    assert len(payload) <= 1000
    shown = json.loads(payload)
    assert shown["status"] == "successful"
    assert shown["result"] is None
    assert "left out" in shown["reason"]


def test_a_name_in_a_message_is_short_and_printable() -> None:
    assert quoted("a\x1b[31m\nb") == "a?[31m?b"
    assert len(quoted("x" * 500)) == 64
