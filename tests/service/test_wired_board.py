"""A real daemon on boards made of files: what it tells of watts and heat, and how it spares a board.

No board is always this hot or hangs on demand, so its files lie in a folder; all else is the daemon as it is.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.service.health import MAX_HEALTH_BYTES
from tests.telemetry.trees import board
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Heard, Probe
from tests.testbeds.waiting import eventually

_ON_BOARD = """
import os, sys
from pathlib import Path
from edge_agent.inference.model import Model
from edge_agent.log import configure_log
from edge_agent.service.agent import Agent
from edge_agent.service.signals import die_of
from edge_agent.settings import load_settings
load = Model.load
def loaded(path, *, threads):
    print("threads", threads, flush=True)
    return load(path, threads=threads)
Model.load = loaded
settings = load_settings(Path(sys.argv[2]))
configure_log(settings.log.level, settings.log.format)
die_of(Agent(settings, root=Path(os.environ["BOARD_ROOT"])).run())
"""
CHIP, VOLT = "sys/class/hwmon/hwmon1", "sys/class/hwmon/hwmon2"
TEMPERATURE, ALARM = f"{CHIP}/temp1_input", f"{VOLT}/in0_lcrit_alarm"
SENTENCE = "turn on the light"

Start = Callable[..., Daemon]


class Files:
    """A board's files, with names that a running daemon knows."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, content: str) -> None:
        """At once, as the kernel's values change."""
        place, new = self.root / path, self.root / "new"
        place.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(content)
        new.replace(place)

    def make_hang(self, path: str) -> None:
        """Who reads this waits for a writer."""
        place, new = self.root / path, self.root / "new"
        place.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(new)
        new.replace(place)

    def make_raspberry_pi(self) -> None:
        for path, content in {
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
            f"{CHIP}/name": "cpu_thermal\n", TEMPERATURE: "48000\n",
            f"{VOLT}/name": "rpi_volt\n", ALARM: "0\n",
        }.items():  # fmt: skip
            self.write(path, content)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "root").mkdir()
    return Files(tmp_path / "root")


@pytest.fixture
def on_board(files: Files, tmp_path: Path, broker: Mosquitto, models: Path) -> Start:
    def make(program: str = _ON_BOARD, **sections: dict[str, Any]) -> Daemon:
        return Daemon(
            tmp_path / "daemon",
            broker.port,
            (models,),
            settings={"telemetry": {"interval_seconds": 1.0}, **sections},
            environment={"BOARD_ROOT": str(files.root)},
            program=program,
        )

    return make


def wait_for_health(probe: Probe, status: str, *parts: str) -> dict[str, Any]:
    """The next health of this status whose reasons, joined, have these parts."""

    def fits(heard: Heard) -> bool:
        if not heard.topic.endswith("/health") or heard.json["status"] != status:
            return False
        return all(part in "\n".join(heard.json["reasons"]) for part in parts)

    document: dict[str, Any] = probe.wait_until(fits, 30.0).json
    return document


def ask(probe: Probe, daemon: Daemon, *ids: str) -> list[dict[str, Any]]:
    """The answers to one sentence, asked as often as there are ids, in their order."""
    for one in ids:
        probe.publish(f"{daemon.root}/in/tiny", {"id": one, "text": SENTENCE}, wait=False)
    probe.wait_for_ids(f"{daemon.root}/out/tiny", set(ids))
    answers = {heard.json["id"]: heard.json for heard in probe.on(f"{daemon.root}/out/tiny")}
    return [answers[one] for one in ids]


