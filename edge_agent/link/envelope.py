"""Requests in, results and errors out: the JSON of PROTOCOL §1. Pure.

Any bytes become a :class:`Request` or a :class:`RequestError`, never another exception: what arrives here
was written by strangers. Parsing is strict about what it knows (a boolean is no number, ``1e999`` is no
number of seconds) and ignores keys that it does not know, so that old devices serve new senders. Of equal
keys the last counts. Time and memory grow with the payload's length and no faster, and :class:`Limits`
bounds that; tests/fuzz measures it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from edge_agent.errors import ErrorCode, RequestError
from edge_agent.link.expiry import parse_rfc3339
from edge_agent.types import Prediction, Task

DEFAULT_TOP_K = 3
MAX_TOP_K = 1000
MAX_TTL_SECONDS = 366 * 86_400.0
DEFAULT_JSON_DEPTH = 16
_MAX_ID_CHARACTERS = 1024
_MAX_LANG_CHARACTERS = 64
_JSON_OVERHEAD_BYTES = 8192
_WORST_ESCAPE = 6
"""A JSON string may spell one byte of text as six (``\\u0041``)."""
_MAX_DIGITS = 1000
"""Of an integer. Python reads n digits in n² steps; 3.10 has no limit of its own, later ones may lose it."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.ASCII)
_BLANK = "\ufeff \t\n\r"
"""What may stand before JSON: its own white space, and the byte order mark (RFC 8259 section 8.1)."""
_OPENING = frozenset(b"{[")
_NO_BRACKET = bytes(byte for byte in range(256) if byte not in b"{}[]")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost before anybody knows what it asks.

    Attributes:
        max_text_bytes: of the text, in UTF-8.
        max_json_depth: levels of a JSON payload, the request's own object counted.
    """

    max_text_bytes: int
    max_json_depth: int = DEFAULT_JSON_DEPTH

    @property
    def max_payload_bytes(self) -> int:
        """Room for the longest text, all of it escaped, and for the other fields."""
        return self.max_text_bytes * _WORST_ESCAPE + _JSON_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Request:
    """What a sender asks.

    Attributes:
        text: the sentence, never blank.
        id: echoed in the answer, or None.
        lang: echoed in the answer, or None.
        session: the conversation it belongs to, or None.
        top_k: most alternatives wanted.
        ttl_seconds: the answer is worthless this long after ``sent_at``, else after receipt; or None.
        sent_at: when it was sent, seconds since the epoch, or None.
        traceparent: W3C trace context from the payload, or None.
    """

    text: str
    id: str | None = None
    lang: str | None = None
    session: str | None = None
    top_k: int = DEFAULT_TOP_K
    ttl_seconds: float | None = None
    sent_at: float | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds that a request spent, as its result tells them."""

    queue_ms: float
    total_ms: float


class PayloadError(RequestError):
    """A request that cannot be answered, with the id that could still be read from it."""

    def __init__(self, code: ErrorCode, message: str, request_id: str | None = None) -> None:
        super().__init__(code, message)
        self.request_id = request_id


def parse_request(payload: bytes, limits: Limits) -> Request:
    """Reads a payload: plain UTF-8 text, or a JSON object.

    Args:
        payload: as it arrived.
        limits: what it may cost.

    Raises:
        PayloadError: with the code that PROTOCOL §1 gives to the fault.
    """
    content = _decode(payload, limits)
    document = content.lstrip(_BLANK)
    begin = document[:1]
    if begin == "{":
        fields = _parse_document(document, payload, limits)
        assert type(fields) is dict  # what begins with { is an object or no JSON
        return _from_object(fields, limits.max_text_bytes)
    if document.strip() in _JSON_WORDS or (begin in _JSON_BEGINS and _is_json(document, payload, limits)):
        raise PayloadError(ErrorCode.BAD_PAYLOAD, "the payload is JSON but not an object")
    _check_text(content, None, limits.max_text_bytes)
    return Request(content)


def parse_json(payload: bytes, limits: Limits) -> Any:
    """Reads a payload that is JSON of any kind, under the same limits as a request.

    Raises:
        PayloadError: it is too large, not UTF-8, not JSON, nested too deep, or has an endless number.
    """
    return _parse_document(_decode(payload, limits).lstrip(_BLANK), payload, limits)


def request_id_of(payload: bytes, limits: Limits) -> str | None:
    """The id of a request that is refused unread, where there is one."""
    try:
        return parse_request(payload, limits).id
    except PayloadError as error:
        return error.request_id


_JSON_WORDS = frozenset(("true", "false", "null"))
_JSON_BEGINS = frozenset('["-0123456789')


def _not_a_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise PayloadError(ErrorCode.BAD_PAYLOAD, f"a number has more than {_MAX_DIGITS} digits")
    return int(digits)


_PLAIN = json.JSONDecoder(parse_constant=_not_a_number)
_DECODER = json.JSONDecoder(parse_constant=_not_a_number, parse_int=_integer)
_CHECKER = json.JSONDecoder(parse_constant=_not_a_number, parse_int=len)  # a number of any length is JSON
_quote = json.encoder.encode_basestring
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _decode(payload: bytes, limits: Limits) -> str:
    if len(payload) > limits.max_payload_bytes:
        raise PayloadError(ErrorCode.TOO_LARGE, "the payload is too large")
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PayloadError(ErrorCode.BAD_ENCODING, "the payload is not valid UTF-8") from error


