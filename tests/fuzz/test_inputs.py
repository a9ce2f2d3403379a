"""The stream of inputs is repeatable and reaches every outcome; a few thousand of it run on each commit."""

from __future__ import annotations

import pytest

from edge_agent.errors import ErrorCode
from edge_agent.link.protocol import Incoming
from tests.fuzz.inputs import Case, Inputs
from tests.fuzz.long import main, run
from tests.fuzz.stand import Stand

EVERY_OUTCOME = {code.value for code in ErrorCode} - {"model_unavailable"} | {"ok", "settled"}


def message(payload: bytes, *, topic: str = "edge-agent/pi/in/home", retain: bool = False) -> Incoming:
    return Incoming(topic, payload, 1, retain, 1, None, None, None, None, None)


def test_the_same_seed_gives_the_same_inputs() -> None:
    first, second, other = Inputs(7), Inputs(7), Inputs(8)
    made = [first.next() for _ in range(200)]
    assert made == [second.next() for _ in range(200)]
    assert made != [other.next() for _ in range(200)]


def test_thousands_of_inputs_are_each_answered_once_and_reach_every_outcome() -> None:
    assert set(run(4000, seed=2026)) >= EVERY_OUTCOME


def test_the_stand_tells_outcomes_apart() -> None:
    asked = [
        message(b"hola"),
        message(b""),
        message(b"\xff"),
        message(b"hola", topic="edge-agent/pi/in/nobody"),
        message(b"hola", topic="edge-agent/pi/in/broken"),
        message(b"hola", retain=True),
    ]
    with Stand() as stand:
        outcomes = stand.ask([Case(one, is_held_back=True) for one in asked])
    wanted = ("ok", "empty_text", "bad_encoding", "unknown_model", "internal", "settled")
    assert dict(outcomes) == dict.fromkeys(wanted, 1)


def test_the_stand_notices_what_is_not_answered() -> None:
    stand = Stand()
    stand._replies.answer = lambda *_, **__: None  # type: ignore[method-assign]
    with stand, pytest.raises(AssertionError, match="0 answers"):
        stand.ask([Case(message(b"hola"), is_held_back=True)])


def test_the_command_says_what_the_inputs_came_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--inputs", "300", "--seed", "3", "--skip", "10"]) == 0
    assert capsys.readouterr().out.startswith("seed 3: ")