def test_power_comes_at_every_interval_and_nobody_keeps_it(
    files: Files, on_board: Start, broker: Mosquitto, probe: Probe
) -> None:
    board("jetson_orin_nano_jp5").build(files.root)
    with on_board() as daemon:
        heard = probe.wait_for(f"{daemon.root}/power", count=3, within_seconds=30)
        assert {(one.qos, one.retain) for one in heard} == {(0, False)}
        told = heard[-1].json
        assert (told["power_w"], told["source"], told["quality"]) == (4.73, "ina3221", "measured")
        assert told["temperature_c"] == 43.7
        assert told["energy_j"] > 0
        assert told["under_voltage"] is None
        info = probe.wait_until(lambda one: b"ina3221 (module" in one.payload, 20).json
        assert info["board"] == "NVIDIA Jetson Orin Nano Developer Kit"
        assert info["sensors"]["power"] == ["ina3221 (module, measured)"]
        health = probe.wait_until(
            lambda one: one.topic.endswith("/health") and one.json["system"]["temperature_c"] is not None, 20
        ).json
        assert health["status"] == "up"
        assert health["system"]["temperature_c"] == pytest.approx(43.7, abs=0.05)
        assert health["progress"]["sampler_age_s"] is not None
        assert ask(probe, daemon, "a")[0]["power_ok"] is None  # nothing here tells of under-voltage
        daemon.stop()
        with Probe(broker.port, f"{daemon.root}/#") as late:
            late.wait_for(f"{daemon.root}/status")
            late.wait_for(f"{daemon.root}/model/tiny")
            assert not late.on(f"{daemon.root}/power")


def test_under_voltage_is_told_within_two_intervals_and_spares_the_board_until_it_is_well_again(
    files: Files, on_board: Start, probe: Probe
) -> None:
    files.make_raspberry_pi()
    with on_board(power={"strained_requests_per_second": 0.001}, limits={"burst": 1}) as daemon:
        probe.wait_until(lambda one: one.topic.endswith("/power") and one.json["under_voltage"] is False, 20)
        assert [one["power_ok"] for one in ask(probe, daemon, "a", "b", "c")] == [True] * 3
        probe.forget()
        files.write(ALARM, "1\n")
        told = wait_for_health(probe, "degraded", "power: under-voltage; use a stronger supply")
        heard = list(probe.heard)
        position = next(n for n, one in enumerate(heard) if _is(one, told))
        assert sum(one.topic.endswith("/power") for one in heard[:position]) <= 2
        probe.wait_until(lambda one: one.topic.endswith("/power") and one.json["under_voltage"] is True)
        strained = ask(probe, daemon, "d", "e")
        assert strained[0]["power_ok"] is False
        assert strained[1]["error"]["code"] == "overloaded"
        probe.forget()
        files.write(ALARM, "0\n")
        wait_for_health(probe, "up")
        well = ask(probe, daemon, "f", "g", "h")
        assert [one["power_ok"] for one in well] == [True] * 3
        power = probe.wait_until(
            lambda one: one.topic.endswith("/power") and one.json["under_voltage"] is False
        ).json
        assert power["under_voltage_since_boot"] is True


def _is(heard: Heard, document: dict[str, Any]) -> bool:
    return heard.topic.endswith("/health") and bool(heard.json == document)


def test_a_hot_processor_gets_fewer_threads_until_it_is_well_below_and_no_request_is_lost(
    files: Files, on_board: Start, probe: Probe
) -> None:
    files.make_raspberry_pi()
    with on_board(power={"hot_celsius": 60.0, "strained_threads": 1}, inference={"threads": 2}) as daemon:
        asked: set[str] = set()

        def ask_while_it(happens: Callable[[], bool], what: str) -> None:
            def once() -> bool:
                asked.add(f"n{len(asked)}")
                probe.publish(
                    f"{daemon.root}/in/tiny", {"id": f"n{len(asked) - 1}", "text": SENTENCE}, wait=False
                )
                return happens()

            eventually(once, 30.0, what)

        def threads() -> list[str]:
            return [line[8:] for line in daemon.log_text().splitlines() if line.startswith("threads ")]

        assert threads() == ["2"]
        files.write(TEMPERATURE, "60000\n")
        ask_while_it(lambda: len(daemon.events("agent.reloaded")) == 1, "fewer threads")
        assert threads() == ["2", "1"]
        wait_for_health(probe, "degraded", "heat: the processor is at 60 °C; 60 °C is too hot")
        files.write(TEMPERATURE, "55500\n")
        wait_for_health(probe, "degraded", "heat: the processor is at 56 °C; 60 °C is too hot")
        files.write(TEMPERATURE, "55000\n")
        ask_while_it(lambda: len(daemon.events("agent.reloaded")) == 2, "threads as ever")
        wait_for_health(probe, "up")
        assert threads() == ["2", "1", "2"]
        answered = probe.wait_for_ids(f"{daemon.root}/out/tiny", asked)
        assert len(answered) == len(asked)
        assert not [one for one in probe.on(f"{daemon.root}/out/tiny") if "error" in one.json]


