"""Who may do what at the shipped broker: devices, applications, operators, strangers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator

import pytest

from tests.deploy.hardened import PASSWORD, HardenedBroker, Keys
from tests.deploy.visitor import Visitor
from tests.testbeds.broker import HOST

OWN_WRITES = (
    "out/home", "out/home/somebody", "out/app.crm/1", "status", "health", "info", "power", "model/home",
    "unrecognized/home", "cmd/self-test/1", "canary", "in/home",
)  # fmt: skip
ELSEWHERE = (
    "edge-agent/pi-1/request/restart", "edge-agent/pi-1", "edge-agent/pi-1/x",
    "homeassistant/device/pi-2/config", "homeassistant/status", "homeassistant/sensor/x/config",
    "shop/1/reviews", "sites/site.madrid/edge-agent/pi-1/status", "$SYS/broker/log/N",
)  # fmt: skip
OWN_READS = ("in/home", "request/self-test", "cmd/self-test/2", "canary")


@pytest.fixture
def device(broker: HardenedBroker, keys: Keys) -> Iterator[Visitor]:
    with Visitor(broker.port, "#", keys=keys, certificate="pi-1") as connected:
        yield connected


@pytest.fixture
def crm(broker: HardenedBroker, keys: Keys) -> Iterator[Visitor]:
    with Visitor(broker.port, "#", keys=keys, certificate="app.crm") as connected:
        yield connected


def says_it_is_here(visitor: Visitor, topic: str) -> None:
    """Publishes to itself, so that whatever was sent before must have been delivered, too."""
    assert visitor.publish(topic, "marker") == "Success"
    visitor.wait_for(topic)


def said_to(visitor: Visitor, root: str, branches: Iterable[str]) -> dict[str, str]:
    """What the broker said to a publication on each branch, where it was no success."""
    said = {branch: visitor.publish(f"{root}{branch}", "x") for branch in branches}
    return {branch: reason for branch, reason in said.items() if reason != "Success"}


def test_a_device_writes_its_own_tree(device: Visitor) -> None:
    assert said_to(device, "edge-agent/pi-1/", OWN_WRITES) == {}


def test_a_device_cannot_write_anothers_tree(device: Visitor) -> None:
    branches = (*OWN_WRITES, "request/restart")
    assert said_to(device, "edge-agent/pi-2/", branches) == dict.fromkeys(branches, "Not authorized")


def test_a_device_writes_nowhere_else(device: Visitor) -> None:
    assert said_to(device, "", ELSEWHERE) == dict.fromkeys(ELSEWHERE, "Not authorized")


def test_a_device_announces_itself_to_home_assistant_under_its_own_name(device: Visitor) -> None:
    assert device.publish("homeassistant/device/pi-1/config", "{}") == "Success"


def test_a_device_hears_its_own_requests_and_commands_and_nobody_elses(
    broker: HardenedBroker, keys: Keys, device: Visitor, crm: Visitor
) -> None:
    with Visitor(broker.port, keys=keys, certificate="operator.anna") as operator:
        assert crm.publish("edge-agent/pi-2/in/home", "a secret of pi-2") == "Success"
        assert operator.publish("edge-agent/pi-2/cmd/restart/1", '{"status":"init"}') == "Success"
        assert operator.publish("edge-agent/pi-1/cmd/self-test/9", '{"status":"init"}') == "Success"
    assert crm.publish("edge-agent/pi-1/in/home", "hello") == "Success"
    device.wait_for("edge-agent/pi-1/in/home")
    says_it_is_here(device, "edge-agent/pi-1/canary")
    branches = {message.topic.removeprefix("edge-agent/pi-1/") for message in device.heard}
    assert branches <= {*OWN_READS, "cmd/self-test/9", "cmd/self-test/1"}


def test_a_program_reads_its_own_answers_and_not_those_of_others(
    broker: HardenedBroker, keys: Keys, device: Visitor, crm: Visitor
) -> None:
    for topic in ("out/app.other/1", "out/home", "out/home/somebody", "health", "unrecognized/home"):
        assert device.publish(f"edge-agent/pi-1/{topic}", "not for crm") == "Success"
    assert device.publish("edge-agent/pi-1/out/app.crm/1", "for crm") == "Success"
    assert crm.wait_for("edge-agent/pi-1/out/app.crm/1")[-1].payload == b"for crm"
    assert not [message for message in crm.heard if message.payload == b"not for crm"]


def test_a_program_asks_and_does_nothing_else(crm: Visitor) -> None:
    branches = ("out/home", "status", "health", "info", "cmd/restart/1", "request/restart", "canary")
    assert said_to(crm, "edge-agent/pi-1/", branches) == dict.fromkeys(branches, "Not authorized")


def test_a_program_without_a_line_in_the_acl_does_nothing(broker: HardenedBroker, keys: Keys) -> None:
    with Visitor(broker.port, keys=keys, certificate="app.other") as other:
        assert other.publish("edge-agent/pi-1/in/home", "x") == "Not authorized"


def test_an_operator_gives_commands_and_sees_no_text(
    broker: HardenedBroker, keys: Keys, device: Visitor, crm: Visitor
) -> None:
    with Visitor(broker.port, "#", keys=keys, certificate="operator.anna") as operator:
        assert crm.publish("edge-agent/pi-1/in/home", "a text") == "Success"
        assert device.publish("edge-agent/pi-1/out/home", "an answer") == "Success"
        assert device.publish("edge-agent/pi-1/unrecognized/home", "a text") == "Success"
        assert operator.publish("edge-agent/pi-1/cmd/diagnostics/1", '{"status":"init"}') == "Success"
        assert operator.publish("edge-agent/pi-1/in/home", "x") == "Not authorized"
        assert device.publish("edge-agent/pi-1/health", "marker") == "Success"
        operator.wait_until(lambda message: message.payload == b"marker")
        assert not {"in", "out", "unrecognized"} & {
            m.topic.split("/")[2] for m in operator.heard if "/" in m.topic
        }


def test_an_answer_to_edge_agent_send_is_seen_by_that_connection_alone(
    broker: HardenedBroker, keys: Keys, device: Visitor, crm: Visitor
) -> None:
    with Visitor(
        broker.port, "#", keys=keys, certificate="app.crm", client_id="edge-agent-requester-1"
    ) as sender:
        topic = "edge-agent/pi-1/out/home/edge-agent-requester-1"
        assert device.publish(topic, "an answer") == "Success"
        sender.wait_for(topic)
        says_nothing_of(crm, topic, broker, keys)


def says_nothing_of(crm: Visitor, topic: str, broker: HardenedBroker, keys: Keys) -> None:
    with Visitor(broker.port, keys=keys, certificate="pi-1") as device:
        device.publish("edge-agent/pi-1/out/app.crm/marker", "marker")
    crm.wait_for("edge-agent/pi-1/out/app.crm/marker")
    assert not crm.on(topic)


def test_a_client_id_with_wildcards_opens_nothing(
    broker: HardenedBroker, keys: Keys, device: Visitor
) -> None:
    for name in ("#", "+"):
        with Visitor(broker.port, "#", keys=keys, certificate="app.crm", client_id=name) as sender:
            assert device.publish("edge-agent/pi-1/out/home/somebody", "not for you") == "Success"
            assert sender.publish("edge-agent/pi-1/in/home", "x") in ("Success", "Not authorized")
            assert not sender.on("edge-agent/pi-1/out/home/somebody")


def test_a_device_under_anothers_client_id_gets_nothing_that_waits_for_it(
    broker: HardenedBroker, keys: Keys, crm: Visitor
) -> None:
    name = "edge-agent-pi-2"
    with Visitor(
        broker.port,
        "edge-agent/pi-2/in/+",
        keys=keys,
        certificate="pi-2",
        client_id=name,
        session_seconds=600,
    ):
        pass
    assert crm.publish("edge-agent/pi-2/in/home", "a secret of pi-2") == "Success"
    with Visitor(broker.port, keys=keys, certificate="pi-1", client_id=name, session_seconds=600) as thief:
        assert thief.session_present
        thief.subscribe("edge-agent/pi-1/canary")
        says_it_is_here(thief, "edge-agent/pi-1/canary")
        assert not thief.on("edge-agent/pi-2/in/home")


def mosquitto_pub(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["mosquitto_pub", "-h", HOST, "-V", "5", "-q", "1", "-t", "edge-agent/pi-1/status", "-m", "x"]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_stranger_without_a_certificate_is_refused(broker: HardenedBroker, keys: Keys) -> None:
    assert mosquitto_pub("-p", broker.port, "--cafile", keys.ca).returncode != 0
    with_password = ("-u", "pi-3", "-P", PASSWORD)
    assert mosquitto_pub("-p", broker.port, "--cafile", keys.ca, *with_password).returncode != 0


def test_a_password_lets_in_where_there_is_one_and_nobody_else(broker: HardenedBroker, keys: Keys) -> None:
    by_tls = ("-p", broker.password_port, "--cafile", keys.ca)
    for address in (by_tls, ("-p", broker.plain_port)):
        assert mosquitto_pub(*address).returncode != 0
        assert mosquitto_pub(*address, "-u", "pi-3", "-P", "wrong").returncode != 0
        assert mosquitto_pub(*address, "-u", "pi-4", "-P", PASSWORD).returncode != 0
        assert mosquitto_pub(*address, "-u", "pi-3", "-P", PASSWORD).returncode == 0


def test_a_device_with_a_password_has_the_same_rights(broker: HardenedBroker, keys: Keys) -> None:
    with Visitor(broker.password_port, keys=keys, user=("pi-3", PASSWORD)) as device:
        assert device.publish("edge-agent/pi-3/status", "online") == "Success"
        assert device.publish("edge-agent/pi-1/status", "online") == "Not authorized"
