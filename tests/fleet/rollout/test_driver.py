"""A rollout over a real broker to devices with real MQTT sessions, driven in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from time import time

import pytest

from edge_agent.errors import BrokerError, SettingsError
from edge_agent.fleet.rollout.driver import Driver, Event, halted, new_id, resumed, sent_back
from edge_agent.fleet.rollout.rollout_state import Phase, Rollout, Standing, Terms, begin
from edge_agent.fleet.rollout.state_file import DrivenError, StateFile
from edge_agent.fleet.rollout.waves import Amount, parse_waves, sizes
from edge_agent.link.address import BrokerAddress
from tests.fleet.rollout.mqtt_device import MqttDevice
from tests.testbeds.broker import Mosquitto, free_port
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually

DEADLINE_SECONDS = 60.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@dataclass
class Desk:
    """An operator's place: the state file, and what he was told."""

    broker: Mosquitto
    file: StateFile
    events: list[Event] = field(default_factory=list)
    driver: Driver | None = None

    def begin(self, names: list[str], waves: str = "1,100%", **terms: object) -> Rollout:
        """Writes a rollout to these devices, the canary first."""
        ordered = Terms(
            id=new_id(time()),
            model="home",
            version="1.2.0",
            group="kitchens",
            broker=self.broker.url,
            base_topic="edge-agent",
            sizes=sizes(parse_waves(waves), len(names)),
            max_failures=Amount.parse("2%"),
            soak_seconds=0.0,
            deadline_seconds=DEADLINE_SECONDS,
            created_at=time(),
        )
        rollout = begin(replace(ordered, **terms), tuple(names), {})  # type: ignore[arg-type]
        self.file.write(rollout)
        return rollout

    def run(self, change: Callable[[Rollout], Rollout] = lambda rollout: rollout) -> Rollout:
        with self.file.driving():
            self.file.write(change(self.file.read()))
            address = BrokerAddress.from_url(self.broker.url)
            self.driver = Driver(self.file.read(), self.file, address, self, quiet_seconds=0.3)
            return self.driver.run()

    @contextmanager
    def running(self) -> Iterator[Thread]:
        """Beside the test; stopped at its end."""
        thread = Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield thread
        finally:
            if self.driver is not None:
                self.driver.stop()
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()

    def wait_for(self, device: str | None, word: str) -> None:
        eventually(
            lambda: any(event.word == word and event.device == device for event in self.events),
            DEADLINE_SECONDS,
            f"{device} {word}",
        )

    def standings(self) -> dict[str, Standing]:
        return {name: member.standing for name, member in self.file.read().members.items()}

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_tick(self, rollout: Rollout, now: float) -> None:
        pass


@pytest.fixture
def desk(broker: Mosquitto, tmp_path: Path) -> Desk:
    return Desk(broker, StateFile(tmp_path / "rollout.json"))


@contextmanager
def devices(broker: Mosquitto, *devices: MqttDevice) -> Iterator[None]:
    with ExitStack() as stack:
        for device in devices:
            stack.enter_context(device)
        yield


def made(broker: Mosquitto, prefix: str, *endings: str) -> list[MqttDevice]:
    return [MqttDevice(broker.port, f"{prefix}-{n}", ending=end) for n, end in enumerate(endings)]


def on_the_broker(broker: Mosquitto, name: str) -> list[str]:
    """Topics of commands that the broker retains for a device."""
    with Probe(broker.port, f"edge-agent/{name}/cmd/+/+", f"edge-agent/{name}/status") as probe:
        probe.publish(f"edge-agent/{name}/status", "online")
        probe.wait_until(lambda heard: heard.topic.endswith("/status") and not heard.retain)
        return [heard.topic for heard in probe.heard if "/cmd/" in heard.topic]


def test_all_devices_get_it_wave_by_wave_and_no_command_is_left(broker: Mosquitto, desk: Desk) -> None:
    fleet = made(broker, "happy", *["kept"] * 4)
    with devices(broker, *fleet):
        desk.begin([device.name for device in fleet], "1,2,100%")
        rollout = desk.run()
    assert rollout.phase is Phase.COMPLETE
    assert set(desk.standings().values()) == {Standing.UPDATED}
    assert [device.installed for device in fleet] == ["1.2.0"] * 4
    told = [event.device for event in desk.events if event.word == "asked"]
    assert told[:1] == ["happy-0"]
    assert [len(device.inits) for device in fleet] == [1] * 4
    assert on_the_broker(broker, "happy-3") == []
    assert desk.file.read() == rollout


