"""Commands between a real requester, a real broker and the desk behind a real link."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from edge_agent.link.address import BrokerAddress
from edge_agent.link.client import Link
from edge_agent.link.protocol import ConnectOptions, Delivery, Retained, Subscription
from edge_agent.link.topics import Topics
from edge_agent.service.commands.desk import CommandDesk
from edge_agent.service.commands.policy import Clocks
from edge_agent.service.commands.store import CommandStore
from tests.service.commands.operations import Told
from tests.testbeds.broker import HOST, Amqtt, Mosquitto
from tests.testbeds.probe import Heard, Probe
from tests.testbeds.waiting import eventually

TOPICS = Topics("edge-agent", "pi")
INIT = {"status": "init"}
Broker = Mosquitto | Amqtt


def cmd(command_id: str, operation: str = "work") -> str:
    return f"{TOPICS.root}/cmd/{operation}/{command_id}"


class Device:
    """A link with nothing but a desk behind it."""

    def __init__(self, folder: Path, port: int, work: Told) -> None:
        folder.mkdir(exist_ok=True)
        self.link = Link(
            BrokerAddress(HOST, port),
            ConnectOptions("edge-agent-pi", session_expiry_seconds=600),
            (
                Subscription(TOPICS.commands, no_local=True, retained=Retained.ALWAYS),
                Subscription(TOPICS.wishes, retained=Retained.NEVER),
            ),
            self,
            reconnect_max_seconds=1.0,
        )
        self.desk = CommandDesk(self.link, TOPICS, CommandStore(folder), {"work": work}, Clocks(lambda: True))

    def on_delivery(self, delivery: Delivery) -> None:
        self.desk.on_delivery(delivery)

    def on_link_change(self) -> None:
        pass

    def __enter__(self) -> Device:
        self.desk.start()
        self.link.start()
        eventually(lambda: self.link.status().connected_seconds is not None, 20, "the link")
        return self

    def __exit__(self, *_: object) -> None:
        self.desk.stop(20)
        self.link.leave(None, 10)


@pytest.fixture
def old_broker(tmp_path: Path) -> Iterator[Amqtt]:
    with Amqtt(tmp_path / "amqtt") as running:
        assert isinstance(running, Amqtt)
        yield running


@pytest.fixture(params=[5, 3])
def any_broker(request: pytest.FixtureRequest) -> Broker:
    name = "broker" if request.param == 5 else "old_broker"
    found: Broker = request.getfixturevalue(name)
    return found


def requester(broker: Broker, *filters: str) -> Probe:
    return Probe(broker.port, *filters, v5=isinstance(broker, Mosquitto))


def final(heard: Heard) -> bool:
    return bool(heard.payload) and heard.json.get("status") in ("successful", "failed")


def retained_at(broker: Broker, topic: str) -> dict[str, Heard]:
    """What a newcomer finds, by topic; a message of its own behind it marks the end."""
    with requester(broker, topic, "probe/end") as newcomer:
        newcomer.publish("probe/end", b"x")
        newcomer.wait_for("probe/end")
        return {heard.topic: heard for heard in newcomer.heard if heard.topic != "probe/end"}


def states(probe: Probe, topic: str) -> list[Any]:
    """The states as they followed; amqtt brings what it retains twice."""
    told = [heard.json["status"] if heard.payload else None for heard in probe.on(topic)]
    return [state for state, _ in groupby(told)]


def test_a_command_that_waited_at_the_broker_is_executed_told_and_cleared(
    tmp_path: Path, any_broker: Broker
) -> None:
    work = Told()
    with requester(any_broker, cmd("1")) as probe:
        probe.publish(cmd("1"), {**INIT, "depth": 2}, retain=True)
        with Device(tmp_path / "state", any_broker.port, work) as device:
            end = probe.wait_until(final)
            assert end.json["result"] == {"done": True}
            assert retained_at(any_broker, cmd("1"))[cmd("1")].json == end.json
            probe.publish(cmd("1"), b"", retain=True)
            probe.publish(f"{TOPICS.root}/request/work", b"PRESS")
            eventually(lambda: len(work.runs) == 2)
        assert states(probe, cmd("1")) == ["init", "executing", "successful", None]
    with Device(tmp_path / "state", any_broker.port, work):
        assert cmd("1") not in retained_at(any_broker, cmd("1"))
        assert device.desk.operations == ("work",)
    assert work.runs == [{"depth": 2}, {}]


def test_a_wish_is_told_on_a_topic_of_its_own_and_the_next_one_replaces_it(
    tmp_path: Path, any_broker: Broker
) -> None:
    with (
        requester(any_broker, cmd("+")) as probe,
        Device(tmp_path / "state", any_broker.port, Told()),
    ):
        ends: list[Heard] = []
        for _ in range(2):
            probe.publish(f"{TOPICS.root}/request/work", b"")
            ends.append(
                probe.wait_until(lambda heard: final(heard) and heard.topic not in [e.topic for e in ends])
            )
        probe.wait_until(lambda heard: heard.topic == ends[0].topic and not heard.payload)
        assert list(retained_at(any_broker, cmd("+"))) == [ends[1].topic]


def test_a_replay_in_the_next_life_runs_nothing_and_says_what_came_of_it(
    tmp_path: Path, any_broker: Broker
) -> None:
    work = Told()
    with requester(any_broker, cmd("1")) as probe:
        with Device(tmp_path / "state", any_broker.port, work):
            probe.publish(cmd("1"), INIT, retain=True)
            first = probe.wait_until(final)
        probe.publish(cmd("1"), INIT, retain=True)
        probe.forget()
        with Device(tmp_path / "state", any_broker.port, work):
            assert probe.wait_until(final).json == first.json
    assert len(work.runs) == 1


def test_a_command_that_ends_while_the_broker_is_away_is_told_when_it_is_back(
    tmp_path: Path, broker: Mosquitto
) -> None:
    gate = Event()
    work = Told(gate=gate)
    with Device(tmp_path / "state", broker.port, work) as device:
        with requester(broker) as probe:
            probe.publish(cmd("1"), INIT, retain=True)
            assert work.running.wait(20)
        broker.stop()
        gate.set()
        eventually(lambda: device.link.status().connected_seconds is None)
        broker.start()
        with requester(broker, cmd("1")) as probe:
            assert probe.wait_until(final, 20).json["status"] == "successful"
    assert len(work.runs) == 1
