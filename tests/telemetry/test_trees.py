"""The fixture builder is a fake: it must behave like a kernel, or what is tested with it is worth nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.telemetry.reading import SensorDenied, SensorError
from tests.telemetry.trees import FakeFirmware, board, board_names, build_tree


def test_files_have_the_newline_of_the_kernel_and_device_tree_strings_their_nul(tmp_path: Path) -> None:
    tree = board("rpi5_idle").build(tmp_path)
    assert tree.raw("proc/device-tree/model") == b"Raspberry Pi 5 Model B Rev 1.0\0"
    assert tree.raw("proc/device-tree/chosen/power/max_current") == b"\x00\x00\x13\x88"
    names = {tree.raw(f"sys/class/hwmon/{entry}/name") for entry in tree.names("sys/class/hwmon")}
    assert names == {b"cpu_thermal\n", b"rp1_adc\n", b"pwmfan\n", b"rpi_volt\n"}


def test_class_entries_and_i2c_chips_are_symlinks_and_a_chip_stands_in_the_class_too(tmp_path: Path) -> None:
    tree = board("jetson_orin_nano_jp5").build(tmp_path)
    assert (tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040").is_symlink()
    hwmon = tmp_path / "sys/class/hwmon"
    assert all(entry.is_symlink() for entry in hwmon.iterdir())
    assert sorted(chip.name for chip in tree.hwmon()) == ["ina3221", "pwm_tach", "pwmfan"]


def test_the_numbers_of_hwmon_are_drawn_anew(tmp_path: Path) -> None:
    def numbers(seed: int) -> set[str]:
        tree = board("rpi5_idle").build(tmp_path / str(seed), seed)
        return {f"{chip.name} {chip.folder}" for chip in tree.hwmon()}

    assert len({frozenset(numbers(seed)) for seed in range(5)}) > 1


def test_a_marked_file_fails_as_it_says(tmp_path: Path) -> None:
    tree = build_tree(tmp_path, {"sys/a": "!EIO", "sys/b": "!EACCES", "sys/c": "EIO!"})
    with pytest.raises(SensorError, match="EIO"):
        tree.text("sys/a")
    with pytest.raises(SensorDenied):
        tree.text("sys/b")
    assert tree.text("sys/c") == "EIO!"


def test_the_fake_firmware_answers_refuses_and_fails() -> None:
    firmware = FakeFirmware({"get_throttled": "throttled=0x0", "pmic_read_adc": "!EACCES"})
    assert firmware.ask("get_throttled") == "throttled=0x0"
    assert firmware.ask("anything") == 'error=1 error_msg="Command not registered"'
    with pytest.raises(SensorDenied):
        firmware.ask("pmic_read_adc")


@pytest.mark.parametrize("name", board_names())
def test_every_fixture_tells_its_source_and_marks_what_was_invented(name: str) -> None:
    fixture = board(name)
    assert fixture.source
    assert fixture.says or name == "jetson_nano_2gb"
    assert re.fullmatch(r"[a-z0-9_]+", name)
