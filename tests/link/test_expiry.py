"""When an answer would come too late."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.envelope import Request
from edge_agent.link.expiry import is_expired, parse_rfc3339


def expired(
    request: Request,
    *,
    waited: float = 0.0,
    expiry: int | None = None,
    now: float = 1000.0,
    synced: bool = True,
) -> bool:
    return is_expired(
        request,
        now=now,
        waited_seconds=waited,
        message_expiry_seconds=expiry,
        clock_synced=synced,
    )


def test_a_request_without_limits_never_expires() -> None:
    assert not expired(Request("x"), waited=1e9)


def test_the_message_expiry_counts_from_receipt() -> None:
    assert not expired(Request("x"), waited=4.9, expiry=5)
    assert expired(Request("x"), waited=5.0, expiry=5)


def test_the_ttl_counts_from_sent_at_when_the_clock_is_synchronised() -> None:
    request = Request("x", ttl_seconds=5, sent_at=990)
    assert expired(request)
    assert not expired(Request("x", ttl_seconds=11, sent_at=990), waited=100)


def test_the_ttl_counts_from_receipt_when_the_clock_is_not_synchronised() -> None:
    request = Request("x", ttl_seconds=5, sent_at=10)
    assert not expired(request, waited=4, synced=False)
    assert expired(request, waited=5, synced=False)
    assert expired(Request("x", ttl_seconds=5), waited=5)


def test_a_ttl_of_zero_is_expired_at_once() -> None:
    assert expired(Request("x", ttl_seconds=0))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01t00:00:01z", 1.0),
        ("1970-01-01 00:00:01.5Z", 1.5),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("1969-12-31T19:00:00-05:00", 0.0),
        ("2016-12-31T23:59:60Z", 1483228800.0),
    ],
)
def test_times_of_rfc_3339_are_read(text: str, seconds: float) -> None:
    assert parse_rfc3339(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-11-23", "2026-11-23T05:00:00", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z",
     "2026-01-01T00:00:61Z", "2026-01-01T00:00:00+24:00", "٢٠٢٦-01-01T00:00:00Z", "0000-01-01T00:00:00Z"],
)  # fmt: skip
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_rfc3339(text)


@given(st.datetimes(timezones=st.just(timezone.utc)), st.integers(-23 * 60, 23 * 60))
def test_what_python_writes_is_read_back(moment: datetime, offset: int) -> None:
    try:
        text = moment.astimezone(timezone(timedelta(minutes=offset))).isoformat()
    except OverflowError:
        return
    assert parse_rfc3339(text) == pytest.approx(moment.timestamp(), abs=1e-4)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        parse_rfc3339(text)