def test_a_bad_canary_halts_it_and_nobody_else_hears_of_it(broker: Mosquitto, desk: Desk) -> None:
    fleet = made(broker, "bad", "failed", "kept", "kept")
    with devices(broker, *fleet):
        desk.begin([device.name for device in fleet])
        rollout = desk.run()
    assert rollout.phase is Phase.HALTED
    assert rollout.members["bad-0"].reason == "failed_its_proof: golden sentence 3"
    assert [len(device.inits) for device in fleet] == [1, 0, 0]


def test_a_halt_takes_back_the_command_of_a_device_that_is_off(broker: Mosquitto, desk: Desk) -> None:
    good, bad, off = fleet = made(broker, "halt", "kept", "held", "kept")
    with devices(broker, good, bad):
        off.start().stop()
        desk.begin([device.name for device in fleet], "1,100%")
        with desk.running():
            desk.wait_for("halt-1", "executing")
            eventually(lambda: on_the_broker(broker, "halt-2"), DEADLINE_SECONDS, "the command for halt-2")
            bad.release("failed")
            desk.wait_for(None, "halted")
        assert on_the_broker(broker, "halt-2") == []
        with off:
            with Probe(broker.port) as probe:  # a marker on the same topics, so that all before it has come
                probe.publish("edge-agent/halt-2/cmd/model-update/marker", {"status": "init", "version": "0"})
            eventually(lambda: off.inits, DEADLINE_SECONDS, "the marker")
        assert off.inits == ["marker"]
    assert desk.standings() == {
        "halt-0": Standing.UPDATED,
        "halt-1": Standing.FAILED,
        "halt-2": Standing.WITHDRAWN,
    }


def test_a_device_that_is_off_gets_it_when_it_returns_and_a_later_look_reads_its_result(
    broker: Mosquitto, desk: Desk
) -> None:
    good, off = fleet = made(broker, "off", "kept", "kept")
    with devices(broker, good):
        desk.begin([device.name for device in fleet], "100%", deadline_seconds=0.5)
        rollout = desk.run()
        assert rollout.phase is Phase.COMPLETE
        assert rollout.members["off-1"].standing is Standing.UNREACHABLE
        assert rollout.members["off-1"].since is not None
        with off:
            eventually(lambda: off.installed == "1.2.0", DEADLINE_SECONDS, "the update")
        desk.run()
    assert desk.standings()["off-1"] is Standing.UPDATED
    assert on_the_broker(broker, "off-1") == []


def test_only_the_devices_that_took_it_go_back(broker: Mosquitto, desk: Desk) -> None:
    took, failed, had = fleet = made(broker, "back", "kept", "failed", "kept")
    had.installed = "1.2.0"
    with devices(broker, *fleet):
        desk.begin([device.name for device in fleet], "100%", max_failures=Amount.parse("1"))
        assert desk.run().phase is Phase.COMPLETE
        rollout = desk.run(lambda before: sent_back(before, None))
    assert rollout.phase is Phase.ROLLED_BACK
    assert [took.installed, failed.installed, had.installed] == ["1.0.0", "1.0.0", "1.2.0"]
    assert [len(device.begun) for device in fleet] == [2, 1, 0]
    assert desk.standings()["back-0"] is Standing.RETURNED


def test_a_device_that_turns_back_by_itself_while_it_soaks_halts_it(broker: Mosquitto, desk: Desk) -> None:
    canary, other = fleet = made(broker, "soak", "kept", "kept")
    with devices(broker, *fleet):
        desk.begin([device.name for device in fleet], soak_seconds=3600.0)
        with desk.running():
            desk.wait_for(None, "3600")
            canary.turn_back("1.0.0")
            desk.wait_for(None, "halted")
    reason = desk.file.read().members["soak-0"].reason
    assert reason == "serves 1.0.0 afterwards (unhealthy_while_watched: too slow)"
    assert other.inits == []


def test_a_liar_a_mute_and_a_hanging_device_end_with_their_reasons(broker: Mosquitto, desk: Desk) -> None:
    fleet = made(broker, "ends", "kept", "liar", "deaf", "hang")
    with devices(broker, *fleet):
        names = [device.name for device in fleet]
        desk.begin(names, "100%", deadline_seconds=1.0, max_failures=Amount.parse("3"))
        assert desk.run().phase is Phase.COMPLETE
        members = desk.file.read().members
        assert members["ends-1"].reason == "successful, but the device says that it serves 1.0.0"
        assert members["ends-2"].standing is Standing.UNREACHABLE
        assert members["ends-3"].reason == "did not end within 1 s (it says kept)"
        desk.run(halted)


