"""What a broker may grant, forbid, order or forget, by a broker that says it on cue."""

from __future__ import annotations

from threading import Event

import pytest

from edge_agent.link.protocol import MQTT_5, Incoming, Subscription
from tests.fakes.scripted_broker import (
    CONNECT,
    PINGREQ,
    SUBSCRIBE,
    Manners,
    Peer,
    ScriptedBroker,
    connack,
    connack_3_1_1,
    disconnect,
    number,
    publish,
    subscribed,
    text,
)
from tests.link.linked import IN, LONG, OUT, TREE, Linked
from tests.testbeds.waiting import eventually


@pytest.mark.parametrize(
    ("code", "words"),
    [(0x86, "Bad user name or password"), (0x8A, "Banned"), (0x85, "Client identifier not valid")],
)
def test_a_lasting_refusal_is_named_with_its_remedy_and_not_hammered(code: int, words: str) -> None:
    with ScriptedBroker(Manners(connack=lambda _: connack(code))) as broker, Linked(broker.port) as linked:
        status = linked.fault("refused the connection", words)
        assert status.hint
        assert not Event().wait(1.0)
        assert len(broker.peers) == 1, "the next attempt is half a minute away"


def test_a_busy_broker_is_asked_again() -> None:
    manners = Manners(connack=lambda peer: connack(0x89) if peer.number < 3 else connack())
    with ScriptedBroker(manners) as broker, Linked(broker.port) as linked:
        linked.up()
        assert len(broker.peers) == 3


def test_an_odd_reason_is_named_by_its_number() -> None:
    with ScriptedBroker(Manners(connack=lambda _: connack(0xEE))) as broker, Linked(broker.port) as linked:
        linked.fault("refused the connection", "reason 0xee")


def test_a_redirect_says_where_to_and_is_not_followed() -> None:
    elsewhere = ScriptedBroker()
    moved = connack(0x9D, text(0x1C, f"127.0.0.1:{elsewhere.port}"))
    with elsewhere, ScriptedBroker(Manners(connack=lambda _: moved)) as broker, Linked(broker.port) as linked:
        status = linked.fault("Server moved", f"points to 127.0.0.1:{elsewhere.port}")
        assert "mqtt.host" in str(status.hint)
        assert elsewhere.peers == []


def test_a_redirect_in_mid_connection_is_named_too() -> None:
    def leave(peer: Peer) -> None:
        peer.send(disconnect(0x9C, text(0x1C, "b2.example")))
        peer.hang_up()

    with ScriptedBroker(Manners(after_subscribe=leave)) as broker, Linked(broker.port) as linked:
        linked.fault("closed the link", "Use another server", "b2.example")
        assert len(broker.peers) == 1


def test_an_id_that_two_devices_share_is_named_and_not_fought_over() -> None:
    def evict(peer: Peer) -> None:
        if peer.number < 4:
            peer.send(disconnect(0x8E))
            peer.hang_up()

    with ScriptedBroker(Manners(after_subscribe=evict)) as broker, Linked(broker.port) as linked:
        linked.fault("another client took over the id device", "two devices with one name?")
        linked.up(4)
        assert "another client took over the id device" in linked.refusals, "named while it is up again, too"
        assert len(broker.peers) == 4


def test_quick_losses_on_3_1_1_are_taken_for_a_shared_id() -> None:
    def evict(peer: Peer) -> None:
        if peer.number < 9:
            peer.hang_up()

    old = Manners(connack=lambda peer: connack_3_1_1(1 if peer.is_v5 else 0), after_subscribe=evict)
    with ScriptedBroker(old) as broker, Linked(broker.port) as linked:
        linked.fault("hung up right after connecting", "another client use the id device?")
        linked.up(5)
        assert "another client use the id device?" in linked.refusals


@pytest.mark.parametrize("code", [1, 4, 5])
def test_3_1_1_refusals_are_named(code: int) -> None:
    manners = Manners(connack=lambda peer: connack_3_1_1(1 if peer.is_v5 else code))
    words = {1: "Unsupported protocol version", 4: "Bad user name", 5: "Not authorized"}[code]
    with ScriptedBroker(manners) as broker, Linked(broker.port) as linked:
        linked.fault("refused the connection", words)
        assert [peer.is_v5 for peer in broker.peers] == [True, False]


