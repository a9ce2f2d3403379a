"""A stranger's JSON, read as a request."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ErrorCode
from edge_agent.link.envelope import Limits, PayloadError, Request
from edge_agent.link.json_path import JsonPath
from edge_agent.link.routed import parse_routed, routed_id_of

BODY = JsonPath.parse("$.body")
LIMITS = Limits(100)


def code_of(payload: bytes, path: JsonPath = BODY, limits: Limits = LIMITS) -> tuple[ErrorCode, str | None]:
    with pytest.raises(PayloadError) as caught:
        parse_routed(payload, path, limits)
    return caught.value.code, caught.value.request_id


def test_the_text_stands_where_the_path_says() -> None:
    assert parse_routed(b'{"body": "good", "text": "no"}', BODY, LIMITS) == Request("good")
    assert parse_routed(b'[{"t": ["good"]}]', JsonPath.parse("$[0].t[0]"), LIMITS) == Request("good")
    assert parse_routed(b'\xef\xbb\xbf {"body": "\\u00f1"} ', BODY, LIMITS) == Request("ñ")


def test_what_a_request_may_carry_is_honoured_at_the_top() -> None:
    payload = b'{"body": "good", "id": "7", "lang": "es", "ttl_s": 5, "top_k": 1, "session": "s", "stars": 4}'
    assert parse_routed(payload, BODY, LIMITS) == Request("good", "7", "es", "s", 1, 5.0)


@pytest.mark.parametrize(
    "misfit",
    ['"id": 42', '"lang": {}', '"session": [1]', '"top_k": "many"', '"ttl_s": 1e999', '"sent_at": 1700000000',
     '"id": "\\ud800"', f'"id": "{"x" * 2000}"'],
)  # fmt: skip
def test_a_field_that_means_something_else_there_is_ignored_and_the_others_kept(misfit: str) -> None:
    found = parse_routed(f'{{"body": "good", {misfit}, "traceparent": null}}'.encode(), BODY, LIMITS)
    assert found == Request("good")
    kept = parse_routed(f'{{"lang": "es", "body": "good", {misfit}}}'.encode(), BODY, LIMITS)
    assert kept.text == "good"
    assert kept.lang == (None if "lang" in misfit else "es")


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b'{"id": "7"}', ErrorCode.BAD_PAYLOAD),
        (b'{"id": "7", "body": 5}', ErrorCode.BAD_PAYLOAD),
        (b'{"id": "7", "body": null}', ErrorCode.BAD_PAYLOAD),
        (b'{"id": "7", "body": ["x"]}', ErrorCode.BAD_PAYLOAD),
        (b'{"id": "7", "body": ""}', ErrorCode.EMPTY_TEXT),
        (b'{"id": "7", "body": " \\n"}', ErrorCode.EMPTY_TEXT),
        (b'{"id": "7", "body": "\\udc00"}', ErrorCode.BAD_ENCODING),
        (json.dumps({"id": "7", "body": "x" * 101}).encode(), ErrorCode.TOO_LARGE),
    ],
)
def test_a_text_that_cannot_be_answered_is_refused_with_its_id(payload: bytes, code: ErrorCode) -> None:
    assert code_of(payload) == (code, "7")
    assert routed_id_of(payload, BODY, LIMITS) == "7"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", ErrorCode.BAD_PAYLOAD),
        (b"good", ErrorCode.BAD_PAYLOAD),
        (b'"good"', ErrorCode.BAD_PAYLOAD),
        (b'{"body": NaN}', ErrorCode.BAD_PAYLOAD),
        (b'{"body": "x"', ErrorCode.BAD_PAYLOAD),
        (b'{"body": "\xff"}', ErrorCode.BAD_ENCODING),
        (b"[" * 100 + b"]" * 100, ErrorCode.BAD_PAYLOAD),
        (b"[" * 8000, ErrorCode.BAD_PAYLOAD),
        (b'{"body": "x", "pad": "' + b"x" * 10_000 + b'"}', ErrorCode.TOO_LARGE),
    ],
)
def test_what_is_no_json_or_too_much_of_it_is_refused(payload: bytes, code: ErrorCode) -> None:
    assert code_of(payload) == (code, None)
    assert routed_id_of(payload, BODY, LIMITS) is None


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_the_depth_counts_all_objects_and_arrays(levels: int) -> None:
    payload = b'{"body": "x", "deep": ' + b"[" * levels + b"]" * levels + b', "wide": [{}, {}, {}]}'
    limits = Limits(100, max_json_depth=3)
    if levels + 1 <= 3:
        assert parse_routed(payload, BODY, limits) == Request("x")
    else:
        assert code_of(payload, limits=limits) == (ErrorCode.BAD_PAYLOAD, None)


def test_a_refusal_never_quotes_the_payload() -> None:
    for payload in (
        b'{"body": ["hunter2"]}',
        b"hunter2",
        b'{"hunter2": 1}',
        b'{"body": "hunter2' + b"!" * 100 + b'"}',
    ):
        with pytest.raises(PayloadError) as caught:
            parse_routed(payload, BODY, LIMITS)
        assert "hunter2" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
known = st.sampled_from(["id", "lang", "session", "top_k", "ttl_s", "sent_at", "traceparent", "text", "body"])


@given(st.dictionaries(known, json_values, max_size=6).map(lambda fields: json.dumps(fields).encode()))
def test_any_json_with_our_names_is_a_request_or_a_refusal(payload: bytes) -> None:
    sent = json.loads(payload)
    try:
        assert parse_routed(payload, BODY, LIMITS).text == sent["body"]
    except PayloadError as error:
        request_id = error.request_id
        assert request_id in (None, sent.get("id"))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_a_refusal(payload: bytes) -> None:
    try:
        parse_routed(payload, BODY, LIMITS)
    except PayloadError:
        return
