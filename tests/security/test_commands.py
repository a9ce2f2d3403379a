"""Replayed, stale, forged and malformed commands: what has ended is never executed again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.deploy.hardened import HardenedBroker, Keys
from tests.deploy.visitor import Visitor
from tests.security.asking import House, assert_well
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Heard

ROOT = "edge-agent/pi-1/cmd"
INIT = '{"status":"init"}'


def states(operator: Visitor, topic: str) -> list[str]:
    """The states that the device told on a topic, in their order."""
    return [message.json["status"] for message in operator.on(topic) if message.payload.startswith(b"{")]


def is_final(message: Heard, topic: str) -> bool:
    return message.topic == topic and (b'"successful"' in message.payload or b'"failed"' in message.payload)


def end_of(operator: Visitor, topic: str, *, since: int = 0) -> dict[str, Any]:
    told = operator.wait_until(lambda m: is_final(m, topic) and m in operator.heard[since:])
    found: dict[str, Any] = told.json
    return found


def command(operator: Visitor, operation: str, name: str, payload: str = INIT) -> dict[str, Any]:
    topic = f"{ROOT}/{operation}/{name}"
    since = len(operator.heard)
    assert operator.publish(topic, payload, retain=True) == "Success"
    return end_of(operator, topic, since=since)


def starts(daemon: Daemon) -> int:
    return len(daemon.events("agent.starting"))


def test_a_replayed_command_is_not_executed_again_not_even_by_the_next_process(
    broker: HardenedBroker, daemon: Daemon, operator: Visitor
) -> None:
    topic = f"{ROOT}/restart/once"
    assert command(operator, "restart", "once")["status"] == "successful"
    assert starts(daemon) == 2
    for round_number in (1, 2):
        assert operator.publish(topic, "", retain=True) == "Success"
        replayed = len(operator.heard)
        assert operator.publish(topic, INIT, retain=True) == "Success"
        end_of(operator, topic, since=replayed)
        assert command(operator, "self-test", f"after-{round_number}")["status"] in ("successful", "failed")
        assert starts(daemon) == 1 + round_number
        if round_number == 1:
            daemon.stop()
            daemon.start()
            daemon.wait_for_event("mqtt.connected", count=3)


def test_a_command_whose_time_is_over_is_refused(house: House) -> None:
    """``expires_at`` is compared only by a clock that is synchronised; ``ttl_s`` always counts."""
    before = starts(house.daemon)
    fields = ['"ttl_s":0']
    if house.operator.wait_for("edge-agent/pi-1/health")[-1].json["clock_synced"]:
        fields.append('"expires_at":"2020-01-01T00:00:00Z"')
    for number, field in enumerate(fields):
        told = command(house.operator, "restart", f"stale-{number}", f'{{"status":"init",{field}}}')
        assert told["status"] == "failed"
        assert "expired" in told["reason"]
    assert starts(house.daemon) == before


@pytest.mark.parametrize(
    "payload",
    [
        "restart", "{}", "[]", "null", '{"status":"INIT"}', '{"status":["init"]}', '{"status":"init"',
        '{"status":"init","a":' + "[" * 5000 + "]" * 5000 + "}",
        '{"status":"init","a":"' + "x" * 60_000 + '"}',
        '{"status":"init","a":1e999}', '{"status":"init","a":"\\ud800"}', '{"status":"init","ttl_s":"soon"}',
    ],
    ids=str.__len__,
)  # fmt: skip
def test_a_malformed_command_fails_with_a_reason_and_does_nothing(house: House, payload: str) -> None:
    before = starts(house.daemon)
    told = command(house.operator, "restart", f"malformed-{abs(hash(payload))}", payload)
    assert told["status"] == "failed"
    assert told["reason"]
    assert starts(house.daemon) == before


def test_an_unknown_operation_fails_by_name(house: House) -> None:
    told = command(house.operator, "format-disk", "1")
    assert told["status"] == "failed"
    assert "format-disk" in told["reason"]


def test_who_may_only_ask_can_neither_command_nor_forge_a_state(house: House) -> None:
    before = starts(house.daemon)
    for topic in (f"{ROOT}/restart/forged", "edge-agent/pi-1/request/restart"):
        assert house.crm.publish(topic, INIT) == "Not authorized"
    assert (
        house.crm.publish(f"{ROOT}/restart/forged", json.dumps({"status": "successful"})) == "Not authorized"
    )
    assert_well(house.crm)
    assert starts(house.daemon) == before
    assert not house.operator.on(f"{ROOT}/restart/forged")


def test_a_flood_of_commands_is_turned_away_and_requests_go_on(house: House, keys: Keys) -> None:
    with Visitor(house.broker.port, keys=keys, certificate="operator.anna") as flooder:
        for number in range(300):
            flooder.publish(f"{ROOT}/nonsense-{number}/{number}", INIT, qos=0)
        assert_well(house.crm)
        assert flooder.publish(f"{ROOT}/nonsense/last", INIT) == "Success"
    assert_well(house.crm)
    end_of(house.operator, f"{ROOT}/nonsense-0/0")
