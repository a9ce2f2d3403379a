"""A thousand simulated devices, a real Mosquitto, and the rollout's driver as a process that may be killed.

What fails is drawn from a seed, so each table is compared, device by device, with what must stand in it.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.fleet.rollout.rollout_state import Phase, Rollout, Standing, parse
from edge_agent.fleet.simulation.faults import Fate, Faults
from tests.fleet.simulation.simulated import SimulatedFleet
from tests.testbeds.broker import Mosquitto
from tests.testbeds.probe import Probe

pytestmark = pytest.mark.slow  # a minute on two cores

DEVICES = 1000
NEW = "1.1.0"
WAVES = "1,20%,100%"
MAX_FAILURES = "5%"
OLD_STANDINGS = {Standing.PENDING, Standing.ASKED, Standing.EXECUTING, Standing.CONFIRMING}
PROGRAM = (sys.executable, "-c", "from edge_agent.cli.main import main; main()", "fleet", "rollout")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as started:
        yield started


class Operator:
    """``edge-agent fleet rollout`` with its state in a file."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.file = folder / "rollout.json"
        self._log = folder / "operator.log"
        self._broker = ("--broker", broker.url, "--json")

    def start(
        self, waves: str = WAVES, *, soak: str = "1s", deadline: str = "30s"
    ) -> subprocess.Popen[bytes]:
        terms = ("--waves", waves, "--max-failures", MAX_FAILURES, "--soak", soak, "--deadline", deadline)
        return self._run("start", "home", NEW, "--to", "kitchens", "--state", str(self.file), *terms)

    def resume(self) -> subprocess.Popen[bytes]:
        return self._run("resume", str(self.file))

    def rollout(self) -> Rollout:
        return parse(self.file.read_bytes())

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def _run(self, *words: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen([*PROGRAM, *words, *self._broker], stdout=log, stderr=log)


def _fleet(folder: Path, broker: Mosquitto, **options: object) -> SimulatedFleet:
    usual: dict[str, object] = {"devices": DEVICES, "group": "kitchens", "connect_rate": 2000, "update": "1s"}
    return SimulatedFleet(folder, broker.port, **(usual | options))


def _is_bad(faults: Faults, device: str) -> bool:
    return faults.fate(device, NEW) is not Fate.KEPT


def _has_no_unknown(rollout: Rollout) -> None:
    """Every device has ended, and one that does not have the version says why or since when."""
    for device, member in rollout.members.items():
        assert member.standing not in OLD_STANDINGS, device
        if member.standing is Standing.FAILED:
            assert member.reason, device
        if member.standing is Standing.UNREACHABLE:
            assert member.since is not None, device


def _standing_asks(broker: Mosquitto) -> list[str]:
    """Devices for which the broker still retains a command that nobody has begun."""
    with Probe(broker.port, "edge-agent/+/cmd/model-update/+") as probe:
        probe.publish("edge-agent/end/cmd/model-update/end", "{}")
        probe.wait_for("edge-agent/end/cmd/model-update/end")
        return [one.topic for one in probe.heard if one.retain and one.json.get("status") == "init"]


def test_ten_percent_bad_halts_within_the_wave_in_which_too_many_failed(
    tmp_path: Path, broker: Mosquitto
) -> None:
    faults = Faults(seed=3, bad=0.1)
    operator = Operator(tmp_path, broker)
    with _fleet(tmp_path, broker, seed=3, bad="10%", off="3%", away="0") as fleet:
        code = operator.start().wait(120)
        assert _standing_asks(broker) == []
        rollout = operator.rollout()
        updated = sum(member.standing is Standing.UPDATED for member in rollout.members.values())
        fleet.wait_for(lambda counts: counts["versions"].get(NEW, 0) == updated and not counts["updating"])
    assert (code, rollout.phase) == (4, Phase.HALTED), operator.log()
    order = list(rollout.members)
    bad = [device for device in order if _is_bad(faults, device)]
    wave = next(
        number
        for number, size in enumerate(rollout.terms.sizes)
        if len(set(bad) & set(order[:size])) > rollout.terms.allowed_failures(number)
    )
    assert rollout.wave == wave
    told = order[: rollout.terms.sizes[wave]]
    assert {rollout.members[device].standing for device in order if device not in told} == {
        Standing.NOT_ASKED
    }
    failed = {device for device in told if rollout.members[device].standing is Standing.FAILED}
    assert failed <= set(bad)
    assert len(failed) > rollout.terms.allowed_failures(wave)
    _has_no_unknown(rollout)


def test_one_percent_bad_completes_though_the_operator_is_killed_in_the_middle(
    tmp_path: Path, broker: Mosquitto
) -> None:
    seed = 5
    faults = Faults(seed=seed, bad=0.01, vanishing=0.01)
    operator = Operator(tmp_path, broker)
    shares = {"bad": "1%", "off": "2%", "vanishing": "1%", "slow": "1%", "away": "6s"}
    with (
        _fleet(tmp_path, broker, seed=seed, **shares) as fleet,
        Probe(broker.port, "edge-agent/+/model/home") as probe,
    ):
        # 200 devices in the first wave, so that it is not one bad device, by lot among the first, that halts.
        driver = operator.start("20%,100%", deadline="60s")
        fleet.wait_for(lambda counts: counts["answered"] >= DEVICES // 3, 120)
        driver.kill()
        driver.wait(10)
        middle = operator.rollout()
        assert middle.phase is Phase.RUNNING
        assert operator.resume().wait(180) == 0, operator.log()
        fleet.wait_for(lambda counts: counts["updating"] == 0)
        begun = Counter(one.topic for one in probe.heard if one.json["state"] == "downloading")
    rollout = operator.rollout()
    assert rollout.phase is Phase.COMPLETE, rollout.reason
    bad = {device for device in rollout.members if _is_bad(faults, device)}
    failed = {d for d, member in rollout.members.items() if member.standing is Standing.FAILED}
    assert failed == bad
    others = {member.standing for device, member in rollout.members.items() if device not in bad}
    assert others == {Standing.UPDATED}
    _has_no_unknown(rollout)
    twice = {topic.split("/")[1] for topic, times in begun.items() if times > 1}
    assert all(faults.vanishes(device, NEW) for device in twice)


def test_devices_that_never_return_are_told_as_unreachable_since_when(
    tmp_path: Path, broker: Mosquitto
) -> None:
    operator = Operator(tmp_path, broker)
    with _fleet(tmp_path, broker, devices=100, off="10%", vanishing="10%", away="0") as fleet:
        off = fleet.counts()["off"]
        code = operator.start("100%", deadline="5s").wait(120)
        standings = Counter(member.standing for member in operator.rollout().members.values())
        fleet.wait_for(lambda counts: counts["connected"] == standings[Standing.UPDATED])
    assert code == 0, operator.log()
    assert standings[Standing.UNREACHABLE] > off > 0
    assert set(standings) == {Standing.UPDATED, Standing.UNREACHABLE}
    _has_no_unknown(operator.rollout())
