"""Heat, fans and clocks of fake machines."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_agent.telemetry.board import Board, BoardReading
from edge_agent.telemetry.fans import FanReading
from edge_agent.telemetry.frequency import Clock
from edge_agent.telemetry.reading import SensorError
from edge_agent.telemetry.sysfs import Tree, read_bytes

ZONE = "sys/class/thermal/thermal_zone"
HWMON = "sys/class/hwmon/hwmon"
EIO = "!EIO"


def board_of(root: Path, files: Mapping[str, str]) -> Board:
    """A board with these files; reading one that holds ``!EIO`` fails so."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")

    def read(path: Path, limit: int) -> bytes:
        content = read_bytes(path, limit)
        if content.startswith(EIO.encode()):
            raise OSError(errno.EIO, "broken")
        return content

    return Board(Tree(root, read))


def test_a_machine_without_sensors_says_nothing(tmp_path: Path) -> None:
    assert board_of(tmp_path, {}).read() == BoardReading()


def test_a_raspberry_pi_4_is_as_hot_as_its_chip_says_and_its_zone_is_not_read_twice(tmp_path: Path) -> None:
    board = board_of(
        tmp_path,
        {
            f"{HWMON}0/name": "cpu_thermal",
            f"{HWMON}0/temp1_input": "48312",
            f"{ZONE}0/type": "cpu-thermal",
            f"{ZONE}0/temp": "47200",
        },
    )
    assert board.read() == BoardReading(48.312, {"cpu_thermal": 48.312})


def test_a_raspberry_pi_5_with_its_fan_and_the_rp1_beside_the_processor(tmp_path: Path) -> None:
    board = board_of(
        tmp_path,
        {
            f"{HWMON}0/name": "cpu_thermal",
            f"{HWMON}0/temp1_input": "45800",
            f"{HWMON}1/name": "rp1_adc",
            f"{HWMON}1/temp1_input": "50200",
            f"{HWMON}2/name": "pwmfan",
            f"{HWMON}2/fan1_input": "2471",
            f"{HWMON}2/pwm1": "76",
            f"{HWMON}2/pwm1_enable": "2",
        },
    )
    assert board.read() == BoardReading(
        45.8, {"cpu_thermal": 45.8, "rp1_adc": 50.2}, (FanReading("pwmfan", 2471, 29.8),)
    )


def test_a_jetson_with_zones_off_and_broken_is_as_hot_as_the_rest(tmp_path: Path) -> None:
    board = board_of(
        tmp_path,
        {
            f"{ZONE}0/type": "cpu-thermal",
            f"{ZONE}0/temp": "43718",
            f"{ZONE}1/type": "gpu-thermal",
            f"{ZONE}1/temp": EIO,
            f"{ZONE}2/type": "cv0-thermal",
            f"{ZONE}2/temp": "-256000",
            f"{ZONE}3/type": "tj-thermal",
            f"{ZONE}3/temp": "44062",
            f"{ZONE}4/type": "PMIC-Die",
            f"{ZONE}4/temp": "100000",
            f"{HWMON}0/name": "pwm_tach",
            f"{HWMON}0/rpm": "1636",
            f"{HWMON}2/name": "pwmfan",
            f"{HWMON}2/pwm1": "76",
        },
    )
    assert board.read() == BoardReading(
        44.062,
        {"cpu-thermal": 43.718, "tj-thermal": 44.062, "PMIC-Die": 100.0},
        (FanReading("pwm_tach", 1636, None), FanReading("pwmfan", None, 29.8)),
    )


def test_a_zone_that_comes_back_is_read_again(tmp_path: Path) -> None:
    board = board_of(tmp_path, {f"{ZONE}0/type": "cpu-thermal", f"{ZONE}0/temp": "-256000"})
    assert board.read() == BoardReading()
    (tmp_path / f"{ZONE}0/temp").write_text("40000\n")
    assert board.read().temperature_c == 40.0


