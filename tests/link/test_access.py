"""What a real broker's access list does to the link: named, counted, and never in the way of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.link.address import BrokerAddress
from edge_agent.link.policy import LinkPolicy
from edge_agent.link.protocol import Retained, Subscription
from tests.link.linked import CANARY, IN, LONG, OUT, QUICK, TREE, Linked
from tests.testbeds.broker import HOST, Amqtt, Mosquitto
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually

ALL = "topic readwrite #\n"
KEEN = LinkPolicy(pauses=QUICK, canary_seconds=0.2, canary_broken_seconds=0.2, canary_patience_seconds=0.5)
NO_WAY_IN = "the broker does not deliver to us"


def test_a_refused_answer_and_refused_state_are_named_until_they_are_taken(tmp_path: Path) -> None:
    acl = f"topic readwrite {TREE}/in/#\ntopic readwrite {TREE}/out/m\ntopic readwrite x/#\n"
    with Mosquitto(tmp_path, acl=acl) as broker, Linked(broker.port) as linked, Probe(broker.port) as probe:
        linked.up()
        linked.link.announce(f"{TREE}/health", b"h")
        probe.publish(IN, "a")
        linked.answer(0, f"{OUT}/of-a-caller")
        assert linked.link.drain(LONG)
        both = {
            "retained state on health: Not authorized",
            "answers to out/m/…: Not authorized",
        }
        eventually(lambda: set(linked.status.refusals) == both, LONG)
        assert linked.link.dropped["refused_answer"] == 1
        assert not linked.link.publish(f"{TREE}/+", b""), "that is no topic"
        probe.publish(IN, "b")
        linked.answer(1)
        assert linked.link.drain(LONG)
        broker.set_acl(ALL)

        def taken() -> bool:
            linked.link.announce(f"{TREE}/health", b"h")
            return "health" not in linked.refusals

        eventually(taken, LONG)
        assert "of-a-caller" not in linked.refusals


def test_a_report_is_sent_or_counted(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    with Linked(broker.port) as linked:
        linked.fault("Connection refused")
        assert not linked.link.publish(f"{TREE}/unrecognized/m", b"{}")
        assert linked.link.dropped["unsent_report"] == 1
        with broker:
            linked.up()
            with Probe(broker.port, f"{TREE}/#") as probe:
                assert linked.link.publish(f"{TREE}/unrecognized/m", b"{}")
                assert not probe.wait_for(f"{TREE}/unrecognized/m", within_seconds=LONG)[0].retain


def test_state_is_cleared_by_nothing_and_retracted_without_a_word(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Linked(broker.port) as linked:
        linked.up()
        for name in ("cleared", "retracted"):
            linked.link.announce(f"{TREE}/{name}", b"1")
        with Probe(broker.port, f"{TREE}/#") as probe:
            probe.wait_for(f"{TREE}/cleared", within_seconds=LONG)
            probe.wait_for(f"{TREE}/retracted", within_seconds=LONG)
            linked.link.announce(f"{TREE}/cleared", b"")
            linked.link.retract(f"{TREE}/retracted")
            assert probe.wait_for(f"{TREE}/cleared", count=2, within_seconds=LONG)[1].payload == b""
        with Probe(broker.port, f"{TREE}/#") as later:
            later.wait_for(f"{TREE}/retracted", within_seconds=LONG)
            assert later.on(f"{TREE}/cleared") == []


def test_the_canary_comes_back_and_nobody_sees_it(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path) as broker,
        Linked(broker.port, f"{TREE}/#", canary=CANARY, policy=KEEN) as linked,
        Probe(broker.port, CANARY) as probe,
    ):
        linked.up()
        probe.wait_for(CANARY, count=3, within_seconds=LONG)
        assert linked.status.refusals == ()
        assert not probe.on(CANARY)[0].retain
        probe.publish(CANARY, "forged")
        eventually(lambda: linked.link.dropped["foreign_canary"] >= 1, LONG)
        assert linked.receiver.deliveries == []


@pytest.mark.parametrize("canary", [CANARY, None])
def test_a_granted_subscription_that_brings_nothing_is_found_by_the_canary_alone(
    tmp_path: Path, canary: str | None
) -> None:
    closed = f"topic write {TREE}/#\n"
    with (
        Mosquitto(tmp_path, acl=closed) as broker,
        Linked(broker.port, canary=canary, policy=KEEN) as linked,
    ):
        linked.up()
        if canary is None:
            linked.link.announce(f"{TREE}/status", b"online")
            with Probe(broker.port) as probe:
                probe.publish(IN, "lost")
            assert linked.status.refusals == ()
            return
        eventually(lambda: NO_WAY_IN in linked.refusals, LONG)
        assert linked.receiver.link_changes >= 2, "health is told at once"
        broker.set_acl(ALL)
        eventually(lambda: linked.status.refusals == (), LONG)


def test_a_canary_that_may_not_be_published_is_named(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path, acl=f"topic readwrite {TREE}/in/#\n") as broker,
        Linked(broker.port, canary=CANARY, policy=KEEN) as linked,
    ):
        eventually(lambda: "the link's own canary: Not authorized" in linked.refusals, LONG)
        broker.set_acl(ALL)
        eventually(lambda: linked.status.refusals == (), LONG)


def test_requests_prove_the_way_in_where_the_canary_is_forbidden_on_3_1_1(old_broker: Amqtt) -> None:
    with Linked(old_broker.port, canary=CANARY, policy=KEEN) as linked:
        linked.up()
        with Probe(old_broker.port, CANARY, v5=False) as probe:
            probe.wait_for(CANARY, count=2, within_seconds=LONG)
        assert linked.status.refusals == ()


def test_commands_come_again_on_every_subscription_and_our_own_words_do_not(tmp_path: Path) -> None:
    command, ours = f"{TREE}/cmd/self-test/1", f"{TREE}/cmd/self-test/2"
    commands = Subscription(f"{TREE}/cmd/+/+", no_local=True, retained=Retained.ALWAYS)
    with Mosquitto(tmp_path) as broker:
        with Probe(broker.port) as probe:
            probe.publish(command, json.dumps({"status": "init"}), retain=True)
            probe.publish(IN, "stale", retain=True)
        with Linked(broker.port, f"{TREE}/in/+", commands) as linked, Probe(broker.port, ours) as probe:
            for delivery in linked.receiver.wait_for(2, LONG):
                linked.link.settle(delivery)
            linked.link.announce(ours, b"ours")
            probe.wait_for(ours, within_seconds=LONG)
            probe.publish(f"{TREE}/cmd/self-test/3", "theirs", retain=True)
            linked.link.settle(linked.receiver.wait_for(3, LONG)[2])
            heard = [(one.message.topic, one.message.retain) for one in linked.receiver.deliveries]
            assert sorted(heard) == [(command, True), (f"{TREE}/cmd/self-test/3", True), (IN, True)]
            broker.stop()
            broker.start()
            linked.up(2)
            assert linked.status.session_resumed
            # Mosquitto 2.0.11 sends our own retained message, too, once it was restarted.
            again = linked.receiver.wait_for(5, LONG)[3:]
            topics = {one.message.topic for one in again} - {ours}
            assert IN not in topics
            assert topics


def test_a_second_link_in_one_process_has_a_session_of_its_own(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path) as broker,
        Linked(broker.port) as one,
        Linked(broker.port, "pool/+", client_id="device-pool", session_expiry_seconds=0) as other,
        Probe(broker.port, "pool-out", OUT) as probe,
    ):
        one.up()
        other.up()
        probe.publish("pool/x", "p")
        probe.publish(IN, "r")
        delivery = other.receiver.wait_for(1, LONG)[0]
        assert delivery.link is other.link
        assert one.receiver.wait_for(1, LONG)[0].link is one.link
        delivery.link.answer(delivery, "pool-out", b'"p"')
        one.answer(0)
        assert probe.wait_for("pool-out", within_seconds=LONG)[0].json == "p"
        assert probe.wait_for(OUT, within_seconds=LONG)[0].json == "r"
        assert (one.status.connections, other.status.connections) == (1, 1)


def test_two_devices_with_one_name_are_suspected_where_the_broker_does_not_say_so(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Linked(broker.port) as one, Linked(broker.port):
        one.fault("hung up right after connecting", "does another client use the id device?")


def test_wrong_credentials_are_tried_once_in_half_a_minute(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, users={"pi": "right"}) as broker:
        wrong = BrokerAddress(HOST, broker.port, username="pi", password="hunter2")
        with Linked(broker.port, address=wrong) as linked:
            status = linked.fault("refused the connection", "Not authorized")
            assert "hunter2" not in f"{status} {wrong!r}"
        right = BrokerAddress(HOST, broker.port, username="pi", password="right")
        with Linked(broker.port, address=right) as linked:
            linked.up()
