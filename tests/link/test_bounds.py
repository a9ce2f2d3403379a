"""Whatever arrives, what the link holds is bounded: floods, brokers that ignore limits, deep topics."""

from __future__ import annotations

import tracemalloc

from edge_agent.link.policy import LinkPolicy
from tests.fakes.scripted_broker import Manners, Peer, ScriptedBroker, connack, connack_3_1_1, publish
from tests.link.linked import IN, LONG, QUICK, TREE, Linked
from tests.testbeds.broker import Mosquitto
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually

SMALL = LinkPolicy(pauses=QUICK, most_owed=50, most_answers=20, most_owed_bytes=100_000)


def old(peer: Peer) -> bytes:
    return connack_3_1_1(1 if peer.is_v5 else 0, resumed=peer.number > 2)


def test_a_message_on_too_deep_a_topic_is_dropped_counted_and_acknowledged_in_its_turn() -> None:
    deep = f"{TREE}/in" + "/x" * 40

    def send(peer: Peer) -> None:
        for mid, topic in enumerate((IN, deep, deep, IN), 1):
            peer.send(publish(topic, b"m", mid))
        peer.send(publish(deep, b"at QoS 0"))

    with ScriptedBroker(Manners(after_subscribe=send)) as broker, Linked(broker.port) as linked:
        assert [one.message.topic for one in linked.receiver.wait_for(2, LONG)] == [IN, IN]
        eventually(lambda: linked.link.dropped["topic_levels"] == 3, LONG)
        assert broker.peers[0].acknowledged() == []
        linked.answer(0)
        broker.wait_for(lambda: broker.peers[0].acknowledged() == [1, 2, 3], LONG)


def test_a_broker_that_confirms_nothing_and_sends_on_is_hung_up_on_and_sends_it_again() -> None:
    def flood(peer: Peer) -> None:
        for mid in range(1, 201 if peer.number == 1 else 2):
            peer.send(publish(IN, b"%d" % mid, mid))

    manners = Manners(connack=lambda _: connack(), confirm=lambda _: None, after_subscribe=flood)
    with ScriptedBroker(manners) as broker, Linked(broker.port, policy=SMALL, hold=10) as linked:
        for index in range(50):
            linked.answer(index)
        eventually(lambda: linked.link.dropped["flooded"] == 1, LONG)
        assert linked.receiver.wait_for(51, LONG)[50].connection == 2
        assert len(linked.receiver.deliveries) == 51
        assert broker.peers[0].acknowledged() == []


def test_a_flood_on_3_1_1_ends_the_connection_and_nothing_is_acknowledged() -> None:
    def flood(peer: Peer) -> None:
        for mid in range(1, 201 if len(broker.peers) == 2 else 2):
            peer.send(publish(IN, b"%d" % mid, mid, v5=False))

    manners = Manners(connack=old, after_subscribe=flood)
    with ScriptedBroker(manners) as broker, Linked(broker.port, policy=SMALL, hold=10) as linked:
        eventually(lambda: linked.link.dropped["flooded"] == 1, LONG)
        linked.up(2)
        assert linked.receiver.wait_for(51, LONG)[50].connection == 2
        assert broker.peers[1].acknowledged() == []


def test_large_messages_are_bounded_by_their_bytes() -> None:
    def flood(peer: Peer) -> None:
        for mid in range(1, 31):
            peer.send(publish(IN, b"x" * 20_000, mid, v5=False))

    manners = Manners(connack=old, after_subscribe=flood)
    with ScriptedBroker(manners) as broker, Linked(broker.port, policy=SMALL) as linked:
        linked.fault("sends more than we can hold")
        assert len([one for one in linked.receiver.deliveries if one.connection == 1]) <= 6


def test_answers_to_a_flood_at_qos_0_are_bounded_and_the_rest_counted() -> None:
    def flood(peer: Peer) -> None:
        for number in range(300):
            peer.send(publish(IN, b"%d" % number, v5=False))

    manners = Manners(connack=old, confirm=lambda _: None, after_subscribe=flood)
    with ScriptedBroker(manners) as broker, Linked(broker.port, policy=SMALL) as linked:
        linked.receiver.wait_for(300, LONG)
        for index in range(300):
            linked.answer(index)
        assert linked.link.unconfirmed == 20
        assert linked.link.dropped["unsent_answer"] == 280
        assert linked.status.connections == 1


def test_state_that_the_broker_does_not_confirm_does_not_pile_up() -> None:
    with ScriptedBroker(Manners(confirm=lambda _: None)) as broker, Linked(broker.port) as linked:
        linked.up()
        for number in range(500):
            linked.link.announce(f"{TREE}/health", b"%d" % number)
        peer = broker.peers[0]
        broker.wait_for(lambda: len(peer.publications()) == 1, LONG)
        peer.send(b"\x40\x02" + peer.publications()[0].mid.to_bytes(2, "big"))
        broker.wait_for(lambda: len(peer.publications()) == 2, LONG)
        assert [one.payload for one in peer.publications()] == [b"0", b"499"]


def test_reports_are_refused_while_too_many_wait() -> None:
    with (
        ScriptedBroker(Manners(confirm=lambda _: None)) as broker,
        Linked(broker.port, policy=SMALL) as linked,
    ):
        linked.up()
        sent = [linked.link.publish(f"{TREE}/unrecognized/m", b"x") for _ in range(50)]
        assert sum(sent) == 20
        assert linked.link.dropped["unsent_report"] == 30


def test_a_flood_at_qos_0_through_mosquitto_leaves_nothing_behind(broker: Mosquitto) -> None:
    with Linked(broker.port) as linked, Probe(broker.port) as probe:
        linked.up()
        tracemalloc.start()
        for number in range(500):
            probe.publish(IN, str(number), qos=0, wait=False)
        probe.publish(IN, "last")
        eventually(lambda: any(one.message.qos for one in linked.receiver.deliveries), LONG)
        for delivery in list(linked.receiver.deliveries):
            linked.link.settle(delivery)
        linked.receiver.deliveries.clear()
        held = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/edge_agent/link/*")])
        tracemalloc.stop()
        assert sum(one.size for one in held.statistics("filename")) < 200_000
        assert linked.link.unconfirmed == 0


def test_a_frozen_broker_is_noticed_within_twice_the_keepalive(broker: Mosquitto) -> None:
    with Linked(broker.port, keepalive_seconds=2) as linked:
        linked.up()
        broker.freeze()
        try:
            for number in range(3):
                linked.link.announce(f"{TREE}/health", b"%d" % number)
            linked.receiver.wait_for_change(2, within_seconds=30)
            assert "keep-alive" in str(linked.status.fault) or "answer" in str(linked.status.fault)
        finally:
            broker.thaw()
        linked.up(2)
