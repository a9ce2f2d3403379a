"""What calls itself a device may say anything: whoever asks it gets an answer or an error of ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_agent.errors import BrokerError
from edge_agent.link.requester import Requester
from tests.fuzz.inputs import Inputs
from tests.testbeds.broker import Mosquitto
from tests.testbeds.probe import Probe

INFOS = (
    b"", b"null", b"[]", b"{}", b'{"models": 5}', b'{"models": null}', b'{"models": ["home"]}',
    b'{"models": "home"}', b"\xff", b"{", b"[" * 5000, b"1" * 5000, b'{"models": {"home": 1}}',
)  # fmt: skip


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("requester") / "broker") as running:
        assert isinstance(running, Mosquitto)
        yield running


def test_no_introduction_of_a_device_breaks_the_search_for_one(broker: Mosquitto) -> None:
    with Probe(broker.port) as devices:
        for number, info in enumerate(INFOS):
            devices.publish(f"edge-agent/d{number}/info", info, retain=True)
        with Requester.connect(broker.url) as requester:
            assert f"d{len(INFOS) - 1}" in requester.devices(timeout=10.0)
            token = requester.submit("home", requester._find("home", 5.0), "hola")
            with pytest.raises(BrokerError, match="no answer in time"):
                requester.collect(token, 0.1)


def test_no_answer_breaks_who_asked(broker: Mosquitto) -> None:
    stream = Inputs(5)
    with Requester.connect(broker.url) as requester, Probe(broker.port, "edge-agent/pi/in/home") as device:
        token = requester.submit("home", "pi", "hola")
        device.wait_for("edge-agent/pi/in/home")
        response = f"edge-agent/pi/out/home/{requester._name}"
        for number in range(100):
            device.publish(response, stream.payload(), correlation=b"%d\xff" % number, wait=False)
        device.publish(response, b'{"id": "last"}', correlation=token.encode())
        assert requester.collect(token, 20.0) == {"id": "last"}
