"""A route's payload, written by programs that know nothing of this one, read as a request. Pure.

The text stands where the route's JSON path says. What a request may carry beside it (PROTOCOL §1: ``id``,
``lang``, ``ttl_s`` …) is honoured at the top level of an object where it fits, and ignored where it does
not: a stranger's ``"id": 42`` or ``"session": {}`` is no fault of a request that was never meant as one.
The rest goes the one way of all requests, :func:`~edge_agent.link.envelope.parse_request`.
"""

from __future__ import annotations

import json
from typing import Any

from edge_agent.errors import ErrorCode
from edge_agent.link.envelope import Limits, PayloadError, Request, parse_json, parse_request
from edge_agent.link.json_path import JsonPath

_HONOURED = ("id", "lang", "session", "top_k", "ttl_s", "sent_at", "traceparent")


def parse_routed(payload: bytes, path: JsonPath, limits: Limits) -> Request:
    """Reads a payload whose text stands at ``path``.

    Raises:
        PayloadError: ``bad_payload`` where it is not JSON, or has no string there; else as for any request.
    """
    value = parse_json(payload, limits)
    beside = {key: value[key] for key in _HONOURED if key in value} if isinstance(value, dict) else {}
    try:
        text = path.find(value)
    except LookupError:
        raise _refusal("the payload has no text there", beside, limits) from None
    if not isinstance(text, str):
        raise _refusal("what the payload has there is no string", beside, limits)
    try:
        return parse_request(_as_json({**beside, "text": text}), limits)
    except PayloadError:
        fitting = _fitting(beside, limits)  # what is wrong may stand beside the text
    try:
        return parse_request(_as_json({**fitting, "text": text}), limits)
    except PayloadError as error:
        raise PayloadError(error.code, str(error), fitting.get("id")) from error


def routed_id_of(payload: bytes, path: JsonPath, limits: Limits) -> str | None:
    """The id of a routed request that is refused unread, where there is one."""
    try:
        return parse_routed(payload, path, limits).id
    except PayloadError as error:
        return error.request_id


def _fitting(fields: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Those of the fields that a request may carry."""
    return {key: value for key, value in fields.items() if _fits(key, value, limits)}


def _fits(key: str, value: Any, limits: Limits) -> bool:
    try:
        parse_request(_as_json({key: value, "text": "x"}), limits)
    except PayloadError:
        return False
    return True


def _refusal(message: str, fields: dict[str, Any], limits: Limits) -> PayloadError:
    return PayloadError(ErrorCode.BAD_PAYLOAD, message, _fitting(fields, limits).get("id"))


def _as_json(fields: dict[str, Any]) -> bytes:
    """JSON; half of a surrogate pair makes it wrong UTF-8, which the one that reads it refuses."""
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
