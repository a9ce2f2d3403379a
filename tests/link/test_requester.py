"""The requester against a device that is played by a probe: both protocols, several answers on their way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.errors import BrokerError
from edge_agent.link.requester import Requester
from tests.testbeds.broker import HOST, Amqtt, Mosquitto


class EchoDevice:
    """Answers each request with its text; keeps silent on the model ``mute``."""

    def __init__(self, port: int, *, v5: bool) -> None:
        self._subscribed = Event()
        self._v5 = v5
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5 if v5 else mqtt.MQTTv311)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(HOST, port)
        self._client.loop_start()
        self._client.subscribe("edge-agent/pi/in/+", 1)
        assert self._subscribed.wait(10)
        self._client.publish(
            "edge-agent/pi/info", json.dumps({"models": {"home": {}}}), 1, True
        ).wait_for_publish(10)

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        model = message.topic.rsplit("/", 1)[1]
        if model == "mute":
            return
        request = json.loads(message.payload)
        answer = json.dumps({"id": request.get("id"), "echo": request["text"]})
        properties: Any = message.properties
        topic = getattr(properties, "ResponseTopic", f"edge-agent/pi/out/{model}")
        reply: Any = None
        if self._v5:
            reply = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            reply.CorrelationData = properties.CorrelationData
        self._client.publish(topic, answer, 1, properties=reply)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(params=[5, 4], ids=["MQTT 5", "MQTT 3.1.1"])
def requester(request: pytest.FixtureRequest) -> Iterator[Requester]:
    name = "broker" if request.param == 5 else "old_broker"
    broker: Mosquitto | Amqtt = request.getfixturevalue(name)
    device = EchoDevice(broker.port, v5=request.param == 5)
    with Requester.connect(broker.url) as connected:
        assert connected.protocol == request.param
        yield connected
    device.close()


def test_a_request_is_answered(requester: Requester) -> None:
    assert requester.request("home", "pi", "hola")["echo"] == "hola"
    assert requester.request("home", "pi", {"text": "adiós", "id": "mine"}) == {"id": "mine", "echo": "adiós"}
    assert requester.request("home", "pi", b'{"text": "raw", "id": "r"}')["echo"] == "raw"


def test_a_device_is_found_when_none_is_named(requester: Requester) -> None:
    assert list(requester.devices(timeout=5.0)) == ["pi"]
    assert requester.request("home", None, "hola")["echo"] == "hola"


def test_a_model_that_nobody_serves_is_said_at_once(requester: Requester) -> None:
    with pytest.raises(
        BrokerError, match=r"no device on this broker serves the model nope; these answer: pi"
    ):
        requester.request("nope", None, "hola")


def test_several_requests_may_be_on_their_way_and_are_collected_in_any_order(requester: Requester) -> None:
    tokens = [requester.submit("home", "pi", str(number)) for number in range(10)]
    answers = [requester.collect(token)["echo"] for token in reversed(tokens)]
    assert answers == [str(number) for number in reversed(range(10))]


def test_silence_is_an_error_with_a_hint(requester: Requester) -> None:
    with pytest.raises(BrokerError, match="no answer in time") as caught:
        requester.request("mute", "pi", "hola", timeout=0.2)
    assert caught.value.hint
    assert requester.request("home", "pi", "still there")["echo"] == "still there"


def test_a_lost_broker_is_an_error(broker: Mosquitto) -> None:
    with Requester.connect(broker.url) as requester:
        stopping = Thread(target=broker.stop)
        stopping.start()
        with pytest.raises(BrokerError):
            requester.request("home", "pi", "hola", timeout=10)
        stopping.join()


def test_a_broker_without_devices_is_said(broker: Mosquitto) -> None:
    with Requester.connect(broker.url) as requester:
        assert requester.devices(timeout=0.1) == {}
        with pytest.raises(BrokerError, match="no device on this broker") as caught:
            requester.request("home", None, "hola", timeout=0.3)
    assert caught.value.hint is not None
    assert "--device" in caught.value.hint