def test_a_pause_asked_by_another_process_is_obeyed_and_then_it_goes_on(
    broker: Mosquitto, desk: Desk
) -> None:
    fleet = made(broker, "pause", "held", "kept")
    with devices(broker, *fleet):
        desk.begin([device.name for device in fleet])
        with desk.running() as thread:
            desk.wait_for("pause-0", "executing")
            with pytest.raises(DrivenError, match="drives this rollout already"), desk.file.driving():
                pass
            desk.file.ask("pause")
            thread.join(DEADLINE_SECONDS)
        assert desk.file.read().phase is Phase.PAUSED
        fleet[0].release()
        assert desk.run(resumed).phase is Phase.COMPLETE
    assert [len(device.inits) for device in fleet] == [1, 1]


def test_garbage_from_devices_and_strangers_changes_nothing(broker: Mosquitto, desk: Desk) -> None:
    fleet = made(broker, "garbage", "kept", "kept")
    with devices(broker, *fleet), Probe(broker.port) as probe:
        rollout = desk.begin([device.name for device in fleet])
        for part in ("status", "model/home", f"cmd/model-update/{rollout.terms.id}", "cmd/model-update/x"):
            for payload in (b"\xff\x00", b"[" * 5000, b'{"status":7,"installed_version":{}}', b"[1]"):
                probe.publish(f"edge-agent/garbage-1/{part}", payload, retain=True)
        for name in ("", "[2J\u202e", "$x", "x" * 500):  # a broker takes no control characters in a topic
            probe.publish(f"edge-agent/{name}/status", "online", retain=True)
        assert desk.run().phase is Phase.COMPLETE
    assert set(desk.standings().values()) == {Standing.UPDATED}


def test_a_broker_that_restarts_and_forgets_is_given_the_commands_again(desk: Desk, tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "own", extra=("autosave_interval 0",)) as own:
        desk.broker = own
        good, off = fleet = made(own, "lost", "kept", "kept")
        good.start()
        desk.begin([device.name for device in fleet])
        with desk.running():
            eventually(lambda: on_the_broker(own, "lost-1"), DEADLINE_SECONDS, "the command for lost-1")
            good.stop()
            own.stop()
            (own.folder / "mosquitto.db").unlink(missing_ok=True)
            own.start()
            desk.wait_for(None, "back")
            with off:
                desk.wait_for("lost-1", "updated")
    assert len(off.begun) == 1


def test_a_command_of_an_earlier_rollout_is_taken_back(broker: Mosquitto, desk: Desk) -> None:
    (off,) = made(broker, "earlier", "kept")
    earlier = f"edge-agent/{off.name}/cmd/model-update/rollout-20200101T000000Z-00000000"
    with Probe(broker.port) as probe:
        probe.publish(earlier, {"status": "init", "name": "home", "version": "1.1.0"}, retain=True)
    desk.begin([off.name], "100%")
    with desk.running():
        eventually(
            lambda: (
                [topic for topic in on_the_broker(broker, off.name) if topic != earlier]
                and earlier not in on_the_broker(broker, off.name)
            ),
            DEADLINE_SECONDS,
            "only the new command",
        )


def test_a_broker_that_refuses_a_command_leaves_the_device_unreachable(desk: Desk, tmp_path: Path) -> None:
    acl = "topic read edge-agent/#\ntopic write edge-agent/may-0/#\n"
    with Mosquitto(tmp_path / "strict", acl=acl) as strict, Probe(strict.port) as probe:
        desk.broker = strict
        topic = "edge-agent/may-0/model/home"
        probe.publish(topic, {"installed_version": "1.2.0", "state": "kept"}, retain=True)
        desk.begin(["may-0", "maynot-0"], "100%")
        rollout = desk.run()
    assert rollout.members["may-0"].standing is Standing.ALREADY
    assert rollout.members["maynot-0"].standing is Standing.UNREACHABLE
    assert "the broker refuses its command: Not authorized" in (rollout.members["maynot-0"].reason or "")


def test_what_cannot_be_reached_or_written_is_one_clear_error(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        desk.file.read()
    desk.begin(["a"])
    address = BrokerAddress.from_url(f"mqtt://127.0.0.1:{free_port()}")
    with pytest.raises(BrokerError, match="cannot reach the broker"):
        Driver(desk.file.read(), desk.file, address, desk).run()
    with pytest.raises(SettingsError, match="cannot be written"):
        StateFile(tmp_path / "none" / "x.json").write(desk.file.read())
