"""What ``check`` makes of sensors, of a broker, of the daemon's own words and of Home Assistant's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.cli import stage
from edge_agent.cli.findings import Finding, State
from edge_agent.cli.findings_broker import Broker, judge_daemon, judge_home_assistant, judge_speed
from edge_agent.cli.findings_look import look_at_retained
from edge_agent.cli.findings_reasons import GENERAL, REMEDIES, remedy_of, remedy_words
from edge_agent.cli.findings_sensors import (
    NO_SENSOR,
    battery_in_words,
    judge_heat,
    judge_sensors,
    judge_supplies,
)
from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.settings import Settings
from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.reading import (
    BatteryReading,
    Inventory,
    PowerReading,
    Quality,
    Scope,
    SensorError,
    SupplyReading,
)
from tests.telemetry.trees import board, board_names
from tests.testbeds.probe import Probe

TROUBLESHOOTING = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
BIRTH = "homeassistant/status"


def states(findings: Iterator[Finding]) -> list[tuple[str, State]]:
    return [(one.about, one.state) for one in findings]


# Sensors


@dataclass(frozen=True)
class FakePower:
    name: str = "ina3221"
    scope: Scope = Scope.MODULE
    quality: Quality = Quality.MEASURED
    update_seconds: float = 1.0
    reading: PowerReading | None = None

    def read(self) -> PowerReading:
        if self.reading is None:
            raise SensorError(f"{self.name}: the device does not answer (EIO)")
        return self.reading


@dataclass(frozen=True)
class FakeSupply:
    name: str = "rpi_volt"
    reading: SupplyReading | None = None

    def read(self) -> SupplyReading:
        if self.reading is None:
            raise SensorError(f"{self.name}: it is not ready (EAGAIN)")
        return self.reading


def test_each_sensor_is_told_with_scope_and_reading_and_what_is_unusable_with_its_remedy() -> None:
    note = "rapl: /sys/class/powercap/intel-rapl:0/energy_uj: permission denied. A udev rule may give it."
    inventory = Inventory(
        power=(
            FakePower(reading=PowerReading(4.734)),
            FakePower("rapl", Scope.SOC, reading=PowerReading(None, energy_j=12.0)),
            FakePower("ina2xx"),
        ),
        supply=(FakeSupply(reading=SupplyReading(under_voltage=False, supply_v=5.1)), FakeSupply("firmware")),
        notes=(note, "poe: amperes and no volts"),
    )
    findings = list(judge_sensors(inventory))
    assert [(one.state, one.message) for one in findings] == [
        (State.OK, "4.73 W by ina3221 (module)"),
        (State.OK, "rapl (soc, not added to the first) counts joules; watts come with time"),
        (State.WARNING, "ina2xx: the device does not answer (EIO)"),
        (State.WARNING, "firmware: it is not ready (EAGAIN)"),
        (State.OK, "rpi_volt: no under-voltage, 5.10 V at the input"),
        (State.WARNING, "rapl: /sys/class/powercap/intel-rapl:0/energy_uj: permission denied"),
        (State.WARNING, "poe: amperes and no volts"),
    ]
    assert findings[5].remedy == "A udev rule may give it"
    assert all(one.remedy for one in findings if one.state is not State.OK)


def test_no_sensor_is_no_fault_and_an_estimate_is_called_one() -> None:
    (none,) = judge_sensors(Inventory())
    assert (none.state, none.message) == (State.OK, NO_SENSOR)
    estimate = FakePower("estimate", Scope.BOARD_INPUT, Quality.ESTIMATED, reading=PowerReading(3.0))
    (told,) = judge_sensors(Inventory(power=(estimate,)))
    assert told.message == "3.00 W by estimate (board-input, estimated)"


def test_under_voltage_now_is_a_problem_and_in_the_past_a_warning() -> None:
    both = SupplyReading(under_voltage=True, under_voltage_since_boot=True)
    now = list(judge_supplies([("rpi_volt", SupplyReading(under_voltage=True)), ("firmware", both)]))
    assert states(iter(now)) == [("supply", State.PROBLEM)]
    assert "supply" in (now[0].remedy or "")
    assert "(rpi_volt, firmware)" in now[0].message
    past = list(judge_supplies([("firmware", SupplyReading(throttled=False, throttled_since_boot=True))]))
    assert states(iter(past)) == [("supply", State.WARNING)]
    assert "since boot" in past[0].message


@pytest.mark.parametrize("name", board_names())
def test_on_every_board_what_is_not_well_has_its_remedy(name: str, tmp_path: Path) -> None:
    machine = board(name)
    inventory = find_sensors(machine.build(tmp_path), firmware=machine.firmware())
    findings = list(judge_sensors(inventory))
    assert [one for one in findings if one.about == "power"]
    assert len([one for one in findings if one.about == "sensor"]) == len(inventory.notes)
    assert all((one.remedy is None) == (one.state is State.OK) for one in findings)


def test_heat_is_judged_by_the_owners_limit_and_unknown_heat_is_not_told() -> None:
    assert states(judge_heat(85.0, 80.0)) == [("temperature", State.WARNING)]
    assert states(judge_heat(60.0, 80.0)) == [("temperature", State.OK)]
    assert list(judge_heat(None, 80.0)) == []
    assert battery_in_words(BatteryReading(81.0, True, hours_left=7.3)) == "81 %, drawn from, 7.3 h left"


# Reasons and their remedies


@pytest.mark.parametrize(
    ("reason", "section"),
    [
        ("no model found in /var/lib/edge-agent/models", "No model"),
        ("model sentiment: golden sentence 3 expected negative, got neutral", "A model answers wrongly"),
        ("model home: the canary failed: ValueError", "A model answers wrongly"),
        ("model home: no right answer lately", "The worker is stuck"),
        ("the worker hangs: it has been at one thing for 61 s", "The worker is stuck"),
        ("model home: vocab.txt: altered", "A model cannot be loaded"),
        ("broker: cannot reach the broker at localhost:1883: Connection refused", "The broker is away"),
        ("broker: the broker refused us: Bad user name or password", "The broker refuses us"),
        ("broker: retained state on health: Not authorized", "The broker refuses us"),
        (
            "broker: another client took over the id pi: two devices with one name?",
            "Two devices with one name",
        ),
        ("broker: cannot reach the broker at pi:8883: certificate verify failed", "TLS fails"),
        ("power: under-voltage (4.62 V at the input); use a stronger supply", "Under-voltage"),
        ("power: the firmware throttles the processor", "Throttled"),
        ("heat: the processor is at 85 °C; 80 °C is too hot", "Too hot"),
        ("battery BAT0: 9 % and drawn from", "Battery low"),
        ("firmware: /dev/vcio: permission denied", "A sensor does not answer"),
        ("sensors: none has been read for 61 s", "A sensor does not answer"),
        ("sensors: one of them hangs while they are looked for", "A sensor does not answer"),
        (
            "Home Assistant is not told of 3 entities: too many models",
            "Home Assistant is not told of all",
        ),
        (
            "what Home Assistant was told cannot be noted in /x: No space left on device",
            "The disk, or a folder",
        ),
        ("the record of subscriptions cannot be written: No space left on device", "The disk, or a folder"),
        ("/run/edge-agent/pi cannot be created: Permission denied", "The disk, or a folder"),
        (
            "requests that crash the runtime are not recognised: /run/x: Is a directory",
            "The disk, or a folder",
        ),
    ],
)
def test_each_reason_that_the_daemon_gives_finds_its_remedy(reason: str, section: str) -> None:
    found = remedy_of(reason)
    assert found is not None
    assert found.section == section


def test_a_reason_of_no_known_kind_has_a_general_remedy() -> None:
    assert remedy_words("something that nobody foresaw") == GENERAL


def test_the_page_for_people_in_trouble_has_each_kind() -> None:
    page = TROUBLESHOOTING.read_text(encoding="utf-8")
    headings = set(re.findall(r"^### (.+)$", page, re.MULTILINE))
    assert {one.section for one in REMEDIES} <= headings


# The daemon's own words


def health(status: str, *reasons: str) -> bytes:
    return json.dumps({"status": status, "reasons": reasons, "inference": {"answered": 7}}).encode()


@pytest.mark.parametrize(
    ("status", "payload", "is_active", "expected"),
    [
        (b"online", health("up"), True, [State.OK]),
        (b"online", health("degraded", "battery BAT0: 9 %", "heat: 90 °C"), True, [State.WARNING] * 2),
        (b"online", health("down", "no model found in /x"), True, [State.PROBLEM]),
        (b"online", health("down"), False, [State.PROBLEM]),
        (b"online", b"{", True, [State.WARNING]),
        (b"online", None, True, [State.WARNING]),
        (b"online", b'["down"]', True, [State.WARNING]),
        (b"offline", health("up"), True, [State.PROBLEM]),
        (b"offline", None, False, [State.WARNING]),
        (None, None, True, [State.WARNING]),
        (None, None, False, [State.OK]),
    ],
)
def test_what_the_daemon_left_on_the_broker_is_judged(
    status: bytes | None, payload: bytes | None, is_active: bool, expected: list[State]
) -> None:
    findings = list(judge_daemon("pi", status, payload, is_active=is_active))
    assert [one.state for one in findings] == expected
    assert all((one.remedy is None) == (one.state is State.OK) for one in findings)


def test_a_reason_with_control_characters_moves_no_cursor() -> None:
    (finding,) = judge_daemon("pi", b"online", health("down", "\x1b[2Jgone\n"), is_active=True)
    assert finding.message.isprintable()


def test_home_assistant_is_told_by_what_is_retained_and_silence_is_not_taken_for_absence() -> None:
    config = json.dumps({"dev": {}, "cmps": {"status": {}, "power": {}}}).encode()
    announced = judge_home_assistant(BIRTH, b"online", config, is_online=True)
    assert (announced.state, "entities: 2" in announced.message) == (State.OK, True)
    assert judge_home_assistant(BIRTH, None, config, is_online=True).state is State.OK
    assert judge_home_assistant(BIRTH, b"offline", config, is_online=True).state is State.WARNING
    assert judge_home_assistant(BIRTH, None, None, is_online=True).state is State.WARNING
    assert judge_home_assistant(BIRTH, None, None, is_online=False).state is State.OK


def test_the_speed_of_a_broker_nearby_is_its_own_fault() -> None:
    found = [judge_speed(44, is_near=True), judge_speed(44, is_near=False), judge_speed(0.4, is_near=True)]
    assert [one.state for one in found] == [State.PROBLEM, State.WARNING, State.OK]


# On a real broker


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = stage.free_port()
    with stage.broker(tmp_path_factory.mktemp("broker"), port):
        yield port


def test_retained_messages_are_read_and_absent_ones_left_out(port: int) -> None:
    with Probe(port) as probe:
        probe.publish("look/a", b"one", retain=True)
        probe.publish("look/b", b"two")
    address = BrokerAddress(stage.HOST, port)
    assert look_at_retained(address, ["look/a", "look/b"], 30) == {"look/a": b"one"}


def test_a_broker_that_is_away_is_a_problem_with_a_remedy() -> None:
    port = stage.free_port()
    broker = Broker(Settings.model_validate({"mqtt": {"host": stage.HOST, "port": port}}))
    (finding,) = broker.check()
    assert (finding.state, str(port) in finding.message, broker.is_well) == (State.PROBLEM, True, False)
    assert "systemctl start mosquitto" in (finding.remedy or "")


def test_a_broker_that_is_away_cannot_be_looked_at() -> None:
    with pytest.raises(BrokerError):
        look_at_retained(BrokerAddress(stage.HOST, stage.free_port()), ["look/a"], 30)


def test_a_daemon_that_is_down_and_announced_is_found_on_the_broker(port: int) -> None:
    settings = Settings.model_validate({"device": {"id": "pi"}, "mqtt": {"host": stage.HOST, "port": port}})
    broker = Broker(settings)
    assert [one.about for one in broker.check()] == ["broker", "broker speed"]
    assert broker.is_well
    with Probe(port) as probe:
        probe.publish("edge-agent/pi/status", b"online", retain=True)
        probe.publish("edge-agent/pi/health", health("down", "no model found in /x"), retain=True)
        probe.publish("homeassistant/device/pi/config", b'{"cmps":{"a":{}}}', retain=True)
        probe.publish(BIRTH, b"online", retain=True)
    daemon, home = broker.check_daemon(is_active=False)
    assert (daemon.state, daemon.message) == (State.PROBLEM, "down: no model found in /x")
    assert (home.state, home.message) == (
        State.OK,
        "the device is announced, entities: 1; Home Assistant is online",
    )
