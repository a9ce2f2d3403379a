"""Oversized, deep and malformed payloads and topics: one answer each, and the device stays as it was."""

from __future__ import annotations

import json
import socket
import ssl
import struct

import psutil
import pytest

from tests.deploy.hardened import PASSWORD, HardenedBroker, Keys
from tests.security.asking import REQUESTS, House, ask, assert_well, code_of
from tests.testbeds.broker import HOST

HOSTILE = {
    "much text": (b"x" * 130_000, "too_large"),
    "a long text": (b'{"text":"' + b"x" * 9000 + b'"}', "too_large"),
    "a deep list": (b'{"text":"x","a":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "too_large"),
    "deep enough": (b'{"text":"x","a":' + b"[" * 17 + b"]" * 17 + b"}", "bad_payload"),
    "deep objects": (b'{"a":' * 8000 + b"1" + b"}" * 8000, "bad_payload"),
    "open brackets": (b'{"text":' + b"[" * 40_000, "bad_payload"),
    "a long number": (b'{"text":"x","ttl_s":' + b"9" * 40_000 + b"}", "bad_payload"),
    "a large exponent": (b'{"text":"x","ttl_s":1e999999}', "bad_payload"),
    "a long id": (json.dumps({"text": "x", "id": "i" * 2000}).encode(), "bad_payload"),
    "no UTF-8": (b"\xff\xfe\x00turn on", "bad_encoding"),
    "half a surrogate pair": (b'{"text":"\\ud800"}', "bad_encoding"),
    "an overlong encoding": (b"\xc0\xaf\xc0\xae", "bad_encoding"),
    "nothing": (b"", "empty_text"),
    "white space": (b" \t\r\n", "empty_text"),
    "NUL bytes": (b"\x00" * 100, "empty_text"),
    "a list": (b"[1,2,3]", "bad_payload"),
    "many keys": (b"{" + b",".join(b'"%d":1' % n for n in range(5000)) + b"}", "empty_text"),
    "NaN": (b'{"text":"x","ttl_s":NaN}', "bad_payload"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_payload_gets_one_error_and_the_next_is_answered(house: House, what: str) -> None:
    payload, code = HOSTILE[what]
    assert code_of(ask(house.crm, payload)) == code
    assert_well(house.crm)


def test_an_error_repeats_nothing_of_what_was_sent(house: House) -> None:
    for payload in (
        b"geheimnis\xff",
        b'{"text":"geheimnis',
        b'{"text":"x","top_k":"geheimnis"}',
        b'["geheimnis"]',
    ):
        assert "geheimnis" not in json.dumps(ask(house.crm, payload))


def test_memory_and_descriptors_stay_bounded_under_hostile_payloads(house: House) -> None:
    process = psutil.Process(house.daemon.pid)
    for payload, _ in HOSTILE.values():
        ask(house.crm, payload)
    memory, descriptors = process.memory_info().rss, process.num_fds()
    for _ in range(10):
        for payload, _ in HOSTILE.values():
            house.crm.publish(REQUESTS, payload, response_topic="edge-agent/pi-1/out/app.crm/sink")
    assert_well(house.crm)
    assert process.memory_info().rss - memory < 16e6
    assert process.num_fds() <= descriptors + 2


def test_a_model_name_of_a_byte_order_mark_is_answered_like_any_other(house: House) -> None:
    """paho calls U+FEFF in a topic malformed and hangs up; what comes again would then keep us away."""
    pid = house.daemon.pid
    assert code_of(ask(house.crm, "x", topic="edge-agent/pi-1/in/\ufeff")) == "unknown_model"
    assert code_of(ask(house.crm, "x", topic="edge-agent/pi-1/in/\U0010fffd")) == "unknown_model"
    assert_well(house.crm)
    assert house.daemon.pid == pid
    assert len(house.daemon.events("mqtt.connected")) == 1


@pytest.mark.parametrize(
    "topic", [b"edge-agent/pi-1/in/\x00", b"edge-agent/pi-1/in/\xff", b"edge-agent/pi-1/in/\xed\xa0\x80"]
)
def test_a_malformed_topic_ends_its_sender_and_nobody_else(house: House, keys: Keys, topic: bytes) -> None:
    with stranger(house.broker, keys) as sender:
        sender.sendall(publish(topic, b"x"))
        assert is_hung_up(sender)
    assert_well(house.crm)
    assert len(house.daemon.events("mqtt.connected")) == 1


def test_a_topic_of_many_levels_is_nothing_to_the_device(house: House) -> None:
    assert house.crm.publish("edge-agent/pi-1/in/" + "/".join("a" * 100), "x") == "Not authorized"
    assert house.crm.publish("shop/" + "x" * 30_000 + "/reviews", "x") == "Success"
    assert_well(house.crm)


def stranger(broker: HardenedBroker, keys: Keys) -> ssl.SSLSocket:
    """A connection under the device's own password, written by hand."""
    context = ssl.create_default_context(cafile=str(keys.ca))
    raw = socket.create_connection((HOST, broker.password_port), timeout=20)
    secure = context.wrap_socket(raw, server_hostname=HOST)
    fields = b"".join(struct.pack("!H", len(field)) + field for field in (b"raw", b"pi-1", PASSWORD.encode()))
    body = b"\x00\x04MQTT\x04\xc2\x00\x3c" + fields
    secure.sendall(bytes((0x10, len(body))) + body)
    assert secure.recv(4) == b"\x20\x02\x00\x00"
    return secure


def publish(topic: bytes, payload: bytes) -> bytes:
    body = struct.pack("!H", len(topic)) + topic + b"\x00\x01" + payload
    return bytes((0x32, len(body))) + body


def is_hung_up(sender: ssl.SSLSocket) -> bool:
    try:
        return sender.recv(4) == b""
    except OSError:
        return True