def _parse_document(document: str, payload: bytes, limits: Limits) -> Any:
    deepest = limits.max_json_depth
    if _is_deeper(payload, deepest):
        raise PayloadError(ErrorCode.BAD_PAYLOAD, f"the JSON is nested deeper than {deepest} levels")
    try:
        return _DECODER.decode(document)
    except (ValueError, RecursionError) as error:
        raise PayloadError(ErrorCode.BAD_PAYLOAD, "the payload is not JSON") from error


def _is_json(document: str, payload: bytes, limits: Limits) -> bool:
    if _is_deeper(payload, limits.max_json_depth):
        return True
    try:
        _CHECKER.decode(document)
    except (ValueError, RecursionError):
        return False
    return True


def _is_deeper(payload: bytes, deepest: int) -> bool:
    """Whether brackets outside of strings are nested deeper; before the JSON is read, since that recurses.

    No regular expression: it would remember every character of a long string, a hundred bytes for each.
    """
    if payload.count(b"{") + payload.count(b"[") <= deepest:
        return False
    unescaped = payload.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(unescaped.split(b'"')[::2])
    depth = 0
    for bracket in outside.translate(None, _NO_BRACKET):
        depth += 1 if bracket in _OPENING else -1
        if depth > deepest:
            return True
    return False


def _from_object(fields: Mapping[str, Any], max_text_bytes: int) -> Request:
    request_id = _string(fields, "id", None, _MAX_ID_CHARACTERS)
    text = fields.get("text")
    if text is None:
        raise PayloadError(ErrorCode.EMPTY_TEXT, "the request has no text", request_id)
    if not isinstance(text, str):
        raise PayloadError(ErrorCode.BAD_PAYLOAD, "text is not a string", request_id)
    _check_text(text, request_id, max_text_bytes)
    if len(fields) == 1:
        return Request(text)
    traceparent = _string(fields, "traceparent", request_id, _MAX_ID_CHARACTERS)
    return Request(
        text=text,
        id=request_id,
        lang=_string(fields, "lang", request_id, _MAX_LANG_CHARACTERS),
        session=_string(fields, "session", request_id, _MAX_ID_CHARACTERS),
        top_k=_top_k(fields, request_id),
        ttl_seconds=_ttl(fields, request_id),
        sent_at=_sent_at(fields, request_id),
        traceparent=traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None,
    )


def _check_text(text: str, request_id: str | None, max_text_bytes: int) -> None:
    if not text or text.isspace():
        raise PayloadError(ErrorCode.EMPTY_TEXT, "the text is empty", request_id)
    try:
        size = len(text) if text.isascii() else len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        message = "the text has half a surrogate pair"
        raise PayloadError(ErrorCode.BAD_ENCODING, message, request_id) from error
    if size > max_text_bytes:
        message = f"the text has {size} bytes, more than {max_text_bytes}"
        raise PayloadError(ErrorCode.TOO_LARGE, message, request_id)


def _string(fields: Mapping[str, Any], key: str, request_id: str | None, longest: int) -> str | None:
    value = fields.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise PayloadError(ErrorCode.BAD_PAYLOAD, f"{key} is not a string", request_id)
    if len(value) > longest:
        raise PayloadError(ErrorCode.BAD_PAYLOAD, f"{key} is longer than {longest} characters", request_id)
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise PayloadError(ErrorCode.BAD_ENCODING, f"{key} has half a surrogate pair", request_id)
    return value


def _top_k(fields: Mapping[str, Any], request_id: str | None) -> int:
    value = fields.get("top_k")
    if value is None:
        return DEFAULT_TOP_K
    if type(value) is not int or not 0 <= value <= MAX_TOP_K:
        message = f"top_k is not a whole number from 0 to {MAX_TOP_K}"
        raise PayloadError(ErrorCode.BAD_PAYLOAD, message, request_id)
    return value


def _ttl(fields: Mapping[str, Any], request_id: str | None) -> float | None:
    value = fields.get("ttl_s")
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= MAX_TTL_SECONDS or not math.isfinite(value):
        message = f"ttl_s is not a number of seconds from 0 to {MAX_TTL_SECONDS:.0f}"
        raise PayloadError(ErrorCode.BAD_PAYLOAD, message, request_id)
    return float(value)


def _sent_at(fields: Mapping[str, Any], request_id: str | None) -> float | None:
    value = _string(fields, "sent_at", request_id, 64)
    if value is None:
        return None
    try:
        return parse_rfc3339(value)
    except ValueError as error:
        message = "sent_at is not a time as RFC 3339 writes it"
        raise PayloadError(ErrorCode.BAD_PAYLOAD, message, request_id) from error


_TRUTH = {None: "null", True: "true", False: "false"}