def test_the_keep_alive_of_the_brokers_choice_holds_and_finds_a_dead_link() -> None:
    manners = Manners(connack=lambda _: connack(0, number(0x13, 1, 2)))
    with ScriptedBroker(manners) as broker, Linked(broker.port, keepalive_seconds=600) as linked:
        linked.up()
        broker.wait_for(lambda: len(broker.peers[0].of(PINGREQ)) >= 2, LONG)
        assert linked.status.connections == 1
        manners.answers_pings = False
        eventually(lambda: len(broker.peers) == 2, LONG, "a new connection")


def test_an_id_of_the_brokers_choice_is_kept() -> None:
    manners = Manners(connack=lambda peer: connack(0, text(0x12, "given-7") if not peer.client_id else b""))
    with ScriptedBroker(manners) as broker, Linked(broker.port, client_id="") as linked:
        linked.up()
        broker.peers[0].hang_up()
        linked.up(2)
        assert [peer.client_id for peer in broker.peers] == ["", "given-7"]


def test_no_more_of_ours_is_in_flight_than_the_broker_confirms_at_a_time() -> None:
    def send(peer: Peer) -> None:
        for mid in range(1, 6):
            peer.send(publish(IN, b"%d" % mid, mid))

    grants = connack(0, number(0x21, 2, 2))
    manners = Manners(connack=lambda _: grants, confirm=lambda _: None, after_subscribe=send)
    with ScriptedBroker(manners) as broker, Linked(broker.port) as linked:
        for index in range(5):
            linked.answer(index)
        peer = broker.peers[0]
        broker.wait_for(lambda: len(peer.publications()) == 2, LONG)
        for confirmed in range(5):
            broker.wait_for(lambda at=confirmed: len(peer.publications()) > at, LONG)  # type: ignore[misc]
            assert len(peer.publications()) <= confirmed + 2
            peer.send(b"\x40\x02" + peer.publications()[confirmed].mid.to_bytes(2, "big"))
        broker.wait_for(lambda: peer.acknowledged() == [1, 2, 3, 4, 5], LONG)
        assert linked.link.drain(LONG)


def test_what_is_larger_than_the_brokers_packets_is_named_and_done_with() -> None:
    manners = Manners(
        connack=lambda _: connack(0, number(0x27, 500, 4)),
        after_subscribe=lambda peer: peer.send(publish(IN, b"a", 1)),
    )
    with ScriptedBroker(manners) as broker, Linked(broker.port) as linked:
        linked.up()
        linked.link.announce(f"{TREE}/health", b"x" * 600)
        linked.answer(0, payload=b"x" * 600)
        peer = broker.peers[0]
        broker.wait_for(lambda: peer.acknowledged() == [1], LONG)
        assert peer.publications() == []
        assert linked.link.dropped["refused_answer"] == 1
        assert set(linked.status.refusals) == {
            "retained state on health: larger than the broker takes",
            "answers to out/m: larger than the broker takes",
        }
        linked.link.announce(f"{TREE}/health", b"short")
        eventually(
            lambda: linked.status.refusals == ("answers to out/m: larger than the broker takes",), LONG
        )


def test_an_answer_that_makes_the_broker_hang_up_as_too_large_is_not_sent_for_ever() -> None:
    def confirm(message: object) -> int | None:
        payload = getattr(message, "payload", b"")
        if len(payload) > 500:
            broker.peers[-1].send(disconnect(0x95))
            broker.peers[-1].hang_up()
        return 0

    manners = Manners(
        connack=lambda peer: connack(resumed=peer.number > 1),
        confirm=confirm,
        after_subscribe=lambda peer: peer.send(publish(IN, b"a", 1)),
    )
    with ScriptedBroker(manners) as broker, Linked(broker.port) as linked:
        linked.answer(0, payload=b"x" * 600)
        linked.up(2)
        linked.answer(1, payload=b"x" * 600)
        broker.wait_for(lambda: broker.peers[1].acknowledged() == [1], LONG)
        assert len(broker.peers) == 2


