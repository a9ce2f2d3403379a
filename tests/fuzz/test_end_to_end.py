"""Hostile payloads through a real Mosquitto and a real daemon: each is answered exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.errors import ErrorCode
from tests.fuzz.inputs import SECRET, Inputs
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Heard, Probe

REQUESTS = 400
PATIENCE_SECONDS = 120.0
CODES = {code.value for code in ErrorCode}
IN, OUT = "edge-agent/pi-test/in/tiny", "edge-agent/pi-test/out/tiny"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[tuple[Mosquitto, Daemon]]:
    folder = tmp_path_factory.mktemp("fuzz")
    with (
        Mosquitto(folder / "broker") as broker,
        Daemon(folder / "daemon", broker.port, (tiny_folder,), settings=QUIET) as daemon,
    ):
        assert isinstance(broker, Mosquitto)
        yield broker, daemon


QUIET = {"health": {"interval_seconds": 30}, "inference": {"max_text_bytes": 256}}


def payloads(seed: int) -> list[bytes]:
    stream = Inputs(seed)
    return [stream.payload() for _ in range(REQUESTS)]


def outcome(answer: Heard) -> str:
    document = answer.json
    if "error" in document:
        assert document["error"]["code"] in CODES
        return str(document["error"]["code"])
    assert document["model"] == "tiny"
    return "ok"


def test_each_of_hundreds_of_payloads_at_qos_1_has_exactly_one_answer(
    stage: tuple[Mosquitto, Daemon],
) -> None:
    broker, daemon = stage
    with Probe(broker.port, "replies/fuzz", "ends", OUT) as probe:
        for number, payload in enumerate(payloads(11)):
            correlation = b"%d" % number
            probe.publish(IN, payload, response_topic="replies/fuzz", correlation=correlation, wait=False)
        probe.wait_for("replies/fuzz", count=REQUESTS, within_seconds=PATIENCE_SECONDS)
        # requests for one model are answered in order: after this one, no other answer is on its way
        probe.publish(IN, "the end", response_topic="ends")
        probe.wait_for("ends", within_seconds=PATIENCE_SECONDS)
        answers = probe.on("replies/fuzz")
        assert probe.on(OUT) == []
    asked = Counter(answer.correlation for answer in answers)
    assert asked == Counter(b"%d" % number for number in range(REQUESTS))
    assert set(map(outcome, answers)) >= {"ok", "bad_payload", "bad_encoding", "empty_text", "too_large"}
    assert "internal" not in set(map(outcome, answers))
    assert daemon.is_running
    assert SECRET not in daemon.log_text()


def test_no_response_topic_makes_the_broker_hang_up(stage: tuple[Mosquitto, Daemon]) -> None:
    broker, daemon = stage
    topics = (
        "a/" * 150,
        "a/" * 250,
        "a" * 65_535,
        "/",
        "\ufeffa",
        "a//b",
        "edge-agent/pi-test/out/" + "b/" * 190,
    )
    with Probe(broker.port, "ends") as probe:
        for topic in topics:
            probe.publish(IN, "turn on the fan", response_topic=topic)
        probe.publish(IN, "the end", response_topic="ends")
        probe.wait_for("ends", within_seconds=PATIENCE_SECONDS)
    assert daemon.events("mqtt.lost") == []


def test_payloads_of_a_3_1_1_client_have_one_answer_each_in_their_order(
    stage: tuple[Mosquitto, Daemon],
) -> None:
    broker, daemon = stage
    with Probe(broker.port, OUT, v5=False) as probe:
        for payload in payloads(12):
            probe.publish(IN, payload, wait=False)
        probe.publish(IN, {"text": "the end", "id": "the end of 3.1.1"})
        last = probe.wait_until(lambda heard: heard.json["id"] == "the end of 3.1.1", PATIENCE_SECONDS)
        answers = probe.on(OUT)
    assert answers[-1] is last
    assert len(answers) == REQUESTS + 1
    assert set(map(outcome, answers)) <= CODES | {"ok"}
    assert daemon.is_running
