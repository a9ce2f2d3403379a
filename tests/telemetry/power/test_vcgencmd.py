"""The program ``vcgencmd`` as another way to the firmware: real programs that answer, hang or fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.power.throttling import Throttling
from edge_agent.telemetry.power.vcgencmd import Vcgencmd
from edge_agent.telemetry.reading import SensorError
from edge_agent.telemetry.sysfs import Tree
from tests.telemetry.trees import board


def program(folder: Path, script: str, *, executable: bool = True) -> str:
    path = folder / "vcgencmd"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755 if executable else 0o644)
    return str(path)


def test_it_answers(tmp_path: Path) -> None:
    path = program(tmp_path, 'test "$1" = get_throttled && echo throttled=0x50005')
    assert Throttling(Vcgencmd(path)).read().throttled is True


def test_a_pi_5_is_found_by_it(tmp_path: Path) -> None:
    fixture = board("rpi5_idle")
    (tmp_path / "answer").write_text(fixture.commands["pmic_read_adc"])
    path = program(
        tmp_path,
        f'case "$1" in pmic_read_adc) cat {tmp_path}/answer;; get_throttled) echo throttled=0x0;; esac',
    )
    inventory = find_sensors(Tree(tmp_path), firmware=Vcgencmd(path))
    assert [source.name for source in inventory.power] == ["pmic"]
    assert inventory.power[0].read().power_w == 2.947978


def test_an_unknown_command_has_an_answer_though_it_fails(tmp_path: Path) -> None:
    answer = 'error=1 error_msg="Command not registered"'
    path = program(
        tmp_path, f"echo 'vc_gencmd_read_response returned -1'; echo '{answer}'; echo complaint >&2; exit 255"
    )
    assert Vcgencmd(path).ask("pmic_read_adc") == answer


def test_one_that_hangs_is_killed(tmp_path: Path) -> None:
    path = program(tmp_path, "exec sleep 600")
    with pytest.raises(SensorError, match=r"no answer in 0\.2 seconds"):
        Vcgencmd(path, timeout_seconds=0.2).ask("get_throttled")


def test_one_that_fails_says_so(tmp_path: Path) -> None:
    with pytest.raises(SensorError, match="exit status 3"):
        Vcgencmd(program(tmp_path, "exit 3")).ask("get_throttled")


def test_one_that_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(SensorError, match="not installed"):
        Vcgencmd(str(tmp_path / "vcgencmd")).ask("get_throttled")


def test_one_that_cannot_be_started_says_so(tmp_path: Path) -> None:
    path = program(tmp_path, "exit 0", executable=False)
    with pytest.raises(SensorError, match="cannot be started"):
        Vcgencmd(path).ask("get_throttled")


def test_one_that_says_nothing_gives_no_flags(tmp_path: Path) -> None:
    with pytest.raises(SensorError, match="no flags"):
        Throttling(Vcgencmd(program(tmp_path, "exit 0"))).read()
