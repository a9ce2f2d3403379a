from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from edge_agent.errors import BrokerError, SettingsError
from edge_agent.link.listener import TopicListener
from edge_agent.link.protocol import Incoming
from tests.testbeds.broker import HOST, Amqtt, Mosquitto, free_port
from tests.testbeds.probe import Probe

FILTERS = ("base/+/status", "base/+/health")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def heard_until(listener: TopicListener, payload: bytes, within_seconds: float = 30.0) -> list[Incoming]:
    """What is heard up to this payload."""
    heard: list[Incoming] = []
    deadline = monotonic() + within_seconds
    while payload not in {message.payload for message in heard}:
        assert monotonic() < deadline, (heard, listener.fault)
        heard += listener.hear(0.2)
    return heard


def test_it_hears_what_is_retained_and_what_is_said_then_and_nothing_else(broker: Mosquitto) -> None:
    with Probe(broker.port) as probe:
        probe.publish("base/pi/status", "online", retain=True)
        probe.publish("base/pi/out/home", "a sentence", retain=True)
        with TopicListener.connect(broker.url, FILTERS) as listener:
            probe.publish("base/pi/health", "{}")
            heard = heard_until(listener, b"{}")
    assert [(message.topic, message.retain) for message in heard] == [
        ("base/pi/status", True),
        ("base/pi/health", False),
    ]


def test_more_messages_than_a_broker_has_in_flight_all_arrive(broker: Mosquitto) -> None:
    with Probe(broker.port) as probe:
        for number in range(100):
            probe.publish(f"base/pi{number}/status", "online", retain=True)
        with TopicListener.connect(broker.url, FILTERS) as listener:
            probe.publish("base/last/health", "end")
            heard = heard_until(listener, b"end")
    assert len({message.topic for message in heard}) == 101


def test_a_broker_that_is_away_at_the_start_is_an_error() -> None:
    with pytest.raises(BrokerError, match="cannot reach"):
        TopicListener.connect(f"mqtt://{HOST}:{free_port()}", FILTERS)


def test_a_filter_that_is_none_is_an_error_before_anything_is_sent() -> None:
    with pytest.raises(SettingsError):
        TopicListener.connect(f"mqtt://{HOST}:{free_port()}", ("base/#/status",))


def test_a_wrong_password_is_an_error(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", users={"ann": "right"}) as broker:
        with pytest.raises(BrokerError, match="refused"):
            TopicListener.connect(f"mqtt://ann:wrong@{HOST}:{broker.port}", FILTERS)
        TopicListener.connect(f"mqtt://ann:right@{HOST}:{broker.port}", FILTERS).close()


def test_while_the_broker_is_away_it_says_so_and_comes_back_when_it_is_there(broker: Mosquitto) -> None:
    with TopicListener.connect(broker.url, FILTERS, timeout=2.0) as listener:
        broker.stop()
        deadline = monotonic() + 30
        while listener.fault is None:
            assert monotonic() < deadline
            assert listener.hear(0.2) == []
        broker.start()
        with Probe(broker.port) as probe:
            probe.publish("base/pi/status", "online", retain=True)
            assert [message.topic for message in heard_until(listener, b"online")] == ["base/pi/status"]
            assert listener.fault is None


def test_a_broker_of_the_older_protocol_is_understood(tmp_path: Path) -> None:
    with (
        Amqtt(tmp_path / "broker") as broker,
        Probe(broker.port, v5=False) as probe,
        TopicListener.connect(broker.url, FILTERS) as listener,
    ):
        probe.publish("base/pi/status", "online")
        heard_until(listener, b"online")
