"""Log injection: the log stays one JSON object a line, and the user's text is in none."""

from __future__ import annotations

import json
from typing import Any

from tests.security.asking import REQUESTS, House, ask, assert_well

MARK = "geheimnis"
FORGED = '\n{"event":"agent.stopped","level":"info"}\n'
BREAKERS = (
    f"{MARK} {FORGED}",
    f"{MARK} \x1b[2J\x1b[31mall is well\x1b[0m",
    f'{MARK} "}},"event":"forged"}}',
    f"{MARK} \r\n\u2028\u2029\x85\x0b\x0c",
    f"{MARK} %s %(x)s {{x}} ${{x}}",
    f"{MARK} \u202e\u2066\ufeff\x00\x9b31m",
)
"""New lines of every kind, terminal sequences, JSON, format strings, direction marks."""


NATIVE = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
"""The runtime's own greeting on standard error, before the first request."""


def lines_of(house: House) -> list[dict[str, Any]]:
    """Every line of the log; it must be one JSON object, and no more than that."""
    text = house.daemon.log_text()
    assert text.endswith("\n")
    lines = [json.loads(line) for line in text.split("\n")[:-1] if line != NATIVE]
    assert all(isinstance(line, dict) and "event" in line for line in lines)
    assert len(lines) + text.count(NATIVE) == len(text.splitlines())  # of Unicode's other line ends none
    return lines


def assert_log_is_whole(house: House) -> None:
    assert_well(house.crm)
    lines = lines_of(house)
    assert not {"forged", "agent.stopped"} & {line["event"] for line in lines}
    text = house.daemon.log_text()
    assert MARK not in text
    assert not [character for character in "\x1b\x9b\u202e\u2066\x85" if character in text]


def test_a_text_leaves_nothing_in_the_log(house: House) -> None:
    before = len(house.daemon.events("request.answered"))
    for text in BREAKERS:
        ask(house.crm, text)
        ask(house.crm, json.dumps({"text": text}))
    assert_log_is_whole(house)
    assert len(house.daemon.events("request.answered")) >= before + 2 * len(BREAKERS)  # at level debug


def test_an_id_and_all_other_fields_leave_nothing_in_the_log(house: House) -> None:
    for value in BREAKERS:
        fields = {"id": value, "lang": value[:64], "session": value, "traceparent": value, value: value}
        ask(house.crm, json.dumps({"text": "turn on the fan", **fields}))
        for key in ("top_k", "ttl_s", "sent_at", "text"):
            ask(house.crm, json.dumps({"text": "turn on the fan", key: [value]}))
    assert_log_is_whole(house)


def test_a_forged_model_name_stays_in_its_place(house: House) -> None:
    """A model's name is logged, since it names what was asked; it is quoted like any string."""
    name = '"},"event":"forged"} %s'
    answer = ask(house.crm, "x", topic=f"edge-agent/pi-1/in/{name}")
    assert answer["error"]["code"] == "unknown_model"
    assert_log_is_whole(house)


def test_response_topics_and_the_topics_of_routes_leave_nothing_in_the_log(house: House) -> None:
    for topic in (f'edge-agent/pi-2/out/{MARK}"}}', f"homeassistant/{MARK}", f"{MARK}/#"):
        house.crm.publish(REQUESTS, "x", response_topic=topic)
    house.crm.publish(f"shop/{MARK}/reviews", "turn on the fan")
    house.crm.publish(f"{MARK}/reviews", "no JSON")
    house.crm.wait_for(f"shop/{MARK}/sentiment")
    assert_log_is_whole(house)


def test_commands_leave_nothing_in_the_log(house: House) -> None:
    before = len(house.operator.heard)
    for number, text in enumerate(BREAKERS):
        arguments = json.dumps({"status": "init", "name": text, text: text})
        house.operator.publish(f"edge-agent/pi-1/cmd/nonsense/{MARK}{number}", arguments)
        house.operator.publish(f"edge-agent/pi-1/cmd/restart/{MARK}{number}", f'{{"status":"{MARK}"}}')
        house.operator.publish("edge-agent/pi-1/request/nonsense", text)
        house.operator.publish(f"edge-agent/pi-1/cmd/self-test/log-{number}", text)
    house.operator.wait_until(lambda m: m in house.operator.heard[before:] and b"failed" in m.payload)
    assert_log_is_whole(house)


def test_direction_marks_and_line_separators_in_topics_are_escaped(house: House) -> None:
    """MQTT allows them in topics; raw they would let a stranger reorder or split lines in a log viewer."""
    ask(house.crm, "x", topic="edge-agent/pi-1/in/\u202etxt\u2028forged")
    house.operator.publish("edge-agent/pi-1/cmd/\u202etxt\u2028forged/1", '{"status":"init"}')
    house.operator.wait_until(lambda m: "forged" in m.topic and b"failed" in m.payload)
    assert_log_is_whole(house)