def test_a_broker_that_hangs_up_on_a_forbidden_topic_is_not_provoked_for_ever() -> None:
    forbidden = f"{OUT}/forbidden"

    def send(peer: Peer) -> None:
        left = 3 if peer.number < 3 else 0
        for mid in range(1, left + 1):
            peer.send(publish(IN, b"%d" % mid, mid))

    def confirm(message: Incoming) -> int | None:
        if message.topic == forbidden:
            broker.peers[-1].send(disconnect(0x87))
            broker.peers[-1].hang_up()
        return 0

    manners = Manners(
        connack=lambda peer: connack(resumed=peer.number > 1), confirm=confirm, after_subscribe=send
    )
    with ScriptedBroker(manners) as broker, Linked(broker.port) as linked:
        linked.link.announce(f"{TREE}/health", b"h")
        for connection in (1, 2):
            linked.up(connection)
            first = 3 * (connection - 1)
            linked.receiver.wait_for(first + 3, LONG)
            with linked.link._lock:
                for index in range(first, first + 3):
                    linked.answer(index, forbidden if index == first + 1 else OUT)
        linked.up(3)
        peer = broker.peers[2]
        peer.send(publish(IN, b"again", 9))
        linked.answer(6, forbidden)
        broker.wait_for(lambda: peer.acknowledged() == [9], LONG)
        assert linked.refusals == "answers to out/m/…: Not authorized"
        assert len(broker.peers) == 3


def test_a_session_that_the_broker_forgot_is_made_again_whole() -> None:
    with ScriptedBroker() as broker, Linked(broker.port, f"{TREE}/in/+", f"{TREE}/cmd/+/+") as linked:
        linked.up()
        linked.link.announce(f"{TREE}/info", b"i")
        linked.link.announce(f"{TREE}/health", b"h")
        linked.link.announce(f"{TREE}/gone", b"g")
        linked.link.retract(f"{TREE}/gone")
        broker.wait_for(lambda: len(broker.peers[0].publications()) == 3, LONG)
        broker.peers[0].hang_up()
        linked.up(2)
        assert linked.status.session_resumed is False
        peer = broker.peers[1]
        broker.wait_for(lambda: len(peer.publications()) == 2, LONG)
        assert [(one.topic, one.payload, one.retain) for one in peer.publications()] == [
            (f"{TREE}/info", b"i", True),
            (f"{TREE}/health", b"h", True),
        ]
        assert subscribed(peer.of(SUBSCRIBE)[0]) == [f"{TREE}/in/+", f"{TREE}/cmd/+/+"]
        assert len(peer.of(CONNECT)) == 1


def test_a_late_answer_to_an_earlier_connection_acknowledges_nothing_on_the_next() -> None:
    def send(peer: Peer) -> None:
        peer.send(publish(IN, b"first" if peer.number == 1 else b"second", 1))

    with ScriptedBroker(Manners(after_subscribe=send)) as broker, Linked(broker.port) as linked:
        linked.receiver.wait_for(1, LONG)
        broker.peers[0].hang_up()
        linked.receiver.wait_for(2, LONG)
        linked.link.settle(linked.receiver.deliveries[0])
        linked.answer(0)
        peer = broker.peers[1]
        broker.wait_for(lambda: len(peer.publications()) == 1, LONG)
        assert linked.link.drain(LONG)
        assert peer.acknowledged() == [], "packet id 1 is another message now"
        linked.answer(1)
        broker.wait_for(lambda: peer.acknowledged() == [1], LONG)


def test_acknowledgements_keep_the_order_of_receipt_across_topics_and_refusals() -> None:
    def send(peer: Peer) -> None:
        for mid in range(1, 7):
            peer.send(publish(f"{TREE}/in/{'ab'[mid % 2]}", b"%d" % mid, mid))

    manners = Manners(
        after_subscribe=send, confirm=lambda message: 0x87 if message.topic.endswith("/forbidden") else 0
    )
    with ScriptedBroker(manners) as broker, Linked(broker.port) as linked:
        linked.receiver.wait_for(6, LONG)
        for index in (5, 3, 1, 4):
            linked.answer(index, f"{OUT}/forbidden" if index == 3 else OUT)
        linked.link.settle(linked.receiver.deliveries[2])
        peer = broker.peers[0]
        broker.wait_for(lambda: len(peer.publications()) == 4, LONG)
        assert peer.acknowledged() == []
        linked.answer(0)
        broker.wait_for(lambda: len(peer.acknowledged()) == 6, LONG)
        assert peer.acknowledged() == [1, 2, 3, 4, 5, 6]
        assert linked.refusals == "answers to out/m/…: Not authorized"


