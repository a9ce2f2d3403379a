"""What a request over a real Mosquitto gets back (PROTOCOL §1): the daemon is a real process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from edge_agent.errors import ErrorCode
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Heard, Probe
from tests.testbeds.waiting import eventually
from tests.tiny_bundle import build_tiny_bundle

SENTENCE = "turn on the lamp in the kitchen"
IN, OUT = "edge-agent/pi-test/in/tiny", "edge-agent/pi-test/out/tiny"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mosquitto, Daemon]]:
    """One broker and one daemon with a good model and one whose golden sentences fail."""
    folder = tmp_path_factory.mktemp("requests")
    build_tiny_bundle(folder / "models" / "tiny")
    build_tiny_bundle(folder / "models" / "wrong", "wrong", wrong_golden=True)
    with (
        Mosquitto(folder / "broker") as broker,
        Daemon(folder / "daemon", broker.port, (folder / "models",)) as daemon,
    ):
        assert isinstance(broker, Mosquitto)
        yield broker, daemon


@pytest.fixture
def probe(stage: tuple[Mosquitto, Daemon]) -> Iterator[Probe]:
    with Probe(stage[0].port, "edge-agent/pi-test/out/#", "replies/#") as connected:
        yield connected


def ask(probe: Probe, payload: str | bytes | dict[str, Any], topic: str = IN, **more: Any) -> Heard:
    probe.publish(topic, payload, **more)
    out = topic.replace("/in/", "/out/")
    return probe.wait_for(out)[0]


def test_plain_text_is_answered_with_intent_and_slots(probe: Probe) -> None:
    answer = ask(probe, SENTENCE)
    result = answer.json
    assert (answer.qos, answer.retain) == (1, False)
    assert result["intent"] == "HassTurnOn"
    assert result["recognized"] is True
    assert result["id"] is None
    assert {(slot["name"], slot["value"]) for slot in result["slots"]} >= {("area", "kitchen")}
    for slot in result["slots"]:
        assert SENTENCE[slot["start"] : slot["end"]] == slot["value"]
    assert list(result) == [
        "id", "model", "version", "task", "lang", "recognized", "intent", "confidence", "alternatives",
        "slots", "truncated", "timing_ms", "energy_mj", "power_ok",
    ]  # fmt: skip
    assert set(result["timing_ms"]) == {"queue", "tokenize", "invoke", "total"}


def test_a_json_request_gets_its_id_and_language_back(probe: Probe) -> None:
    result = ask(probe, {"text": "apaga la luz del salón", "id": "42", "lang": "es", "top_k": 1}).json
    assert (result["id"], result["lang"], result["intent"]) == ("42", "es", "HassTurnOff")
    assert len(result["alternatives"]) == 1


def test_the_answer_goes_to_the_response_topic_with_the_correlation_data(probe: Probe) -> None:
    probe.publish(IN, SENTENCE, response_topic="replies/me", correlation=b"\x00\xff1")
    answer = probe.wait_for("replies/me")[0]
    assert answer.correlation == b"\x00\xff1"
    assert answer.content_type == "application/json"
    assert answer.json["intent"] == "HassTurnOn"
    assert probe.on(OUT) == []


def test_trace_properties_and_the_rest_of_the_expiry_are_echoed(probe: Probe) -> None:
    trace = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    answer = ask(probe, SENTENCE, expiry_seconds=60, user=(trace, ("tracestate", "a=1"), ("other", "x")))
    assert answer.user == {"traceparent": trace[1], "tracestate": "a=1"}
    assert answer.expiry_seconds is not None
    assert 50 <= answer.expiry_seconds <= 60


def test_a_byte_order_mark_in_a_property_does_not_break_the_link(probe: Probe) -> None:
    answer = ask(probe, SENTENCE, user=(("note", "\ufeffhello"),))
    assert answer.json["intent"] == "HassTurnOn"


def test_qos_0_and_qos_2_are_answered_too(probe: Probe) -> None:
    for number, qos in enumerate((0, 2), start=1):
        probe.publish(IN, {"text": SENTENCE, "id": str(qos)}, qos=qos)
        assert probe.wait_for(OUT, count=number)[-1].json["id"] == str(qos)


BAD = {
    "broken UTF-8": (b"turn on \xff\xfe", "bad_encoding"),
    "half a surrogate pair": (b'{"text": "a\\ud800"}', "bad_encoding"),
    "a list": (b"[1, 2]", "bad_payload"),
    "a number": (b"42", "bad_payload"),
    "a string": (b'"turn on"', "bad_payload"),
    "cut JSON": (b'{"text": "turn on', "bad_payload"),
    "nothing": (b"", "empty_text"),
    "blanks": (b" \t\n", "empty_text"),
    "no text": (b'{"id": "1"}', "empty_text"),
    "empty text": (b'{"text": ""}', "empty_text"),
    "control characters only": (b'{"text": "\\u0000\\u0007"}', "empty_text"),
    "text that is a number": (b'{"text": 5}', "bad_payload"),
    "text over the limit": (b"a" * 9000, "too_large"),
    "a large payload": (b"a" * 500_000, "too_large"),
    "negative top_k": (b'{"text": "a", "top_k": -1}', "bad_payload"),
    "boolean top_k": (b'{"text": "a", "top_k": true}', "bad_payload"),
    "fractional top_k": (b'{"text": "a", "top_k": 1.5}', "bad_payload"),
    "huge top_k": (b'{"text": "a", "top_k": 99999999999999999999}', "bad_payload"),
    "infinite ttl": (b'{"text": "a", "ttl_s": 1e999}', "bad_payload"),
    "ttl that is no number": (b'{"text": "a", "ttl_s": NaN}', "bad_payload"),
    "negative ttl": (b'{"text": "a", "ttl_s": -1}', "bad_payload"),
    "huge ttl": (b'{"text": "a", "ttl_s": 1e300}', "bad_payload"),
    "ttl with a thousand digits": (b'{"text": "a", "ttl_s": ' + b"9" * 1000 + b"}", "bad_payload"),
    "textual ttl": (b'{"text": "a", "ttl_s": "5"}', "bad_payload"),
    "senseless time": (b'{"text": "a", "sent_at": "yesterday"}', "bad_payload"),
    "numeric id": (b'{"text": "a", "id": 7}', "bad_payload"),
    "deep JSON": (b'{"text": "a", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "bad_payload"),
    "expired": (b'{"text": "a", "ttl_s": 0}', "expired"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_gets_its_named_error_and_changes_nothing_else(probe: Probe, fault: str) -> None:
    payload, code = BAD[fault]
    error = ask(probe, payload).json
    assert set(error) == {"id", "error"}
    assert error["error"]["code"] == code
    assert ErrorCode(code)
    probe.forget()
    assert ask(probe, SENTENCE).json["intent"] == "HassTurnOn"


def test_an_error_carries_the_id_that_could_be_read(probe: Probe) -> None:
    assert ask(probe, {"text": "a", "id": "77", "top_k": -1}).json["id"] == "77"


def test_an_unknown_model_is_named_on_its_own_out_topic(probe: Probe) -> None:
    error = ask(probe, {"text": SENTENCE, "id": "9"}, topic="edge-agent/pi-test/in/nope").json
    assert error == {
        "id": "9",
        "error": {"code": "unknown_model", "message": "there is no such model on this device"},
    }


def test_a_model_whose_golden_sentences_failed_is_unavailable_alone(
    stage: tuple[Mosquitto, Daemon], probe: Probe
) -> None:
    error = ask(probe, SENTENCE, topic="edge-agent/pi-test/in/wrong").json
    assert error["error"]["code"] == "model_unavailable"
    assert ask(probe, SENTENCE).json["intent"] == "HassTurnOn"
    with Probe(stage[0].port, "edge-agent/pi-test/health") as other:
        health = other.wait_for("edge-agent/pi-test/health")[0].json
    assert health["status"] == "degraded"
    assert health["models"]["wrong"]["state"] == "failed"
    assert any("golden sentence 3 expected" in reason for reason in health["reasons"])


@pytest.mark.parametrize(
    "response",
    [
        "homeassistant/light/x/config",
        "edge-agent/pi-test/status",
        "edge-agent/pi-test/in/tiny",
        "edge-agent/other/cmd/restart/1",
        "$SYS/broker",
    ],
)
def test_a_forbidden_response_topic_is_refused_on_the_out_topic(probe: Probe, response: str) -> None:
    error = ask(probe, {"text": SENTENCE, "id": "5"}, response_topic=response).json
    assert error["id"] == "5"
    assert error["error"]["code"] == "bad_payload"


def test_a_retained_request_is_counted_not_answered(stage: tuple[Mosquitto, Daemon], probe: Probe) -> None:
    probe.publish(IN, {"text": SENTENCE, "id": "stale"}, retain=True)
    assert ask(probe, {"text": SENTENCE, "id": "fresh"}).json["id"] == "fresh"
    probe.publish(IN, b"", retain=True)
    assert [message.json["id"] for message in probe.on(OUT)] == ["fresh"]
    with Probe(stage[0].port, "edge-agent/pi-test/health") as other:
        other.wait_until(lambda message: message.json["dropped"].get("retained", 0) >= 1)


def test_answers_come_in_the_order_of_the_requests(probe: Probe) -> None:
    for number in range(200):
        probe.publish(IN, {"text": SENTENCE, "id": str(number)}, wait=False)
    answers = probe.wait_for(OUT, count=200, within_seconds=30)
    assert [int(answer.json["id"]) for answer in answers] == list(range(200))


def test_a_flood_at_qos_0_is_answered_or_refused_and_leaves_the_daemon_well(
    stage: tuple[Mosquitto, Daemon], probe: Probe
) -> None:
    for number in range(3000):
        probe.publish(IN, {"text": SENTENCE, "id": str(number)}, qos=0, wait=False)
    probe.publish(IN, {"text": SENTENCE, "id": "last"})
    probe.wait_until(lambda message: message.json["id"] == "last", within_seconds=60)
    answers = [message.json for message in probe.on(OUT)]
    refused = [answer for answer in answers if "error" in answer]
    assert all(answer["error"]["code"] == "overloaded" for answer in refused)
    assert stage[1].is_running
    probe.forget()
    assert ask(probe, SENTENCE).json["intent"] == "HassTurnOn"


def test_the_text_of_a_request_reaches_no_log(stage: tuple[Mosquitto, Daemon], probe: Probe) -> None:
    secret = "xylophone sapphire"
    ask(probe, secret)
    probe.forget()
    ask(probe, {"text": secret, "top_k": -1})
    eventually(lambda: stage[1].events("request.answered"))
    log = stage[1].log_text()
    assert "xylophone" not in log
    assert "sapphire" not in log
