"""Two real brokers with ``bridge.conf`` between them: what is sent while the uplink is down arrives after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.hardened import HardenedBroker, Keys, make_keys
from tests.deploy.visitor import Visitor
from tests.testbeds.waiting import eventually

BRANCH = "sites/site.madrid/"
MANY = 100


@dataclass
class Site:
    """A site's broker, the centre's, and the keys of each: two authorities."""

    centre: HardenedBroker
    site: HardenedBroker
    centre_keys: Keys
    site_keys: Keys

    def device(self) -> Visitor:
        return Visitor(
            self.site.port,
            "edge-agent/pi-1/in/+",
            "edge-agent/pi-1/cmd/+/+",
            keys=self.site_keys,
            certificate="pi-1",
            client_id="pi-1",
            session_seconds=600,
        )

    def program(self) -> Visitor:
        return Visitor(
            self.centre.port,
            f"{BRANCH}#",
            keys=self.centre_keys,
            certificate="app.central",
            client_id="central",
            session_seconds=600,
        )


@pytest.fixture(scope="module")
def both_keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Keys, Keys]:
    folder = tmp_path_factory.mktemp("authorities")
    centre = make_keys(folder / "centre", "site.madrid", "app.central")
    return centre, make_keys(folder / "site", "pi-1")


@pytest.fixture
def brokers(tmp_path: Path, both_keys: tuple[Keys, Keys]) -> Iterator[Site]:
    centre_keys, site_keys = both_keys
    centre = HardenedBroker(tmp_path / "centre", centre_keys)
    centre.allow(
        "user app.central", "topic write sites/+/edge-agent/+/in/+", "topic read sites/+/edge-agent/#",
        "topic readwrite sites/+/edge-agent/+/cmd/+/+",
    )  # fmt: skip
    local = {
        "broker.example.com:8883": f"localhost:{centre.port}",
        "restart_timeout 2 30": "restart_timeout 1",
    }
    site = HardenedBroker(
        tmp_path / "site", site_keys, files=("bridge.conf", "edge-agent.conf"), replacements=local
    )
    site.place("centre-ca.pem", centre_keys.ca.read_bytes())
    for name in ("site.madrid.pem", "site.madrid.key"):
        site.place(name, (centre_keys.folder / name).read_bytes())
    with centre, site:
        yield Site(centre, site, centre_keys, site_keys)


def wait_for_the_bridge(device: Visitor, program: Visitor) -> None:
    """Until a request has come down and an answer has gone up."""

    def is_there() -> bool:
        program.publish(f"{BRANCH}edge-agent/pi-1/in/home", "are you there")
        return bool(device.on("edge-agent/pi-1/in/home"))

    eventually(is_there, 30, "the bridge")
    device.publish("edge-agent/pi-1/out/home", "I am")
    program.wait_for(f"{BRANCH}edge-agent/pi-1/out/home")


def payloads(visitor: Visitor, topic: str, beginning: bytes) -> list[bytes]:
    return [message.payload for message in visitor.on(topic) if message.payload.startswith(beginning)]


def test_answers_given_while_the_uplink_is_down_reach_the_centre_after(brokers: Site) -> None:
    up = f"{BRANCH}edge-agent/pi-1/out/home"
    with brokers.device() as device, brokers.program() as program:
        wait_for_the_bridge(device, program)
        brokers.centre.stop()
        for number in range(MANY):
            assert device.publish("edge-agent/pi-1/out/home", f"answer {number}") == "Success"
        assert device.publish("edge-agent/pi-1/health", "newest", retain=True) == "Success"
        brokers.centre.start()
        program.wait_until(lambda message: message.payload == b"answer %d" % (MANY - 1))
        program.wait_until(lambda message: message.payload == b"newest")
        assert set(payloads(program, up, b"answer")) == {b"answer %d" % number for number in range(MANY)}


def test_requests_sent_while_the_uplink_is_down_reach_the_site_after(brokers: Site) -> None:
    with brokers.program() as program:
        with brokers.device() as device:
            wait_for_the_bridge(device, program)
        brokers.site.stop()
        for number in range(MANY):
            assert program.publish(f"{BRANCH}edge-agent/pi-1/in/home", f"late {number}") == "Success"
        brokers.site.start()
        with brokers.device() as device:
            device.wait_until(lambda message: message.payload == b"late %d" % (MANY - 1))
            found = payloads(device, "edge-agent/pi-1/in/home", b"late")
    assert found == [b"late %d" % number for number in range(MANY)]


def test_a_command_goes_down_and_its_state_comes_up_without_a_loop(brokers: Site) -> None:
    local, remote = "edge-agent/pi-1/cmd/self-test/1", f"{BRANCH}edge-agent/pi-1/cmd/self-test/1"
    with brokers.device() as device, brokers.program() as program:
        wait_for_the_bridge(device, program)
        program.publish(remote, '{"status":"init"}', retain=True)
        device.wait_for(local)
        device.publish(local, '{"status":"executing"}', retain=True)
        device.publish(local, '{"status":"successful"}', retain=True)
        program.wait_until(lambda message: b"successful" in message.payload)
        device.publish("edge-agent/pi-1/out/home", "marker")
        program.wait_until(lambda message: message.payload == b"marker")
        assert len(program.on(remote)) == 3
        assert len(device.on(local)) == 3


def test_the_site_keeps_its_own_requests_to_itself(brokers: Site) -> None:
    with brokers.device() as device, brokers.program() as program:
        wait_for_the_bridge(device, program)
        device.publish("edge-agent/pi-1/unrecognized/home", "a text")
        device.publish("edge-agent/pi-1/canary", "x")
        device.publish("edge-agent/pi-1/out/home", "marker")
        program.wait_until(lambda message: message.payload == b"marker")
        branches = {message.topic.removeprefix(BRANCH).split("/")[2] for message in program.heard}
        assert branches <= {"in", "out"}  # "in" is what the program itself asked


def test_a_centre_of_another_authority_gets_nothing(tmp_path: Path, brokers: Site) -> None:
    brokers.site.stop()
    brokers.site.place("centre-ca.pem", brokers.site_keys.ca.read_bytes())
    brokers.site.start()
    with brokers.device() as device, brokers.program() as program:
        device.publish("edge-agent/pi-1/out/home", "not for strangers")
        eventually(lambda: "certificate verify failed" in brokers.site.log_text(), 30)
        assert not program.on(f"{BRANCH}edge-agent/pi-1/out/home")
