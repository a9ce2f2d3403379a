"""What kernels, drivers and boards have been seen to do: nothing of it ends in a false figure or a crash."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.power.ina2xx import Ina2xx, shunts
from edge_agent.telemetry.reading import Inventory, PowerReading, SensorError
from edge_agent.telemetry.sysfs import Tree
from tests.telemetry.trees import Board, FakeFirmware, board, board_names, build_tree

ORIN = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
AGX = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
NANO = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
HAT = "sys/class/hwmon/hwmon1"
BROKEN = ("!EIO", "!ENODATA", "!EACCES", "", "garbage", "\x00", "1 2", "9" * 5000)


def look(fixture: Board, root: Path) -> Inventory:
    return find_sensors(fixture.build(root), firmware=fixture.firmware())


def first(fixture: Board, root: Path) -> PowerReading:
    return look(fixture, root).power[0].read()


def test_a_rail_of_the_total_that_fails_makes_the_total_fail_and_it_is_asked_again(tmp_path: Path) -> None:
    inventory = look(board("jetson_agx_orin_jp5").with_files({f"{AGX}/curr2_input": "!EIO"}), tmp_path)
    assert len(inventory.notes) == 1
    assert inventory.notes[0].endswith(
        "curr2_input: the device does not answer (EIO). It is asked again at every look."
    )
    with pytest.raises(SensorError, match="EIO"):
        inventory.power[0].read()
    for file in tmp_path.glob("sys/devices/**/curr2_input"):
        file.write_text("20\n")
    assert inventory.power[0].read().power_w == 8.512864


def test_a_rail_beside_the_total_that_fails_is_left_out(tmp_path: Path) -> None:
    reading = first(board("jetson_orin_nano_jp5").with_files({f"{ORIN}/in3_input": "!EIO"}), tmp_path)
    assert reading.power_w == 4.729536
    assert set(reading.rails) == {"VDD_IN", "VDD_CPU_GPU_CV"}


def test_a_rail_of_the_total_that_is_switched_off_leaves_the_total_unknown(tmp_path: Path) -> None:
    reading = first(board("jetson_orin_nano_jp5").with_files({f"{ORIN}/in1_enable": "0"}), tmp_path)
    assert reading.power_w is None
    assert set(reading.rails) == {"VDD_CPU_GPU_CV", "VDD_SOC"}


def test_a_channel_without_a_label_is_no_rail(tmp_path: Path) -> None:
    reading = first(board("jetson_orin_nano_jp5").with_files({f"{ORIN}/in2_label": None}), tmp_path)
    assert set(reading.rails) == {"VDD_IN", "VDD_SOC"}


def test_an_unconnected_channel_is_no_rail_though_it_can_be_read(tmp_path: Path) -> None:
    chip = "sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon4"
    files: dict[str, str | None] = {f"{chip}/in1_input": "5000", f"{chip}/curr1_input": "3"}
    assert "NC" not in first(board("jetson_agx_orin_jp5").with_files(files), tmp_path).rails


def test_a_total_without_its_label_is_not_made_up_from_the_others(tmp_path: Path) -> None:
    inventory = look(board("jetson_orin_nano_jp5").with_files({f"{ORIN}/in1_label": None}), tmp_path)
    assert inventory.power == ()
    assert "VDD_CPU_GPU_CV, VDD_SOC" in inventory.notes[0]


def test_a_driver_without_power_in_jetpack_4_is_read_by_volts_and_amperes(tmp_path: Path) -> None:
    reading = first(board("jetson_nano_jp4").with_files({f"{NANO}/in_power0_input": None}), tmp_path)
    assert reading.power_w == 5040 * 423 / 1e6


def test_a_negative_rail_keeps_its_sign_and_does_not_touch_the_total(tmp_path: Path) -> None:
    reading = first(board("jetson_agx_thor_jp7"), tmp_path)
    assert reading.rails["VDD_GPU"] == -0.392
    assert reading.power_w == 29.85


def test_a_thor_without_its_input_chip_has_no_total(tmp_path: Path) -> None:
    fixture = board("jetson_agx_thor_jp7")
    gone: dict[str, str | None] = {path: None for path in fixture.files if "/hwmon5/" in path}
    assert look(fixture.with_files(gone), tmp_path).power == ()


def test_a_chip_wired_the_other_way_round_gives_a_magnitude(tmp_path: Path) -> None:
    turned = board("ina226_hat").with_files({f"{HAT}/curr1_input": "-820", f"{HAT}/power1_input": None})
    assert first(turned, tmp_path).power_w == 5016 * 820 / 1e6


def test_of_several_chips_none_is_taken_for_the_input(tmp_path: Path) -> None:
    two = board("ina226_hat").with_files(
        {"sys/class/hwmon/hwmon2/name": "ina219", "sys/class/hwmon/hwmon2/power1_input": "100"}
    )
    inventory = look(two, tmp_path)
    assert inventory.power == ()
    assert "several chips" in inventory.notes[0]


def test_the_shunt_and_the_averaging_of_a_chip_can_be_told(tmp_path: Path) -> None:
    (chip,) = look(board("ina226_hat").with_files({f"{HAT}/update_interval": "250"}), tmp_path).power
    assert isinstance(chip, Ina2xx)
    assert chip.shunt_ohms == 0.01
    assert chip.update_seconds == 0.25
    assert chip.chip == "ina226"


def test_all_shunts_are_told_whether_or_not_a_chip_is_the_total(tmp_path: Path) -> None:
    two = board("ina226_hat").with_files(
        {"sys/class/hwmon/hwmon2/name": "ina219", "sys/class/hwmon/hwmon2/shunt_resistor": "100000"}
    )
    assert sorted(shunts(two.build(tmp_path))) == [("ina219", 0.1), ("ina226", 0.01)]


@pytest.mark.parametrize("text", ["", "0", "-1", "!EIO", "garbage"])
def test_a_shunt_that_makes_no_sense_is_unknown(tmp_path: Path, text: str) -> None:
    (chip,) = look(board("ina226_hat").with_files({f"{HAT}/shunt_resistor": text}), tmp_path).power
    assert isinstance(chip, Ina2xx)
    assert chip.shunt_ohms is None


def test_the_core_voltage_of_new_kernels_is_not_the_supply(tmp_path: Path) -> None:
    (source,) = look(board("rpi_kernel_2026_volts"), tmp_path).supply
    assert source.read().supply_v is None


def test_a_pi_5_that_stammers_at_the_start_keeps_its_sensor(tmp_path: Path) -> None:
    fixture = board("rpi5_idle")
    answer = fixture.commands["pmic_read_adc"]
    answers = {**fixture.commands, "pmic_read_adc": "!EIO"}
    inventory = find_sensors(fixture.build(tmp_path), firmware=FakeFirmware(answers))
    assert [source.name for source in inventory.power] == ["pmic"]
    answers["pmic_read_adc"] = answer
    assert inventory.power[0].read().power_w == 2.947978


@pytest.mark.parametrize("cut", range(0, 909, 7))
def test_a_pi_5_answer_that_is_cut_off_is_never_a_smaller_sum(tmp_path: Path, cut: int) -> None:
    fixture = board("rpi5_idle")
    answers = {**fixture.commands, "pmic_read_adc": fixture.commands["pmic_read_adc"][:cut]}
    source = find_sensors(fixture.build(tmp_path), firmware=FakeFirmware(answers)).power[0]
    try:
        reading = source.read()
    except SensorError:
        return
    assert reading.power_w == 2.947978


def test_a_firmware_that_fails_at_the_flags_leaves_the_legacy_file(tmp_path: Path) -> None:
    tree = board("rpi3_old_kernel").build(tmp_path)
    inventory = find_sensors(tree, firmware=FakeFirmware({"get_throttled": "!EACCES"}))
    assert [source.read().throttled for source in inventory.supply] == [True]
    assert "group `video`" in inventory.notes[0]


def test_a_pi_without_any_mailbox_says_what_hides_it(tmp_path: Path) -> None:
    tree = build_tree(tmp_path, {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0"})
    assert "PrivateDevices=" in find_sensors(tree).notes[0]


def test_usb_c_negotiation_and_other_machines_batteries_are_not_ours(tmp_path: Path) -> None:
    assert look(board("jetson_agx_orin_jp5"), tmp_path / "agx").batteries == ()
    names = [battery.name for battery in look(board("laptop_on_mains"), tmp_path / "laptop").batteries]
    assert names == ["BAT0"]


def test_an_alarm_that_is_no_bit_is_an_error(tmp_path: Path) -> None:
    tree = build_tree(
        tmp_path, {"sys/class/hwmon/hwmon0/name": "rpi_volt", "sys/class/hwmon/hwmon0/in0_lcrit_alarm": "2"}
    )
    (source,) = find_sensors(tree).supply
    with pytest.raises(SensorError, match="neither 0 nor 1"):
        source.read()


@pytest.mark.parametrize("name", board_names())
def test_whatever_breaks_there_is_no_crash_and_no_other_total(name: str, tmp_path: Path) -> None:
    """Each file of each board, in every way: the total is the true one, unknown, or the source is gone."""
    fixture = board(name)
    tree = fixture.build(tmp_path)
    true = {(part["source"], part["scope"]): part.get("power_w") for part in fixture.says.get("power", [])}
    for file in [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]:
        content = file.read_bytes()
        for broken in BROKEN:
            file.write_text(broken)
            _check(find_sensors(tree, firmware=fixture.firmware()), true)
        file.unlink()
        _check(find_sensors(tree, firmware=fixture.firmware()), true, tolerance=0.01)
        file.write_bytes(content)


def _check(inventory: Inventory, true: dict[tuple[str, str], float | None], tolerance: float = 0.0) -> None:
    for source in inventory.power:
        try:
            reading = source.read()
        except SensorError:
            continue
        expected = true.get((source.name, source.scope.value))
        if expected is not None and reading.power_w is not None:
            assert reading.power_w == pytest.approx(expected, abs=tolerance)
        assert reading.power_w != 0
    for supply in inventory.supply:
        with suppress(SensorError):
            supply.read()
    for battery in inventory.batteries:
        with suppress(SensorError):
            battery.read()


def test_nothing_is_found_on_an_empty_machine(tmp_path: Path) -> None:
    assert find_sensors(Tree(tmp_path)) == Inventory()
