"""The sensors in the daemon: found in a thread of their own, told by the main one, on trees of boards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import enumerate as all_threads
from typing import Any

import pytest

from edge_agent.link.discovery import Sensors
from edge_agent.service import sensing as module
from edge_agent.service.sensing import Sensing
from edge_agent.settings import Settings, load_settings
from edge_agent.telemetry.power.mailbox import Firmware
from tests.telemetry.trees import board
from tests.testbeds.waiting import eventually

NOTHING: dict[str, Any] = {
    "power_w": None, "energy_j": None, "source": None, "scope": None, "quality": None, "rails": {},
    "energy_per_answer_mj": None, "energy_window_s": None, "under_voltage": None,
    "under_voltage_since_boot": None, "throttled": None, "temperature_c": None, "battery_percent": None,
}  # fmt: skip


@dataclass
class Machine:
    """A machine whose files lie below ``root``.

    Attributes:
        changes: an entry for each call of ``on_change``.
        times: what the processors say: seconds idle, seconds in all.
    """

    root: Path
    changes: SimpleQueue[None] = field(default_factory=SimpleQueue)
    times: tuple[float, float] = (0.0, 0.0)

    def settings(self, **sections: dict[str, Any]) -> Settings:
        lines = ['[device]\nid = "pi"']
        for section, keys in {"telemetry": {"interval_seconds": 1.0}, **sections}.items():
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        config = self.root / "config.toml"
        config.write_text("\n".join(lines) + "\n")
        return load_settings(config)

    @contextmanager
    def sensing(self, firmware: Firmware | None = None, **sections: dict[str, Any]) -> Iterator[Sensing]:
        sensing = Sensing(
            self.settings(**sections),
            activity=lambda: 0,
            cpu_times=lambda: self.times,
            on_change=lambda: self.changes.put(None),
            root=self.root,
            firmware=firmware,
        )
        try:
            yield sensing
        finally:
            sensing.stop(10.0)

    def write(self, path: str, content: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)

    def make_hang(self, path: str) -> None:
        """Opening this file waits for a writer who does not come."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        os.mkfifo(place)

    def let_go(self, path: str, content: str) -> None:
        """Whoever waits for the file reads this now, and so does everybody later."""
        with (self.root / path).open("wb", buffering=0) as writer:
            (self.root / "new").write_text(content)
            (self.root / "new").replace(self.root / path)
            writer.write(content.encode())

    def look(self, sensing: Sensing) -> dict[str, Any]:
        """Starts; returns the document ``power`` after the first look, without its time."""
        sensing.start()
        self.changes.get(timeout=30)
        eventually(lambda: sensing.snapshot.moment_seconds is not None, 30, "a look")
        document = json.loads(sensing.power() or b"")
        assert document.pop("time")
        return dict(document)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_raspberry_pi_5_tells_its_rails_and_supply(machine: Machine) -> None:
    pi = board("rpi5_idle")
    pi.build(machine.root)
    with machine.sensing(pi.firmware()) as sensing:
        told = machine.look(sensing)
        assert told["rails"]["VDD_CORE"] == 1.295
        assert len(told.pop("rails")) == 12
        assert told == {
            **{key: value for key, value in NOTHING.items() if key != "rails"},
            "power_w": 2.948, "source": "pmic", "scope": "pmic-rails", "quality": "measured",
            "energy_window_s": 0.0, "under_voltage": False, "under_voltage_since_boot": False,
            "throttled": False, "temperature_c": 45.8,
        }  # fmt: skip
        assert sensing.described() == {
            "power": ["pmic (pmic-rails, measured)"],
            "supply": ["pmic", "rpi_volt", "firmware", "psu"],
            "batteries": [],
            "shunts_ohm": {},
        }
        assert sensing.offered() == Sensors(True, True, True, True, True, battery=False)
        assert sensing.reasons() == ()
        assert sensing.is_settled


def test_an_orin_tells_the_total_of_its_module_and_knows_nothing_of_under_voltage(machine: Machine) -> None:
    board("jetson_orin_nano_jp5").build(machine.root)
    with machine.sensing() as sensing:
        assert machine.look(sensing) == {
            **NOTHING,
            "power_w": 4.73, "source": "ina3221", "scope": "module", "quality": "measured",
            "rails": {"VDD_IN": 4.73, "VDD_CPU_GPU_CV": 0.517, "VDD_SOC": 1.073},
            "energy_window_s": 0.0, "temperature_c": 43.7,
        }  # fmt: skip
        assert sensing.described()["power"] == ["ina3221 (module, measured)"]
        assert sensing.described()["supply"] == []
        assert sensing.offered() == Sensors(power=True, energy=True, temperature=True)
        assert sensing.is_power_ok(0.0, 1.0) is None


def test_a_machine_without_any_sensor_says_so_and_is_well(machine: Machine) -> None:
    with machine.sensing() as sensing:
        assert machine.look(sensing) == NOTHING
        assert not any(sensing.described().values())
        assert sensing.offered() == Sensors()
        assert sensing.reasons() == ()
        assert not sensing.is_strained


