"""Topics, response topics, addresses and pauses: the pure rules of the link."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import SettingsError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.backoff import failures_after, pause_seconds
from edge_agent.link.topics import Topics, response_topic_fault
from edge_agent.settings import MqttSettings

TOPICS = Topics("edge-agent", "pi")


def test_topics_stand_under_base_and_device() -> None:
    assert TOPICS.requests == "edge-agent/pi/in/+"
    assert TOPICS.request("home") == "edge-agent/pi/in/home"
    assert TOPICS.result("home") == "edge-agent/pi/out/home"
    assert (TOPICS.status, TOPICS.health, TOPICS.info) == (
        "edge-agent/pi/status",
        "edge-agent/pi/health",
        "edge-agent/pi/info",
    )


@given(st.text(alphabet=st.characters(blacklist_characters="/+#\x00"), max_size=20))
def test_the_model_of_a_request_topic_is_read_back(model: str) -> None:
    assert TOPICS.model_of(TOPICS.request(model)) == model


def test_a_base_of_several_levels_works() -> None:
    topics = Topics("a/b", "pi")
    assert topics.model_of("a/b/pi/in/home") == "home"
    assert response_topic_fault("a/b/pi/out/x", "a/b") is None
    assert response_topic_fault("a/b/pi/cmd/x", "a/b") is not None


@pytest.mark.parametrize(
    "topic", ["x", "replies/1", "edge-agent/pi/out/home", "edge-agent/pi/out/home/me", "edge-agents/x", "/x"]
)
def test_these_response_topics_are_allowed(topic: str) -> None:
    assert response_topic_fault(topic, "edge-agent") is None


@pytest.mark.parametrize(
    "topic",
    ["", "a/+", "#", "a\x00b", "$SYS/x", "$share/g/x", "homeassistant", "homeassistant/light/x/config",
     "edge-agent", "edge-agent/pi", "edge-agent/pi/out", "edge-agent/pi/in/home", "edge-agent/pi/status",
     "edge-agent//out/x", "edge-agent/out/x/y", "x" * 70_000],
)  # fmt: skip
def test_these_response_topics_are_refused(topic: str) -> None:
    assert response_topic_fault(topic, "edge-agent") is not None


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("localhost", BrokerAddress("localhost")),
        ("pi:1884", BrokerAddress("pi", 1884)),
        ("mqtt://u:p%40ss@pi", BrokerAddress("pi", username="u", password="p@ss")),
        ("mqtts://pi", BrokerAddress("pi", 8883, tls=True)),
        ("ws://pi/x", BrokerAddress("pi", 80, transport="websockets", websocket_path="/x")),
        ("wss://pi:9", BrokerAddress("pi", 9, transport="websockets", tls=True)),
        ("unix:///run/mosquitto.sock", BrokerAddress("/run/mosquitto.sock", transport="unix")),
        ("mqtt://[::1]:1883", BrokerAddress("::1")),
    ],
)
def test_broker_urls_are_read(url: str, address: BrokerAddress) -> None:
    assert BrokerAddress.from_url(url) == address


@pytest.mark.parametrize("url", ["", "http://pi", "mqtt://", "mqtt://pi:99999", "mqtt://pi:x"])
def test_other_addresses_are_refused_with_a_hint(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        BrokerAddress.from_url(url)
    assert caught.value.hint


def test_an_address_never_shows_its_password() -> None:
    address = BrokerAddress.from_settings(MqttSettings(host="pi", username="u"), "hunter2")
    assert address.password == "hunter2"
    assert "hunter2" not in f"{address} {address!r}"


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_below_the_cap_and_never_negative(attempt: int, fraction: float) -> None:
    assert 0 <= pause_seconds(attempt, base=1.0, cap=30.0, fraction=fraction) <= 30.0


def test_pauses_double_up_to_the_cap() -> None:
    pauses = [pause_seconds(attempt, base=1.0, cap=30.0, fraction=0.5) for attempt in range(7)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_only_a_link_that_lasted_forgets_failures() -> None:
    assert failures_after(3, lasted_seconds=0.5) == 4
    assert failures_after(3, lasted_seconds=60.0) == 0
