"""The promise of the link, over a real Mosquitto: no acknowledgement before the answer is confirmed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from random import random
from time import sleep

import pytest

from edge_agent.link.address import BrokerAddress
from edge_agent.link.client import Link
from edge_agent.link.protocol import MQTT_3_1_1, MQTT_5, ConnectOptions, Will
from tests.fakes.receiver import KeepingReceiver
from tests.testbeds.broker import HOST, Amqtt, Mosquitto
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually

IN, OUT, STATE = "t/in/m", "t/out/m", "t/state"


class Stage:
    """A link and who takes its requests."""

    def __init__(self, port: int, *, hold: int = 64, **options: int) -> None:
        self.receiver = KeepingReceiver()
        chosen = {"session_expiry_seconds": 3600, "receive_maximum": 10, "keepalive_seconds": 5, **options}
        self.link = Link(
            BrokerAddress(HOST, port),
            ConnectOptions(client_id="device", will=Will("t/status", b"offline"), **chosen),  # type: ignore[arg-type]
            ("t/in/+",),
            self.receiver,
            hold=hold,
            reconnect_max_seconds=0.1,
        )
        self.link.start()
        eventually(lambda: self.link.status().connected_seconds is not None, what="the link")

    def answer(self, index: int, topic: str = OUT) -> None:
        delivery = self.receiver.deliveries[index]
        self.link.answer(delivery, topic, b'"' + delivery.message.payload + b'"')

    def close(self) -> None:
        self.link.leave(None, 5.0)


@pytest.fixture
def stage(broker: Mosquitto) -> Iterator[Stage]:
    made = Stage(broker.port)
    yield made
    made.close()


def payloads(stage: Stage) -> list[bytes]:
    return [delivery.message.payload for delivery in stage.receiver.deliveries]


def test_the_broker_hands_over_no_more_than_the_receive_maximum_before_an_answer(
    stage: Stage, broker: Mosquitto
) -> None:
    with Probe(broker.port, OUT) as probe:
        for number in range(25):
            probe.publish(IN, str(number))
        assert len(stage.receiver.wait_for(10)) == 10
        for index in range(25):
            stage.receiver.wait_for(index + 1)
            stage.answer(index)
        answers = probe.wait_for(OUT, count=25)
    assert [answer.json for answer in answers] == [str(number) for number in range(25)]


def test_whatever_the_broker_sends_only_so_many_requests_are_in_hand(broker: Mosquitto) -> None:
    stage = Stage(broker.port, hold=12)
    with Probe(broker.port, OUT) as probe:
        for number in range(100):
            probe.publish(IN, str(number))
        for index in range(100):
            taken = len(stage.receiver.wait_for(index + 1))
            assert taken - index <= 12
            stage.answer(index)
        probe.wait_for(OUT, count=100)
    stage.close()


def test_requests_are_acknowledged_in_the_order_of_receipt(stage: Stage, broker: Mosquitto) -> None:
    with Probe(broker.port, OUT) as probe:
        for number in range(12):
            probe.publish(IN, str(number))
        stage.receiver.wait_for(10)
        stage.answer(1)
        stage.link.settle(stage.receiver.deliveries[2])
        probe.wait_for(OUT, count=1)
        assert len(stage.receiver.deliveries) == 10, "the first is not done, so none may be acknowledged"
        stage.answer(0)
        stage.receiver.wait_for(12)


def test_an_unanswered_request_comes_again_and_its_late_answer_is_dropped(
    stage: Stage, broker: Mosquitto
) -> None:
    with Probe(broker.port) as sender:
        sender.publish(IN, "a")
        stage.receiver.wait_for(1)
    broker.stop()
    stage.receiver.wait_for_change(2)
    stage.answer(0)
    broker.start()
    stage.receiver.wait_for(2)
    assert payloads(stage) == [b"a", b"a"]
    assert stage.link.comes_again(stage.receiver.deliveries[0])
    assert not stage.link.comes_again(stage.receiver.deliveries[1])
    stage.answer(0)
    eventually(lambda: stage.link.dropped["redelivered"] == 2)
    with Probe(broker.port, OUT) as probe:
        stage.answer(1)
        assert len(probe.wait_for(OUT)) == 1


def test_a_broker_that_forgot_everything_gets_the_answer_in_hand(stage: Stage, broker: Mosquitto) -> None:
    with Probe(broker.port) as sender:
        sender.publish(IN, "a")
        stage.receiver.wait_for(1)
    broker.stop(signal.SIGKILL)
    for database in broker.folder.glob("*.db"):
        database.unlink()
    stage.receiver.wait_for_change(2)
    stage.answer(0)
    broker.start()
    with Probe(broker.port, OUT) as probe:
        eventually(lambda: stage.link.status().session_resumed is not None, 30.0, "the link again")
        assert stage.link.status().session_resumed is False
        stage.answer(0)
        assert probe.wait_for(OUT)[0].json == "a"
    assert stage.link.drain(5.0)


def test_state_is_kept_newest_only_and_told_again_on_every_connection(
    stage: Stage, broker: Mosquitto
) -> None:
    stage.link.announce(STATE, b"1")
    broker.stop(signal.SIGKILL)
    stage.receiver.wait_for_change(2)
    stage.link.announce(STATE, b"2")
    stage.link.announce(STATE, b"3")
    with Probe_when_up(broker) as probe:
        assert [heard.payload for heard in probe.wait_for(STATE)] == [b"3"]


def test_what_is_worthless_later_goes_out_now_or_never(stage: Stage, broker: Mosquitto) -> None:
    with Probe(broker.port, STATE) as probe:
        assert stage.link.publish_once(STATE, b"now")
        assert [heard.payload for heard in probe.wait_for(STATE)] == [b"now"]
        assert not stage.link.publish_once("no/+/topic", b"")
    broker.stop(signal.SIGKILL)
    stage.receiver.wait_for_change(2)
    assert not stage.link.publish_once(STATE, b"never")
    with Probe_when_up(broker) as probe:
        stage.link.announce(STATE, b"later")
        assert [heard.payload for heard in probe.wait_for(STATE)] == [b"later"]
    assert stage.link.dropped["unsent_report"] == 0


def test_leaving_in_the_middle_of_connecting_breaks_nothing(broker: Mosquitto) -> None:
    for _ in range(150):
        link = Link(
            BrokerAddress(HOST, broker.port),
            ConnectOptions(client_id="hasty", will=Will("t/status", b"offline")),
            ("t/in/+",),
            KeepingReceiver(),
        )
        link.start()
        sleep(random() * 0.004)  # anywhere between no socket and the broker's word
        link.leave(None, 5.0)


def Probe_when_up(broker: Mosquitto) -> Probe:  # noqa: N802
    broker.start()
    return Probe(broker.port, STATE)


def test_a_request_that_arrives_after_stop_taking_stays_with_the_broker(
    stage: Stage, broker: Mosquitto
) -> None:
    with Probe(broker.port) as sender:
        stage.link.stop_taking()
        sender.publish(IN, "late")
        sender.publish(IN, "lost", qos=0)
        eventually(lambda: stage.link.dropped["stopping"] == 1)
    stage.close()
    assert stage.receiver.deliveries == []
    again = Stage(broker.port)
    again.receiver.wait_for(1)
    assert payloads(again) == [b"late"]
    again.close()


def test_leaving_says_the_last_words_and_no_will(broker: Mosquitto) -> None:
    stage = Stage(broker.port)
    with Probe(broker.port, "t/status") as probe:
        stage.link.leave(("t/status", b"bye"), 5.0)
        assert [heard.payload for heard in probe.wait_for("t/status")] == [b"bye"]
    with Probe(broker.port, "t/status") as later:
        assert later.wait_for("t/status")[0].payload == b"bye"


def test_an_answer_larger_than_the_broker_takes_is_counted_and_done(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "small", extra=("max_packet_size 2000",)) as broker:
        stage = Stage(broker.port)
        with Probe(broker.port, OUT) as probe:
            probe.publish(IN, "a")
            stage.receiver.wait_for(1)
            stage.link.answer(stage.receiver.deliveries[0], OUT, b"x" * 3000)
            assert stage.link.dropped["refused_answer"] == 1
            probe.publish(IN, "b")
            stage.receiver.wait_for(2)
            stage.answer(1)
            assert probe.wait_for(OUT)[0].json == "b"
        assert stage.link.status().connections == 1
        stage.close()


def test_an_answer_that_the_broker_does_not_authorise_is_counted_and_done(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite t/in/#\ntopic read t/#\n")
    acl.chmod(0o644)
    with Mosquitto(tmp_path / "strict", extra=(f"acl_file {acl}",)) as broker:
        stage = Stage(broker.port)
        with Probe(broker.port) as probe:
            probe.publish(IN, "a")
            stage.receiver.wait_for(1)
            stage.answer(0)
            eventually(lambda: stage.link.dropped["refused_answer"] == 1)
            assert stage.link.drain(5.0)
        stage.close()


def test_our_messages_in_flight_stay_within_what_the_broker_grants(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "narrow", extra=("max_inflight_messages 3",)) as broker:
        stage = Stage(broker.port)
        with Probe(broker.port, OUT) as probe:
            for number in range(30):
                probe.publish(IN, str(number), wait=False)
            for index in range(30):
                stage.receiver.wait_for(index + 1)
                stage.answer(index)
            probe.wait_for(OUT, count=30)
        assert stage.link.status().connections == 1
        stage.close()


def test_mqtt_5_is_spoken_first_and_3_1_1_where_it_is_refused(stage: Stage, old_broker: Amqtt) -> None:
    assert stage.link.status().protocol == MQTT_5
    old = Stage(old_broker.port)
    assert old.link.status().protocol == MQTT_3_1_1
    with Probe(old_broker.port, OUT, v5=False) as probe:
        probe.publish(IN, "a")
        old.receiver.wait_for(1)
        old.answer(0)
        assert probe.wait_for(OUT)[0].json == "a"
    old.close()


def test_a_frozen_broker_is_noticed_and_a_thawed_one_found_again(stage: Stage, broker: Mosquitto) -> None:
    broker.freeze()
    stage.receiver.wait_for_change(2, within_seconds=20)
    assert stage.link.status().connected_seconds is None
    broker.thaw()
    stage.receiver.wait_for_change(3, within_seconds=20)
    eventually(lambda: stage.link.status().connected_seconds is not None)


def test_an_absent_broker_is_a_fault_in_words(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "later")
    receiver = KeepingReceiver()
    link = Link(
        BrokerAddress(HOST, broker.port),
        ConnectOptions(client_id="device"),
        ("t/in/+",),
        receiver,
        reconnect_max_seconds=0.1,
    )
    link.start()
    receiver.wait_for_change(1)
    assert "Connection refused" in str(link.status().fault)
    with broker:
        eventually(lambda: link.status().fault is None)
        link.leave(None, 5.0)


def test_wrong_credentials_are_a_fault_in_words(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "closed", extra=("allow_anonymous false",)) as broker:
        receiver = KeepingReceiver()
        link = Link(
            BrokerAddress(HOST, broker.port, username="u", password="hunter2"),
            ConnectOptions(client_id="device"),
            ("t/in/+",),
            receiver,
            reconnect_max_seconds=0.1,
        )
        link.start()
        receiver.wait_for_change(1)
        fault = str(link.status().fault)
        assert "refused" in fault
        assert "hunter2" not in fault
        link.leave(None, 5.0)
