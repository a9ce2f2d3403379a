"""Health and info as documents: values in, JSON out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from edge_agent.link.protocol import LinkStatus
from edge_agent.service.figures import LastError, Snapshot, Spread
from edge_agent.service.health import (
    MAX_HEALTH_BYTES,
    Facts,
    Identity,
    Status,
    judge,
    render_health,
    render_info,
)
from edge_agent.service.machine import Load
from edge_agent.service.models import Entry
from tests.fakes.model import FakeModel, served

FACTS = Facts(
    catalogue={"home": Entry("home", served(FakeModel()))},
    canary_faults={},
    faults=(),
    directories=["/a", "/b"],
    figures=Snapshot(
        9120,
        61.04,
        {"queue": Spread(0.1, 0.2), "total": Spread(1.604, 4.0)},
        {"too_large": 2},
        {"retained": 1},
        {"home": 3.14},
        LastError("mqtt.lost", 0.0),
    ),
    stale_after_seconds=90.0,
    stuck_after_seconds=22.5,
    worker_busy_seconds=0.0,
    sampler_age_seconds=4.04,
    queue=0,
    link=LinkStatus(4200.5, 2, 5, True, None),
    temperature_c=51.2,
    load=Load(7.0, 82.4, 301.0, 5120.0),
    now=1795410000.0,
    clock_synced=True,
    boot_id="b",
    uptime_seconds=4242.9,
    pid=412,
)


def health_of(facts: Facts) -> dict[str, Any]:
    payload = render_health(facts, *judge(facts))
    assert len(payload) <= MAX_HEALTH_BYTES
    document: dict[str, Any] = json.loads(payload)
    return document


def test_health_is_as_the_protocol_shows_it() -> None:
    assert health_of(FACTS) == {
        "status": "up",
        "reasons": [],
        "time": "2026-11-23T05:00:00Z",
        "clock_synced": True,
        "boot_id": "b",
        "uptime_s": 4242,
        "pid": 412,
        "models": {"home": {"version": "1.0.0", "state": "serving", "last_ok_age_s": 3.1}},
        "inference": {
            "answered": 9120,
            "per_minute": 61.0,
            "p50_ms": 1.6,
            "p99_ms": 4.0,
            "queue": 0,
            "stages": {"queue": [0.1, 0.2]},
        },
        "progress": {"worker_busy_s": 0.0, "sampler_age_s": 4.0},
        "errors": {"too_large": 2},
        "dropped": {"retained": 1},
        "mqtt": {"connected_s": 4200, "reconnects": 1, "protocol": 5, "session_resumed": True},
        "system": {
            "cpu_percent": 7.0,
            "memory_rss_mb": 82.4,
            "memory_available_mb": 301.0,
            "disk_free_mb": 5120.0,
            "temperature_c": 51.2,
        },
        "last_error": {"event": "mqtt.lost", "time": "1970-01-01T00:00:00Z"},
    }


def test_without_a_model_it_is_down() -> None:
    assert judge(replace(FACTS, catalogue={})) == (Status.DOWN, ["no model found in /a, /b"])


def test_one_failed_model_of_two_degrades_and_the_only_one_brings_down() -> None:
    failed = Entry("sentiment", None, "model sentiment: golden sentence 3 expected negative, got neutral")
    both = replace(FACTS, catalogue={**FACTS.catalogue, "sentiment": failed})
    assert judge(both) == (Status.DEGRADED, [failed.fault])
    assert judge(replace(FACTS, catalogue={"sentiment": failed})) == (Status.DOWN, [failed.fault])
    assert health_of(both)["models"]["sentiment"] == {
        "version": None,
        "state": "failed",
        "last_ok_age_s": None,
    }


def test_a_wrong_canary_fails_its_model() -> None:
    facts = replace(FACTS, canary_faults={"home": "model home: the canary expected A, got B"})
    assert judge(facts) == (Status.DOWN, ["model home: the canary expected A, got B"])
    assert health_of(facts)["models"]["home"]["state"] == "failed"


def test_up_needs_a_right_answer_lately() -> None:
    old = replace(FACTS.figures, last_ok_age_seconds={"home": 91.0})
    never = replace(FACTS.figures, last_ok_age_seconds={})
    for figures in (old, never):
        status, reasons = judge(replace(FACTS, figures=figures))
        assert (status, reasons) == (Status.DOWN, ["model home: no right answer lately"])


def test_a_worker_that_hangs_brings_all_down() -> None:
    assert judge(replace(FACTS, worker_busy_seconds=22.4)) == (Status.UP, [])
    status, reasons = judge(replace(FACTS, worker_busy_seconds=23.0))
    assert (status, reasons) == (Status.DOWN, ["the worker hangs: it has been at one thing for 23 s"])


def test_a_broker_that_is_away_degrades() -> None:
    away = replace(FACTS, link=LinkStatus(None, 0, None, None, "cannot reach the broker"))
    assert judge(away) == (Status.DEGRADED, ["broker: cannot reach the broker"])
    assert health_of(away)["mqtt"] == {
        "connected_s": None,
        "reconnects": 0,
        "protocol": None,
        "session_resumed": None,
    }


def test_what_the_broker_refuses_and_what_is_impaired_is_named() -> None:
    link = replace(FACTS.link, refusals=("it takes no answers to out/home: Not authorized",))
    document = health_of(replace(FACTS, link=link, faults=("/var/lib/x cannot be created: Read-only",)))
    assert document["status"] == "degraded"
    assert document["reasons"] == [
        "/var/lib/x cannot be created: Read-only",
        "broker: it takes no answers to out/home: Not authorized",
    ]


def test_the_remedy_stands_beside_the_fault() -> None:
    link = LinkStatus(None, 0, None, None, "Bad user name or password", hint="see mqtt.username")
    assert health_of(replace(FACTS, link=link))["reasons"] == [
        "broker: Bad user name or password (see mqtt.username)"
    ]


def test_health_stays_small_whatever_goes_wrong() -> None:
    many = {f"model{number}": Entry(f"model{number}", None, "ñ" * 5000) for number in range(300)}
    document = health_of(replace(FACTS, catalogue=many))
    assert document["status"] == "down"
    assert document["reasons"]


def test_what_is_unknown_is_null() -> None:
    facts = replace(
        FACTS,
        load=Load(None, None, None, None),
        temperature_c=None,
        boot_id=None,
        figures=Snapshot(0, 0.0, {}, {}, {}, {}, None),
    )
    document = health_of(facts)
    assert set(document["system"].values()) == {None}
    assert document["inference"]["p50_ms"] is None
    assert document["last_error"] is None


def test_info_is_as_the_protocol_shows_it() -> None:
    identity = Identity(
        "0.3.0", "ai-edge-litert 2.3.0", "3.11.2", "Raspberry Pi 4", "Debian", {"a": {"b": 1}}
    )
    catalogue = {**FACTS.catalogue, "bad": Entry("bad", None, "x")}
    assert json.loads(render_info(identity, catalogue, ("restart", "self-test"))) == {
        "agent": "0.3.0",
        "protocol": 1,
        "runtime": "ai-edge-litert 2.3.0",
        "python": "3.11.2",
        "board": "Raspberry Pi 4",
        "os": "Debian",
        "models": {
            "home": {"version": "1.0.0", "task": "intent", "languages": ["en"], "digest": "sha256:1.0.0"}
        },
        "operations": ["restart", "self-test"],
        "sensors": {},
        "settings": {"a": {"b": 1}},
    }
