"""How connections are judged after their end; real ones end in test_broker_word.py and test_client.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_agent.link.backoff import Outcome
from edge_agent.link.ending import FLOODED, Dialect, Ending, next_protocol
from edge_agent.link.protocol import MQTT_3_1_1, MQTT_5
from edge_agent.link.refusal import Kind, Refusal, refusal_of

HANG_UP = Ending(MQTT_5, came_up=False, was_answered=False, refusal=None, loss="closed", hint=None)
SERVED = Ending(MQTT_5, came_up=True, was_answered=True, refusal=None, loss="closed", hint=None)


def refused(code: int, *, came_up: bool = False) -> Ending:
    refusal = refusal_of(code)
    assert refusal is not None
    return Ending(MQTT_5, came_up, True, refusal, "closed", None)


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (HANG_UP, Outcome.WRONG_PROTOCOL),
        (replace(HANG_UP, protocol=MQTT_3_1_1), Outcome.UNREACHABLE),
        (replace(HANG_UP, hint="mqtt.tls"), Outcome.UNREACHABLE),
        (SERVED, Outcome.LOST),
        (replace(SERVED, loss=FLOODED), Outcome.DISMISSED),
        (refused(0x84), Outcome.WRONG_PROTOCOL),
        (refused(0x86), Outcome.DENIED),
        (refused(0x88), Outcome.REFUSED),
        (refused(0x8E, came_up=True), Outcome.TAKEN_OVER),
        (refused(0x95, came_up=True), Outcome.DISMISSED),
        (refused(0x87, came_up=True), Outcome.DISMISSED),
        (refused(0x8B, came_up=True), Outcome.DISMISSED),
    ],
)
def test_an_ending_has_its_outcome(ending: Ending, outcome: Outcome) -> None:
    assert ending.outcome is outcome


def test_three_hang_ups_are_a_refusal_of_mqtt_5_and_an_answer_between_them_begins_anew() -> None:
    dialect = Dialect()
    busy = refused(0x88)
    judged = [dialect.judge(one) for one in (HANG_UP, HANG_UP, busy, HANG_UP, HANG_UP, HANG_UP)]
    assert judged[-1] is Outcome.WRONG_PROTOCOL
    assert Outcome.WRONG_PROTOCOL not in judged[:-1]


def test_a_broker_that_served_mqtt_5_once_never_refuses_it_by_hanging_up() -> None:
    dialect = Dialect()
    dialect.judge(SERVED)
    assert {dialect.judge(HANG_UP) for _ in range(9)} == {Outcome.UNREACHABLE}


def test_3_1_1_follows_only_upon_a_refusal_of_5_and_then_5_again() -> None:
    assert next_protocol(MQTT_5, Outcome.WRONG_PROTOCOL) == MQTT_3_1_1
    assert next_protocol(MQTT_3_1_1, Outcome.WRONG_PROTOCOL) == MQTT_5
    assert {next_protocol(MQTT_5, one) for one in Outcome if one is not Outcome.WRONG_PROTOCOL} == {MQTT_5}


def test_the_words_name_the_refusal_or_the_loss_with_a_remedy() -> None:
    assert replace(HANG_UP, refusal=Refusal(0x86, Kind.CREDENTIALS, "Bad password", "see x")).words == (
        "the broker refused the connection: Bad password",
        "see x",
    )
    words, hint = HANG_UP.words
    assert words == "the broker hung up without an answer: closed"
    assert hint is not None
    assert "mqtt.tls" in hint