def test_one_refused_filter_is_named_and_the_others_serve() -> None:
    manners = Manners(
        grant=lambda name: 0x87 if name.startswith(f"{TREE}/in/") else 1,
        after_subscribe=lambda peer: peer.send(publish(f"{TREE}/cmd/x/1", b"go", 1)),
    )
    with ScriptedBroker(manners) as broker, Linked(broker.port, f"{TREE}/in/+", f"{TREE}/cmd/+/+") as linked:
        assert linked.receiver.wait_for(1, LONG)[0].message.payload == b"go"
        assert linked.up().status.refusals == (f"the subscription to {TREE}/in/+: Not authorized",)
        manners.grant = lambda _: 1
        broker.peers[0].hang_up()
        linked.up(2)
        assert linked.status.refusals == ()


def test_a_link_whose_only_filter_is_refused_stays_up() -> None:
    with ScriptedBroker(Manners(grant=lambda _: 0x80)) as broker, Linked(broker.port) as linked:
        linked.up()
        linked.link.announce(f"{TREE}/health", b"h")
        broker.wait_for(lambda: len(broker.peers[0].publications()) == 1, LONG)
        assert linked.status.refusals == (f"the subscription to {TREE}/in/+: Unspecified error",)


def test_what_the_broker_does_not_offer_is_not_asked_for_and_named() -> None:
    lacking = number(0x2A, 0, 1) + number(0x25, 0, 1)
    shared = Subscription("$share/pool/a/b")
    with (
        ScriptedBroker(Manners(connack=lambda _: connack(0, lacking))) as broker,
        Linked(broker.port, "a/c", shared) as linked,
    ):
        linked.up()
        linked.link.announce(f"{TREE}/info", b"i")
        peer = broker.peers[0]
        broker.wait_for(lambda: len(peer.publications()) == 1, LONG)
        assert not peer.publications()[0].retain
        assert subscribed(peer.of(SUBSCRIBE)[0]) == ["a/c"]
        eventually(
            lambda: (
                linked.status.refusals
                == (
                    "the subscription to $share/pool/a/b: Shared subscriptions not supported",
                    "retained state on info: Retain not supported",
                )
            ),
            LONG,
        )


def test_a_broker_without_qos_1_is_refused_in_words() -> None:
    manners = Manners(connack=lambda _: connack(0, number(0x24, 0, 1)))
    with ScriptedBroker(manners) as broker, Linked(broker.port) as linked:
        linked.fault("offers no QoS 1")
        assert len(broker.peers) == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x30\x03\x00\x01a",
        b"\x20\x01\x00",
        b"\x20\x05\x00\x00\x02\xfe\x00",
        b"\xff" * 5,
        b"\x90\x03\x00\x01\x01",
    ],
)
def test_a_broker_that_speaks_nonsense_is_left_and_tried_again(garbage: bytes) -> None:
    def connack_of(peer: Peer) -> bytes:
        return garbage if peer.number == 1 else connack() if peer.is_v5 else connack_3_1_1()

    with ScriptedBroker(Manners(connack=connack_of)) as broker, Linked(broker.port) as linked:
        linked.up()
        assert [peer.is_v5 for peer in broker.peers] == [True, True], "one hang-up is no refusal of MQTT 5"
        broker.peers[1].hang_up()
        linked.up(2)
        assert linked.status.protocol == MQTT_5


def test_a_broker_that_only_hangs_up_at_mqtt_5_is_spoken_to_in_3_1_1_after_three_times() -> None:
    def connack_of(peer: Peer) -> bytes:
        return b"\xff" * 5 if peer.is_v5 else connack_3_1_1()

    with ScriptedBroker(Manners(connack=connack_of)) as broker, Linked(broker.port) as linked:
        linked.up()
        assert [peer.is_v5 for peer in broker.peers] == [True, True, True, False]


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x46", "speaks TLS, and we do not"),
        (b"HTTP/1.1 400 Bad Request\r\n", "is a web server"),
    ],
)
def test_a_server_of_another_kind_is_named(first: bytes, words: str) -> None:
    with ScriptedBroker(Manners(connack=lambda _: first)) as broker, Linked(broker.port) as linked:
        assert "mqtt.tls" in str(linked.fault(words).hint)