def render_result(
    prediction: Prediction,
    request: Request,
    timing: Timing,
    *,
    echo_text: bool = False,
    power_ok: bool | None = None,
) -> dict[str, Any]:
    """The result of PROTOCOL §1 as a JSON object.

    ``energy_mj`` stays unknown: no sensor is quick enough for one sentence; ``power`` has the mean.
    """
    result: dict[str, Any] = {
        "id": request.id,
        "model": prediction.model,
        "version": prediction.version,
        "task": prediction.task.value,
        "lang": request.lang,
        "recognized": prediction.recognized,
        **_content(prediction, request.top_k),
        "truncated": prediction.truncated,
    }
    result["timing_ms"] = {
        "queue": round(timing.queue_ms, 2),
        "tokenize": round(prediction.tokenize_ms, 2),
        "invoke": round(prediction.invoke_ms, 2),
        "total": round(timing.total_ms, 2),
    }
    result["energy_mj"] = None
    result["power_ok"] = power_ok
    if echo_text:
        result["text"] = request.text
    if request.traceparent is not None:
        result["traceparent"] = request.traceparent
    return result


def _content(prediction: Prediction, top_k: int) -> dict[str, Any]:
    """What the task answers: a vector, or a label with its like, or an intent with slots, too."""
    confidence = prediction.confidence
    confidence = None if confidence is None else round(confidence, 4)
    if prediction.embedding is not None:
        return {"confidence": confidence, "embedding": [round(number, 6) for number in prediction.embedding]}
    alternatives = [
        {"label": other.label, "confidence": round(other.confidence, 4)}
        for other in prediction.alternatives[:top_k]
    ]
    if prediction.task is not Task.INTENT:
        return {"label": prediction.label, "confidence": confidence, "alternatives": alternatives}
    slots = [
        {
            "name": slot.name,
            "value": slot.value,
            "start": slot.start,
            "end": slot.end,
            "confidence": round(slot.confidence, 4),
        }
        for slot in prediction.slots
    ]
    return {
        "intent": prediction.label,
        "confidence": confidence,
        "alternatives": alternatives,
        "slots": slots,
    }


def encode_result(
    prediction: Prediction,
    request: Request,
    timing: Timing,
    *,
    echo_text: bool = False,
    power_ok: bool | None = None,
) -> bytes:
    """:func:`render_result` as UTF-8 JSON in a third of the time; a test holds the two equal.

    Raises:
        ValueError: the model computed no number.
    """
    if prediction.confidence is None:
        return encode_json(render_result(prediction, request, timing, echo_text=echo_text, power_ok=power_ok))
    if prediction.confidence != prediction.confidence:  # NaN, which JSON does not have
        raise ValueError("the confidence is no number")
    quote = _quote
    is_intent = prediction.task is Task.INTENT
    alternatives = ",".join(
        [
            f'{{"label":{quote(other.label)},"confidence":{round(other.confidence, 4)!r}}}'
            for other in prediction.alternatives[: request.top_k]
        ]
    )
    slots = ""
    if is_intent:
        spans = ",".join(
            [
                f'{{"name":{quote(slot.name)},"value":{quote(slot.value)},"start":{slot.start},'
                f'"end":{slot.end},"confidence":{round(slot.confidence, 4)!r}}}'
                for slot in prediction.slots
            ]
        )
        slots = f',"slots":[{spans}]'
    text = f',"text":{quote(request.text)}' if echo_text else ""
    trace = "" if request.traceparent is None else f',"traceparent":{quote(request.traceparent)}'
    return (
        f'{{"id":{_or_null(request.id)},"model":{quote(prediction.model)},"version":{quote(prediction.version)},'
        f'"task":"{prediction.task.value}","lang":{_or_null(request.lang)},'
        f'"recognized":{"true" if prediction.recognized else "false"},'
        f'"{"intent" if is_intent else "label"}":{_or_null(prediction.label)},'
        f'"confidence":{round(prediction.confidence, 4)!r},"alternatives":[{alternatives}]{slots},'
        f'"truncated":{"true" if prediction.truncated else "false"},'
        f'"timing_ms":{{"queue":{round(timing.queue_ms, 2)!r},'
        f'"tokenize":{round(prediction.tokenize_ms, 2)!r},'
        f'"invoke":{round(prediction.invoke_ms, 2)!r},"total":{round(timing.total_ms, 2)!r}}},'
        f'"energy_mj":null,"power_ok":{_TRUTH[power_ok]}{text}{trace}}}'
    ).encode()


def _or_null(value: str | None) -> str:
    return "null" if value is None else _quote(value)


def render_error(code: ErrorCode, message: str, request_id: str | None) -> dict[str, Any]:
    """The error of PROTOCOL §1 as a JSON object; the message never has the user's text."""
    return {"id": request_id, "error": {"code": code.value, "message": message}}


def decode_json(document: str) -> Any:
    """JSON as the standard has it, without NaN and infinity; its size is the caller's to bound.

    Raises:
        ValueError: it is not JSON.
    """
    return _PLAIN.decode(document)


def encode_json(document: Mapping[str, Any]) -> bytes:
    """A document as compact UTF-8 JSON."""
    return _ENCODER.encode(document).encode("utf-8")
