"""What reason codes mean: every code of the standard has words, and what helps follows from its kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.link.refusal import Kind, refusal_of, refusal_of_3_1_1


def codes_of(packet: int) -> list[int]:
    """The failure codes that paho knows for a packet: the oracle."""
    names = ReasonCode(PacketTypes.CONNACK).names
    return [
        code
        for code, by_name in names.items()
        if code >= 0x80 and any(packet in packets for packets in by_name.values())
    ]


@pytest.mark.parametrize(
    "packet", [PacketTypes.CONNACK, PacketTypes.DISCONNECT, PacketTypes.PUBACK, PacketTypes.SUBACK]
)
def test_every_code_of_the_standard_has_its_own_words(packet: int) -> None:
    codes = codes_of(packet)
    assert len(codes) > 5
    words = [refusal.words for code in codes if (refusal := refusal_of(code)) is not None]
    assert len(set(words)) == len(codes)
    assert not any("reason 0x" in word for word in words)


@given(st.integers(0, 255))
def test_any_code_is_success_or_has_words(code: int) -> None:
    refusal = refusal_of(code)
    assert (refusal is None) == (code < 0x80)
    assert refusal is None or (refusal.words and refusal.code == code)


@pytest.mark.parametrize(
    ("code", "kind", "is_lasting"),
    [
        (0x86, Kind.CREDENTIALS, True),
        (0x87, Kind.NOT_ALLOWED, True),
        (0x8A, Kind.NOT_ALLOWED, True),
        (0x85, Kind.CLIENT_ID, True),
        (0x9D, Kind.MOVED, True),
        (0x88, Kind.BUSY, False),
        (0x8E, Kind.TAKEN_OVER, False),
        (0x97, Kind.QUOTA, False),
        (0xFE, Kind.OTHER, False),
    ],
)
def test_a_wrong_password_lasts_and_a_busy_broker_does_not(code: int, kind: Kind, is_lasting: bool) -> None:
    refusal = refusal_of(code)
    assert refusal is not None
    assert (refusal.kind, refusal.kind.is_lasting) == (kind, is_lasting)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, Kind.WRONG_PROTOCOL),
        (2, Kind.CLIENT_ID),
        (3, Kind.BUSY),
        (4, Kind.CREDENTIALS),
        (5, Kind.NOT_ALLOWED),
        (77, Kind.OTHER),
    ],
)
def test_return_codes_of_3_1_1_mean_the_same(code: int, kind: Kind) -> None:
    refusal = refusal_of_3_1_1(code)
    assert refusal is not None
    assert (refusal.code, refusal.kind) == (code, kind)
    assert refusal_of_3_1_1(0) is None


def test_a_redirect_says_where_to_and_is_safe_to_print() -> None:
    refusal = refusal_of(0x9C, "other\x1b[31m:1883" + "x" * 500)
    assert refusal is not None
    assert "points to other?[31m:1883" in refusal.words
    assert len(refusal.words) < 300
    assert "mqtt.host" in str(refusal.hint)