def test_an_owners_estimate_is_always_called_one(machine: Machine) -> None:
    with machine.sensing(power={"idle_watts": 2.0, "full_watts": 6.0}) as sensing:
        first = machine.look(sensing)
        assert (first["source"], first["scope"], first["quality"]) == (
            "estimate", "board-input", "estimated",
        )  # fmt: skip
        machine.times = (5.0, 10.0)  # half busy since the look before
        told = eventually(
            lambda: [d for d in [json.loads(sensing.power() or b"")] if d["power_w"] is not None], 30, "watts"
        )[0]
        assert told["power_w"] == 4.0
        assert told["quality"] == "estimated"
        assert sensing.described()["power"] == ["estimate (board-input, estimated)"]


def test_what_measures_is_preferred_to_an_estimate(machine: Machine) -> None:
    board("jetson_orin_nano_jp5").build(machine.root)
    with machine.sensing(power={"idle_watts": 2.0, "full_watts": 6.0}) as sensing:
        assert machine.look(sensing)["source"] == "ina3221"
        assert sensing.described()["power"] == [
            "ina3221 (module, measured)",
            "estimate (board-input, estimated)",
        ]


def test_a_sensor_that_hangs_while_looked_for_holds_nobody_and_is_told_after_a_while(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FINDING_SECONDS", 0.3)
    name = "sys/class/hwmon/hwmon0/name"
    machine.make_hang(name)
    with machine.sensing() as sensing:
        sensing.start()
        assert sensing.reasons() == ()
        assert not sensing.is_settled
        reasons = eventually(sensing.reasons, 30, "a reason")
        assert reasons == (
            "sensors: one of them hangs while they are looked for; `edge-agent check` says which",
        )
        eventually(lambda: sensing.is_settled, what="giving up")
        assert (sensing.power(), sensing.described(), sensing.offered()) == (None, {}, Sensors())
        sensing.note_activity()
        sensing.tend()
        assert sensing.is_power_ok(0.0, 1.0) is None
        machine.let_go(name, "rpi_volt\n")
        machine.changes.get(timeout=30)
        assert sensing.reasons() == ()


def test_with_telemetry_off_nothing_is_looked_for_or_told(machine: Machine) -> None:
    board("rpi4_undervolt").build(machine.root)
    with machine.sensing(telemetry={"enabled": False}) as sensing:
        before = set(all_threads())
        sensing.start()
        assert set(all_threads()) == before
        sensing.note_activity()
        sensing.tend()
        assert (sensing.power(), sensing.age_seconds, sensing.described()) == (None, None, {})
        assert (sensing.reasons(), sensing.is_strained, sensing.is_settled) == ((), False, True)
        assert machine.changes.empty()


def test_stopped_while_sensors_are_looked_for_it_reads_none_of_them(machine: Machine) -> None:
    hanging = "proc/device-tree/model"
    machine.make_hang(hanging)
    with machine.sensing() as sensing:
        before = set(all_threads())
        sensing.start()
        [finder] = set(all_threads()) - before
        sensing.stop(0.0)
        machine.let_go(hanging, "Raspberry Pi 4 Model B\0")
        finder.join(30)
        assert not finder.is_alive()
        assert not set(all_threads()) - before
        assert machine.changes.empty()
        assert sensing.snapshot.moment_seconds is None


def test_under_voltage_is_a_reason_a_strain_and_a_mark_on_the_work_of_that_time(machine: Machine) -> None:
    alarm = "sys/class/hwmon/hwmon7/in0_lcrit_alarm"
    machine.write("sys/class/hwmon/hwmon7/name", "rpi_volt\n")
    machine.write(alarm, "0\n")
    with machine.sensing() as sensing:
        assert machine.look(sensing)["under_voltage"] is False
        machine.write(alarm, "1\n")
        machine.changes.get(timeout=30)
        assert sensing.reasons() == ("power: under-voltage; use a stronger supply",)
        assert sensing.is_strained
        machine.write(alarm, "0\n")
        machine.changes.get(timeout=30)
        assert sensing.reasons() == ()
        assert json.loads(sensing.power() or b"")["under_voltage_since_boot"] is True


def test_a_figure_whose_sensor_fails_stays_with_home_assistant(machine: Machine) -> None:
    zone = "sys/class/thermal/thermal_zone0/temp"
    machine.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    machine.write(zone, "47000\n")
    with machine.sensing() as sensing:
        machine.look(sensing)
        assert sensing.offered() == Sensors(temperature=True)
        machine.write(zone, "garbage\n")
        machine.changes.get(timeout=30)
        assert "sensor thermal: " in sensing.reasons()[0]
        assert json.loads(sensing.power() or b"")["temperature_c"] is None
        assert sensing.offered() == Sensors(temperature=True)