def test_a_model_that_is_being_replaced_on_disk_when_the_board_gets_hot_goes_on_as_it_was(
    files: Files, on_board: Start, models: Path, probe: Probe
) -> None:
    files.make_raspberry_pi()
    with on_board(power={"hot_celsius": 60.0, "strained_threads": 1}, inference={"threads": 2}) as daemon:
        (models / "tiny" / "model.tflite").unlink()
        files.write(TEMPERATURE, "60000\n")
        wait_for_health(probe, "degraded", "heat: ", "model tiny: ", "1.0.0 goes on")
        assert "error" not in ask(probe, daemon, "a")[0]


_IMPATIENT = """
from edge_agent.service import agent
from edge_agent.telemetry.sampler import Sampler
agent._TEND_SECONDS, Sampler.tend.__defaults__ = 0.2, (1.0,)
"""


def test_a_sensor_that_hangs_is_named_while_requests_are_answered_and_is_read_again_once_back(
    files: Files, on_board: Start, probe: Probe
) -> None:
    files.make_raspberry_pi()
    with on_board(_IMPATIENT + _ON_BOARD) as daemon:
        probe.wait_until(lambda one: one.topic.endswith("/power") and one.json["under_voltage"] is False, 20)
        files.make_hang(TEMPERATURE)
        wait_for_health(probe, "degraded", "sensor thermal: reading it does not come back")
        probe.forget()
        assert len(ask(probe, daemon, "a", "b", "c")) == 3
        power = probe.wait_for(f"{daemon.root}/power")[-1].json
        assert (power["under_voltage"], power["temperature_c"]) == (False, None)
        with (files.root / TEMPERATURE).open("wb", buffering=0) as writer:
            files.write(TEMPERATURE, "47000\n")
            writer.write(b"47000\n")
        wait_for_health(probe, "up")
        assert [one["sensor"] for one in daemon.events("sensor.hangs")] == ["thermal"]


def test_a_sensor_that_hangs_while_it_is_looked_for_holds_neither_the_start_nor_the_end(
    files: Files, on_board: Start, probe: Probe
) -> None:
    files.make_hang(f"{CHIP}/name")
    with on_board() as daemon:
        assert len(ask(probe, daemon, "a", "b", "c")) == 3
        assert wait_for_health(probe, "up")["system"]["temperature_c"] is None
        assert not probe.on(f"{daemon.root}/power")
        assert daemon.stop() == -15


def test_health_of_a_board_with_many_models_and_every_trouble_stays_within_four_kilobytes(
    files: Files, on_board: Start, models: Path, probe: Probe
) -> None:
    files.make_raspberry_pi()
    for path, content in {TEMPERATURE: "99000\n", ALARM: "1\n", f"{CHIP}/pwm1": "x\n"}.items():
        files.write(path, content)
    for number in range(6):
        name = f"a-model-with-a-rather-long-name-of-its-own-{number}"
        copy = Path(shutil.copytree(models / "tiny", models / name))
        manifest = json.loads((copy / "bundle.json").read_bytes())
        (copy / "bundle.json").write_text(json.dumps({**manifest, "name": name}))
        broken = models / f"a-broken-model-with-a-rather-long-name-{number}"
        broken.mkdir()
        (broken / "bundle.json").write_text("{")
    with on_board(metrics={"enabled": True, "host": "192.0.2.1"}):
        told = wait_for_health(probe, "degraded", "power: under-voltage", "heat: the processor is at 99 °C")
        assert told["models"]["tiny"]["state"] == "serving"
        sizes = [len(one.payload) for one in probe.heard if one.topic.endswith("/health")]
        assert 3000 < max(sizes) <= MAX_HEALTH_BYTES