def test_a_board_none_of_whose_thermometers_answers_any_more_is_an_error(tmp_path: Path) -> None:
    board = board_of(tmp_path, {f"{ZONE}0/type": "cpu-thermal", f"{ZONE}0/temp": "40000"})
    assert board.read().temperature_c == 40.0
    (tmp_path / f"{ZONE}0/temp").write_text(EIO)
    with pytest.raises(SensorError, match="EIO"):
        board.read()


def test_a_board_none_of_whose_thermometers_ever_answered_has_none(tmp_path: Path) -> None:
    board = board_of(tmp_path, {f"{ZONE}0/type": "cpu-thermal", f"{ZONE}0/temp": EIO})
    assert board.read() == BoardReading()


def test_a_computer_that_names_no_processor_is_as_hot_as_its_hottest_zone(tmp_path: Path) -> None:
    board = board_of(
        tmp_path,
        {
            f"{ZONE}0/type": "acpitz",
            f"{ZONE}0/temp": "27800",
            f"{ZONE}1/type": "acpitz",
            f"{ZONE}1/temp": "29800",
            f"{HWMON}0/name": "nvme",
            f"{HWMON}0/temp1_input": "61850",
            f"{HWMON}0/temp1_label": "Composite",
        },
    )
    assert board.read() == BoardReading(29.8, {"acpitz": 27.8, "acpitz 2": 29.8, "nvme Composite": 61.85})


def test_an_intel_processor_is_as_hot_as_its_hottest_core(tmp_path: Path) -> None:
    files = {f"{HWMON}3/name": "coretemp", f"{ZONE}0/type": "acpitz", f"{ZONE}0/temp": "95000"}
    for number, (label, value) in enumerate((("Package id 0", 61), ("Core 0", 58), ("Core 1", 62)), 1):
        files[f"{HWMON}3/temp{number}_label"] = label
        files[f"{HWMON}3/temp{number}_input"] = f"{value}000"
    assert board_of(tmp_path, files).read().temperature_c == 62.0


@pytest.mark.parametrize("content", ["warm", "", "9999999", "-273000"])
def test_what_is_no_temperature_is_left_out(tmp_path: Path, content: str) -> None:
    board = board_of(
        tmp_path,
        {
            f"{ZONE}0/type": "cpu-thermal",
            f"{ZONE}0/temp": content,
            f"{ZONE}1/type": "gpu-thermal",
            f"{ZONE}1/temp": "1000",
        },
    )
    assert board.read() == BoardReading(1.0, {"gpu-thermal": 1.0})


def test_a_second_fan_has_a_number_and_nonsense_is_left_out(tmp_path: Path) -> None:
    board = board_of(
        tmp_path,
        {
            f"{HWMON}0/name": "nct6775",
            f"{HWMON}0/fan1_input": "0",
            f"{HWMON}0/fan2_input": "900",
            f"{HWMON}0/pwm2": "300",
            f"{HWMON}0/fan3_input": EIO,
        },
    )
    assert board.read().fans == (FanReading("nct6775", 0, None), FanReading("nct6775 2", 900, None))


def test_clocks_are_those_of_the_policies_in_their_order(tmp_path: Path) -> None:
    files = {}
    for policy, now in ((0, 600000), (4, 1800000), (10, 2400000)):
        files[f"sys/devices/system/cpu/cpufreq/policy{policy}/scaling_cur_freq"] = str(now)
        files[f"sys/devices/system/cpu/cpufreq/policy{policy}/scaling_max_freq"] = "2000000"
        files[f"sys/devices/system/cpu/cpufreq/policy{policy}/cpuinfo_max_freq"] = "2400000"
    files["sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq"] = EIO
    files["sys/devices/system/cpu/cpufreq/boost"] = "1"
    assert board_of(tmp_path, files).read().clocks == (
        Clock("policy0", 600.0, 2000.0, 2400.0),
        Clock("policy4", 1800.0, None, 2400.0),
        Clock("policy10", 2400.0, 2000.0, 2400.0),
    )


def test_a_clock_that_says_nothing_is_left_out(tmp_path: Path) -> None:
    files = {"sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "<unknown>"}
    assert board_of(tmp_path, files).read().clocks == ()
