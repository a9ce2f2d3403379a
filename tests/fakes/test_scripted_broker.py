"""The scripted broker speaks MQTT well enough for a client that is not ours."""

from __future__ import annotations

import pytest

from tests.fakes.scripted_broker import PUBLISH, SUBSCRIBE, Manners, ScriptedBroker, publish, subscribed
from tests.testbeds.probe import Probe


@pytest.mark.parametrize("v5", [True, False])
def test_paho_subscribes_hears_and_publishes(v5: bool) -> None:
    manners = Manners(after_subscribe=lambda peer: peer.send(publish("a/b", b"hello", 7, v5=v5)))
    with ScriptedBroker(manners) as broker, Probe(broker.port, "a/+", v5=v5) as probe:
        assert probe.wait_for("a/b")[0].payload == b"hello"
        probe.publish("c", "ping")
        peer = broker.wait_for_peer()
        assert peer.is_v5 == v5
        assert subscribed(peer.of(SUBSCRIBE)[0], v5=v5) == ["a/+"]
        assert [(one.topic, one.payload) for one in peer.publications()] == [("c", b"ping")]
        assert len(peer.of(PUBLISH)) == 1
        broker.wait_for(lambda: peer.acknowledged() == [7])
