from __future__ import annotations

import json

from edge_agent.cli import stage
from tests.cli.command import assert_one_line_and_hint, edge_agent
from tests.cli.conftest import DEVICE, House


def test_a_text_is_answered_over_mqtt(house: House) -> None:
    done = edge_agent(
        "send", "--broker", house.url, "--device", DEVICE, "--model", "tiny", "turn", "on", "the", "light"
    )
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["intent"] == "HassTurnOn"


def test_the_settings_name_the_broker_and_the_device(house: House) -> None:
    done = edge_agent("send", "--config", house.config, "--model", "tiny", "--lang", "es", "apaga la luz")
    assert done.code == 0
    assert json.loads(done.out)["lang"] == "es"


def test_without_a_device_the_first_that_serves_the_model_answers(house: House) -> None:
    assert edge_agent("send", "--broker", house.url, "--model", "tiny", "turn on the light").code == 0


def test_an_error_answer_is_printed_and_ends_with_exit_code_1(house: House) -> None:
    done = edge_agent("send", "--broker", house.url, "--device", DEVICE, "--model", "nobody", "hello")
    assert done.code == 1
    assert json.loads(done.out)["error"]["code"] == "unknown_model"


def test_a_device_that_is_away_is_named_after_the_timeout_with_exit_code_1(house: House) -> None:
    done = edge_agent(
        "send", "--broker", house.url, "--device", "away", "--model", "tiny", "--timeout", "0.3", "hello"
    )
    assert (done.code, done.out) == (1, "")
    assert_one_line_and_hint(done)


def test_a_model_that_no_device_serves_ends_with_exit_code_1(house: House) -> None:
    done = edge_agent("send", "--broker", house.url, "--model", "nobody", "--timeout", "0.3", "hello")
    assert (done.code, done.out) == (1, "")
    assert "nobody" in done.err


def test_a_broker_that_is_away_ends_with_exit_code_5_and_a_hint() -> None:
    address = f"{stage.HOST}:{stage.free_port()}"
    done = edge_agent("send", "--broker", f"mqtt://{address}", "--model", "tiny", "hello")
    assert (done.code, done.out) == (5, "")
    assert_one_line_and_hint(done)
    assert address in done.err


def test_an_address_that_is_none_is_a_usage_error() -> None:
    done = edge_agent("send", "--broker", "gopher://x", "--model", "tiny", "hello")
    assert done.code == 2
    assert_one_line_and_hint(done)
