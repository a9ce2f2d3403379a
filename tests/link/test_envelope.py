"""Requests in, results and errors out: any bytes become a Request or a PayloadError."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ErrorCode
from edge_agent.link.envelope import (
    DEFAULT_JSON_DEPTH,
    Limits,
    PayloadError,
    Request,
    Timing,
    encode_json,
    encode_result,
    parse_json,
    parse_request,
    render_error,
    render_result,
    request_id_of,
)
from edge_agent.types import Prediction, Ranked, Slot, Task

LIMIT = 200
LIMITS = Limits(LIMIT)


def parse(payload: bytes | str | dict[str, Any]) -> Request:
    if isinstance(payload, dict):
        payload = json.dumps(payload)
    return parse_request(payload.encode() if isinstance(payload, str) else payload, LIMITS)


def code_of(payload: bytes | str | dict[str, Any]) -> ErrorCode:
    with pytest.raises(PayloadError) as caught:
        parse(payload)
    return caught.value.code


def test_plain_text_is_the_whole_request() -> None:
    assert parse("  enciende la luz ñ\n") == Request("  enciende la luz ñ\n")


def test_every_field_is_read() -> None:
    request = parse(
        {
            "text": "hola",
            "id": "1",
            "lang": "es",
            "session": "s",
            "top_k": 0,
            "ttl_s": 2,
            "sent_at": "1970-01-01T00:00:10Z",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "unknown": {"is": ["ignored"]},
        }
    )
    assert request == Request(
        "hola", "1", "es", "s", 0, 2.0, 10.0, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    )


def test_null_is_the_same_as_absent() -> None:
    assert parse({"text": "a", "id": None, "top_k": None, "ttl_s": None, "sent_at": None}) == Request("a")


def test_a_traceparent_of_another_form_is_ignored_as_the_standard_asks() -> None:
    assert parse({"text": "a", "traceparent": "junk"}).traceparent is None


@pytest.mark.parametrize(
    "text", ["[kitchen] lights on", '"quoted" words', "true story", "nullify", "1 lamp on", "-", "-Infinity"]
)
def test_text_that_only_begins_like_json_is_text(text: str) -> None:
    assert parse(text).text == text


@pytest.mark.parametrize("payload", ["[]", '"a"', "1", "1e5", "true", " null\n", " [1] ", "[" * 100])
def test_json_that_is_no_object_is_a_bad_payload(payload: str) -> None:
    assert code_of(payload) is ErrorCode.BAD_PAYLOAD


@pytest.mark.parametrize(
    "payload", ["{", "{}x", '{"text": NaN}', '{"text": "a", "top_k": Infinity}', "{'text': 'a'}"]
)
def test_what_begins_as_an_object_and_is_none_is_a_bad_payload(payload: str) -> None:
    assert code_of(payload) is ErrorCode.BAD_PAYLOAD


@pytest.mark.parametrize("value", [-1, 1.0, True, "3", 10**6, 10**30, [], {}])
def test_absurd_top_k_is_a_bad_payload(value: object) -> None:
    assert code_of({"text": "a", "top_k": value}) is ErrorCode.BAD_PAYLOAD


@pytest.mark.parametrize("value", [-0.1, True, "3", 10**9, 1e300, [], "1e999"])
def test_absurd_ttl_is_a_bad_payload(value: object) -> None:
    assert code_of({"text": "a", "ttl_s": value}) is ErrorCode.BAD_PAYLOAD


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000])
def test_numbers_beyond_all_bounds_are_a_bad_payload(number: str) -> None:
    for key in ("top_k", "ttl_s"):
        payload = f'{{"text": "a", "{key}": {number}}}'.encode()
        with pytest.raises(PayloadError) as caught:
            parse_request(payload, Limits(8192))
        assert caught.value.code is ErrorCode.BAD_PAYLOAD


@pytest.mark.parametrize("key", ["text", "id", "lang", "session", "sent_at", "traceparent"])
@pytest.mark.parametrize("value", [1, True, [], {}, 1.5])
def test_a_string_of_another_type_is_a_bad_payload(key: str, value: object) -> None:
    assert code_of({"text": "a", key: value}) is ErrorCode.BAD_PAYLOAD


def test_half_a_surrogate_pair_is_a_bad_encoding_wherever_it_stands() -> None:
    for key in ("text", "id", "lang", "session"):
        assert code_of(f'{{"text": "a", "{key}": "x\\udc80"}}') is ErrorCode.BAD_ENCODING


def test_the_limit_of_a_text_counts_bytes() -> None:
    assert parse("é" * (LIMIT // 2)).text == "é" * (LIMIT // 2)
    assert code_of("é" * (LIMIT // 2) + "a") is ErrorCode.TOO_LARGE
    assert code_of({"text": "a" * (LIMIT + 1)}) is ErrorCode.TOO_LARGE
    assert code_of(b"{" + b" " * 100_000) is ErrorCode.TOO_LARGE


def test_a_text_of_the_full_length_may_be_escaped_throughout() -> None:
    payload = '{"text": "' + "\\u0061" * LIMIT + '"}'
    assert parse(payload).text == "a" * LIMIT


def test_nesting_counts_brackets_outside_strings_only() -> None:
    assert parse({"text": "[" * 100}).text == "[" * 100
    assert parse({"text": '\\"[[[' * 20}).text == '\\"[[[' * 20
    deep = '{"text": "a", "x": ' + "[" * (DEFAULT_JSON_DEPTH - 1) + "]" * (DEFAULT_JSON_DEPTH - 1) + "}"
    assert parse(deep).text == "a"
    deeper = '{"text": "a", "x": ' + "[" * DEFAULT_JSON_DEPTH + "]" * DEFAULT_JSON_DEPTH + "}"
    assert code_of(deeper) is ErrorCode.BAD_PAYLOAD


def test_brackets_inside_strings_do_not_hide_those_outside() -> None:
    inside = '"' + "\\\\" * 3 + '\\"]]]]"'
    assert code_of(f'{{"text": "a", {inside}: ' + "[" * 16 + "]" * 16 + "}") is ErrorCode.BAD_PAYLOAD
    assert parse(f'{{"text": "a", {inside}: "' + "[" * 16 + '"}').text == "a"


def test_the_depth_of_json_is_a_limit_of_its_own() -> None:
    three_levels = b'{"text": "a", "x": [[1]]}'
    assert parse_request(three_levels, Limits(LIMIT, max_json_depth=3)).text == "a"
    with pytest.raises(PayloadError, match="deeper than 2 levels"):
        parse_request(three_levels, Limits(LIMIT, max_json_depth=2))
    with pytest.raises(PayloadError, match="not an object"):
        parse_request(b"[[[", Limits(LIMIT, max_json_depth=2))


def test_the_longest_payload_has_room_for_the_longest_text_and_follows_it() -> None:
    assert Limits(100).max_payload_bytes > Limits(1).max_payload_bytes > 6
    payload = b" " * Limits(100).max_payload_bytes
    with pytest.raises(PayloadError) as caught:
        parse_request(payload, Limits(100))
    assert caught.value.code is ErrorCode.EMPTY_TEXT
    with pytest.raises(PayloadError) as caught:
        parse_request(payload + b" ", Limits(100))
    assert caught.value.code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize("digits", [1001, 4301, 100_000])
def test_an_endless_number_is_a_bad_payload_wherever_it_stands(digits: int) -> None:
    number = "1" * digits
    for payload in (number, f"-{number}", f"[{number}]", f'{{"text": "a", "x": [{number}]}}'):
        with pytest.raises(PayloadError) as caught:
            parse_request(payload.encode(), Limits(131_072))
        assert caught.value.code is ErrorCode.BAD_PAYLOAD


def test_the_last_of_equal_keys_counts() -> None:
    assert parse('{"text": 1, "id": "1", "text": "a", "id": "2"}') == Request("a", id="2")


def test_a_byte_order_mark_before_json_is_no_part_of_it_and_before_text_stays() -> None:
    assert parse('\ufeff{"text": "a"}') == Request("a")
    assert code_of("\ufeff[]") is ErrorCode.BAD_PAYLOAD
    assert parse("\ufeffhola") == Request("\ufeffhola")


@pytest.mark.parametrize("text", ["a\x00b", "\x00", "a\u2028b", "\u2029x", "\x1b[31m", "\u202eabc", "\ufffe"])
def test_odd_characters_are_text_and_come_back_as_they_went(text: str) -> None:
    assert parse(text) == Request(text)
    request = parse({"text": text, "id": text})
    assert (request.text, request.id) == (text, text)
    result = encode_result(PREDICTION, request, Timing(0.1, 0.2), echo_text=True)
    assert json.loads(result)["id"] == json.loads(result)["text"] == text


def test_json_of_any_kind_is_read_under_the_same_limits() -> None:
    assert parse_json(b'\xef\xbb\xbf [1, "a", {"b": null}]', LIMITS) == [1, "a", {"b": None}]
    wrong = {
        b"x": ErrorCode.BAD_PAYLOAD,
        b"\xff": ErrorCode.BAD_ENCODING,
        b" " * (LIMITS.max_payload_bytes + 1): ErrorCode.TOO_LARGE,
        b"[" * 17 + b"]" * 17: ErrorCode.BAD_PAYLOAD,
        b"1" * 1001: ErrorCode.BAD_PAYLOAD,
        b"[NaN]": ErrorCode.BAD_PAYLOAD,
    }
    for payload, code in wrong.items():
        with pytest.raises(PayloadError) as caught:
            parse_json(payload, LIMITS)
        assert caught.value.code is code


def test_the_id_of_a_bad_request_is_read_where_that_is_possible() -> None:
    assert request_id_of(b'{"text": "", "id": "7"}', LIMITS) == "7"
    assert request_id_of(b'{"text": "a", "id": "7"}', LIMITS) == "7"
    assert request_id_of(b'{"id": 7}', LIMITS) is None
    assert request_id_of(b"\xff", LIMITS) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_payload_error(payload: bytes) -> None:
    _is_request_or_error(payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["text", "id", "lang", "session", "top_k", "ttl_s", "sent_at", "traceparent", "x"])


@given(st.dictionaries(KEYS, JSON))
def test_any_object_is_a_request_or_a_payload_error(fields: dict[str, Any]) -> None:
    _is_request_or_error(json.dumps(fields).encode())


@given(st.text(alphabet='{}[]",:\\ \u00e9a0-1eE.tfnu', max_size=80))
def test_any_shower_of_brackets_is_a_request_or_a_payload_error(text: str) -> None:
    _is_request_or_error(text.encode())


def _is_request_or_error(payload: bytes) -> None:
    outcome: Request | PayloadError
    try:
        outcome = parse_request(payload, LIMITS)
    except PayloadError as error:
        outcome = error
    if isinstance(outcome, PayloadError):
        codes = (ErrorCode.BAD_PAYLOAD, ErrorCode.BAD_ENCODING, ErrorCode.EMPTY_TEXT, ErrorCode.TOO_LARGE)
        assert outcome.code in codes
        encode_json(render_error(outcome.code, str(outcome), outcome.request_id))
        return
    request = outcome
    assert request.text.strip()
    assert len(request.text.encode()) <= LIMIT
    assert 0 <= request.top_k <= 1000
    assert request.ttl_seconds is None or math.isfinite(request.ttl_seconds)
    encode_json({"id": request.id, "lang": request.lang, "text": request.text})


PREDICTION = Prediction(
    model="home",
    version="1.0.0",
    task=Task.INTENT,
    recognized=True,
    label="HassLightSet",
    confidence=0.97123456,
    alternatives=(Ranked("A", 0.02), Ranked("B", 0.01)),
    slots=(Slot("area", "cocina", 15, 21, 0.991234),),
    truncated=False,
    tokenize_ms=0.1234,
    invoke_ms=1.4,
)


def test_a_result_is_as_the_protocol_shows_it() -> None:
    result = render_result(PREDICTION, Request("x", id="42", lang="es", top_k=1), Timing(0.1, 1.8))
    assert result == {
        "id": "42",
        "model": "home",
        "version": "1.0.0",
        "task": "intent",
        "lang": "es",
        "recognized": True,
        "intent": "HassLightSet",
        "confidence": 0.9712,
        "alternatives": [{"label": "A", "confidence": 0.02}],
        "slots": [{"name": "area", "value": "cocina", "start": 15, "end": 21, "confidence": 0.9912}],
        "truncated": False,
        "timing_ms": {"queue": 0.1, "tokenize": 0.12, "invoke": 1.4, "total": 1.8},
        "energy_mj": None,
        "power_ok": None,
    }


def test_a_classifier_gives_a_label_in_place_of_intent_and_slots() -> None:
    prediction = Prediction("s", "1.0.0", Task.CLASSIFY, False, None, 0.4, (), (), True, 0.1, 0.2)
    result = render_result(prediction, Request("x"), Timing(0.1, 0.2))
    assert result["label"] is None
    assert "intent" not in result
    assert "slots" not in result
    assert result["truncated"] is True


def test_an_embedding_stands_in_place_of_labels_and_has_no_confidence() -> None:
    prediction = Prediction(
        "e", "1.0.0", Task.EMBED, True, None, None, (), (), False, 0.1, 0.2, (0.6000001, -0.79999994)
    )
    result = render_result(prediction, Request("x", id="7"), Timing(0.1, 0.2))
    assert list(result) == [
        "id", "model", "version", "task", "lang", "recognized", "confidence", "embedding", "truncated",
        "timing_ms", "energy_mj", "power_ok",
    ]  # fmt: skip
    assert (result["task"], result["recognized"], result["confidence"]) == ("embed", True, None)
    assert result["embedding"] == [0.6, -0.8]


def test_the_text_is_echoed_only_when_asked_for() -> None:
    assert "text" not in render_result(PREDICTION, Request("geheim"), Timing(0, 0))
    assert render_result(PREDICTION, Request("x"), Timing(0, 0), echo_text=True)["text"] == "x"


def test_a_trace_from_the_payload_is_echoed_in_the_payload() -> None:
    assert render_result(PREDICTION, Request("x", traceparent="00-a"), Timing(0, 0))["traceparent"] == "00-a"


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SHARE = st.floats(0, 1)
MILLISECONDS = st.floats(0, 1e6)
PREDICTIONS = st.builds(
    Prediction,
    model=TEXT,
    version=TEXT,
    task=st.sampled_from([Task.INTENT, Task.CLASSIFY]),
    recognized=st.booleans(),
    label=st.none() | TEXT,
    confidence=SHARE,
    alternatives=st.lists(st.builds(Ranked, TEXT, SHARE), max_size=4).map(tuple),
    slots=st.lists(
        st.builds(Slot, TEXT, TEXT, st.integers(0, 99), st.integers(0, 99), SHARE), max_size=3
    ).map(tuple),
    truncated=st.booleans(),
    tokenize_ms=MILLISECONDS,
    invoke_ms=MILLISECONDS,
)
EMBEDDINGS = st.builds(
    Prediction,
    model=TEXT,
    version=TEXT,
    task=st.just(Task.EMBED),
    recognized=st.just(True),
    label=st.none(),
    confidence=st.none(),
    alternatives=st.just(()),
    slots=st.just(()),
    truncated=st.booleans(),
    tokenize_ms=MILLISECONDS,
    invoke_ms=MILLISECONDS,
    embedding=st.lists(st.floats(-1, 1), max_size=5).map(tuple),
)
REQUESTS = st.builds(
    Request,
    text=TEXT,
    id=st.none() | TEXT,
    lang=st.none() | TEXT,
    top_k=st.integers(0, 5),
    traceparent=st.none() | TEXT,
)


@given(PREDICTIONS | EMBEDDINGS, REQUESTS, st.builds(Timing, MILLISECONDS, MILLISECONDS), st.booleans())
def test_the_fast_encoding_says_what_the_document_says(
    prediction: Prediction, request: Request, timing: Timing, echo: bool
) -> None:
    document = render_result(prediction, request, timing, echo_text=echo)
    encoded = encode_result(prediction, request, timing, echo_text=echo)
    assert encoded == encode_json(document)
    assert json.loads(encoded) == document


def test_a_confidence_that_is_no_number_is_no_result() -> None:
    with pytest.raises(ValueError, match="no number"):
        encode_result(replace(PREDICTION, confidence=float("nan")), Request("x"), Timing(0.1, 0.2))
