"""CONNACK, SUBACK, DISCONNECT and SUBSCRIBE by hand, with paho's own packing as the oracle."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.errors import SettingsError
from edge_agent.link.control import read_connack, read_disconnect, read_suback, write_subscribe
from edge_agent.link.protocol import Accepted, Retained, Subscription
from edge_agent.link.refusal import Kind
from edge_agent.link.wire import MalformedPacketError


def packed(packet: int, **properties: Any) -> bytes:
    made: Any = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in properties.items():
        setattr(made, name, value)
    return bytes(made.pack())


def test_what_a_broker_grants_is_read() -> None:
    properties = packed(
        PacketTypes.CONNACK,
        MaximumPacketSize=2000,
        ReceiveMaximum=3,
        ServerKeepAlive=7,
        AssignedClientIdentifier="given",
        SharedSubscriptionAvailable=0,
        WildcardSubscriptionAvailable=0,
        RetainAvailable=0,
        MaximumQoS=0,
        ReasonString="hello",
        UserProperty=("a", "b"),
        SessionExpiryInterval=5,
        TopicAliasMaximum=9,
    )
    accepted = Accepted(True, 2000, 3, 7, "given", False, False, False, False)
    assert read_connack(b"\x01\x00" + properties, is_v5=True).accepted == accepted


def test_a_plain_connack_grants_all() -> None:
    assert read_connack(b"\x00\x00\x00", is_v5=True).accepted == Accepted(False, 268_435_455)
    assert read_connack(b"\x01\x00", is_v5=False).accepted == Accepted(True, 268_435_455)


def test_a_byte_order_mark_in_a_reason_string_is_an_ordinary_character() -> None:
    string = "\ufeffno".encode()
    body = b"\x1f" + len(string).to_bytes(2, "big") + string
    refusal = read_connack(b"\x00\x87" + bytes((len(body),)) + body, is_v5=True).refusal
    assert refusal is not None
    assert refusal.kind is Kind.NOT_ALLOWED


def test_an_old_brokers_no_to_mqtt_5_is_understood() -> None:
    refusal = read_connack(b"\x00\x01", is_v5=True).refusal
    assert refusal is not None
    assert refusal.kind is Kind.WRONG_PROTOCOL


def test_a_disconnect_names_its_reason_and_where_to_go() -> None:
    assert read_disconnect(b"") is None
    assert read_disconnect(b"\x00") is None
    refusal = read_disconnect(b"\x9d" + packed(PacketTypes.DISCONNECT, ServerReference="b2:1883"))
    assert refusal is not None
    assert (refusal.kind, refusal.words) == (Kind.MOVED, "Server moved; it points to b2:1883")
    odd = read_disconnect(b"\xee")
    assert odd is not None
    assert odd.words == "reason 0xee"


def test_a_suback_has_one_code_for_each_filter() -> None:
    assert read_suback(b"\x00\x07\x00\x01\x87", is_v5=True) == (7, (1, 0x87))
    assert read_suback(b"\x00\x07\x01\x80", is_v5=False) == (7, (1, 0x80))


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x00",
        b"\x00\x00\x05",
        b"\x00\x00\x02\x21\x00",
        b"\x00\x00\x03\x21\x00\x00",
        b"\x00\x00\x02\x7f\x00",
    ],
)
def test_what_is_no_connack_or_grants_nothing_is_refused(packet: bytes) -> None:
    with pytest.raises(MalformedPacketError):
        read_connack(packet, is_v5=True)


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_packet_or_malformed(packet: bytes, is_v5: bool) -> None:
    for read in (read_connack, read_suback):
        with suppress(MalformedPacketError):
            read(packet, is_v5=is_v5)
    with suppress(MalformedPacketError):
        read_disconnect(packet)


@pytest.mark.parametrize("no_local", [True, False])
@pytest.mark.parametrize("retained", list(Retained))
def test_what_we_ask_for_paho_would_write_alike(no_local: bool, retained: Retained) -> None:
    options = SubscribeOptions(
        qos=1, noLocal=no_local, retainAsPublished=True, retainHandling=retained.value
    ).pack()  # type: ignore[no-untyped-call]
    written = write_subscribe(9, (Subscription("a/+", no_local, retained),), is_v5=True)
    assert written == b"\x82\x09\x00\x09\x00\x00\x03a/+" + bytes(options)


def test_3_1_1_has_no_options_and_no_properties() -> None:
    written = write_subscribe(9, (Subscription("a", no_local=True), Subscription("ñ")), is_v5=False)
    assert written == b"\x82\x0b\x00\x09\x00\x01a\x01\x00\x02\xc3\xb1\x01"


@pytest.mark.parametrize("name", ["", "a/#/b", "a+", "$share/x", "$share//a", "$share/+/a", "a\0b"])
def test_what_is_no_filter_is_refused_when_it_is_written(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot subscribe"):
        Subscription(name)


def test_a_shared_subscription_cannot_be_local() -> None:
    assert Subscription("$share/pool/a/+").is_shared
    with pytest.raises(SettingsError, match="our own messages"):
        Subscription("$share/pool/a/+", no_local=True)
