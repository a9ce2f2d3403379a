"""The mailbox: its message word by word, against a kernel and firmware that check it as the real ones do."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.power.mailbox import (
    DONE,
    GET_GENCMD_RESULT,
    IOCTL_PROPERTY,
    MESSAGE_BYTES,
    TEXT_BYTES,
    Mailbox,
    exchange,
    pack,
    unpack,
)
from edge_agent.telemetry.power.throttling import Throttling
from edge_agent.telemetry.reading import SensorDenied, SensorError
from edge_agent.telemetry.sysfs import Tree
from tests.telemetry.trees import board


class FakeVcio:
    """The kernel's device and the firmware behind it.

    It checks a message as drivers/char/broadcom/vcio.c does for ``/dev/vcio_gencmd`` (``vcio_check_tags``),
    and answers as the firmware: text from word 6 on, and bit 31 of word 4 with the length.
    """

    def __init__(self, answers: dict[str, str], refused: frozenset[str] = frozenset()) -> None:
        self.answers = answers
        self.refused = refused
        self.opened: list[str] = []

    def exchange(self, device: Path, message: bytearray) -> None:
        self.opened.append(device.name)
        if device.name in self.refused:
            raise PermissionError(errno.EACCES, "injected", str(device))
        size, request, tag, value_bytes = struct.unpack_from("=4I", message)
        if size != len(message) or request != 0:
            raise OSError(errno.EINVAL, "injected")
        if tag != GET_GENCMD_RESULT:
            raise PermissionError(errno.EPERM, "injected")
        if value_bytes > size - 8 - 12:
            raise OSError(errno.EINVAL, "injected")
        command = bytes(message[24:]).partition(b"\0")[0].decode()
        text = self.answers[command].encode()
        message[24 : 24 + TEXT_BYTES] = text.ljust(TEXT_BYTES, b"\0")[:TEXT_BYTES]
        struct.pack_into("=I", message, 4, DONE)
        struct.pack_into("=I", message, 16, (1 << 31) | (len(text) + 4))


def device_tree(root: Path, *devices: str) -> Tree:
    for device in devices:
        (root / "dev").mkdir(exist_ok=True)
        (root / "dev" / device).touch()
    return Tree(root)


def test_the_fake_refuses_what_the_kernel_refuses() -> None:
    vcio = FakeVcio({"get_throttled": "throttled=0x0"})
    good = pack("get_throttled")
    for offset, value in ((0, 12), (4, 1), (8, 0x00030007), (12, MESSAGE_BYTES)):
        wrong = bytearray(good)
        struct.pack_into("=I", wrong, offset, value)
        with pytest.raises(OSError, match="injected"):
            vcio.exchange(Path("/dev/vcio"), wrong)
    vcio.exchange(Path("/dev/vcio"), good)
    assert unpack(bytes(good)) == "throttled=0x0"


def test_the_message_is_that_of_vcgencmd() -> None:
    words = struct.unpack(f"={MESSAGE_BYTES // 4}I", pack("get_throttled"))
    assert len(words) == (1024 >> 2) + 7
    assert words[:6] == (1052, 0, 0x00030080, 1024, 0, 0)
    assert words[-1] == 0
    assert bytes(pack("get_throttled"))[24:38] == b"get_throttled\0"


def test_the_ioctl_is_iowr_100_0_of_a_pointer() -> None:
    expected = {8: 0xC0086400, 4: 0xC0046400}
    assert expected[struct.calcsize("P")] == IOCTL_PROPERTY


@pytest.mark.parametrize("command", ["pmic_read_adc", "get_throttled"])
def test_an_answer_comes_back_as_the_firmware_gave_it(tmp_path: Path, command: str) -> None:
    answers = dict(board("rpi5_idle").commands)
    mailbox = Mailbox(device_tree(tmp_path, "vcio"), FakeVcio(answers).exchange)
    assert mailbox.ask(command) == answers[command]


def test_the_device_for_this_one_tag_is_tried_first(tmp_path: Path) -> None:
    vcio = FakeVcio({"get_throttled": "throttled=0x0"})
    tree = device_tree(tmp_path, "vcio", "vcio_gencmd")
    Mailbox(tree, vcio.exchange).ask("get_throttled")
    assert vcio.opened == ["vcio_gencmd"]


def test_where_one_device_is_refused_the_other_is_tried(tmp_path: Path) -> None:
    vcio = FakeVcio({"get_throttled": "throttled=0x50005"}, frozenset({"vcio_gencmd"}))
    mailbox = Mailbox(device_tree(tmp_path, "vcio", "vcio_gencmd"), vcio.exchange)
    assert Throttling(mailbox).read().under_voltage is True
    assert vcio.opened == ["vcio_gencmd", "vcio"]


def test_where_all_devices_are_refused_the_right_is_what_is_missing(tmp_path: Path) -> None:
    vcio = FakeVcio({}, frozenset({"vcio_gencmd", "vcio"}))
    mailbox = Mailbox(device_tree(tmp_path, "vcio", "vcio_gencmd"), vcio.exchange)
    with pytest.raises(SensorDenied, match="/dev/vcio: permission denied"):
        mailbox.ask("get_throttled")


def test_without_a_device_there_is_no_mailbox(tmp_path: Path) -> None:
    mailbox = Mailbox(Tree(tmp_path))
    assert not mailbox.present()
    with pytest.raises(SensorError, match="neither /dev/vcio_gencmd nor /dev/vcio"):
        mailbox.ask("get_throttled")


def test_a_file_that_is_no_mailbox_is_an_error_and_no_crash(tmp_path: Path) -> None:
    tree = device_tree(tmp_path, "vcio")
    with pytest.raises(OSError, match=r"ioctl|Inappropriate"):
        exchange(tmp_path / "dev/vcio", pack("get_throttled"))
    with pytest.raises(SensorError, match="/dev/vcio: ENOTTY"):
        Mailbox(tree).ask("get_throttled")


def test_a_pi_whose_mailbox_does_not_work_has_a_note_and_keeps_the_flags_for_later(tmp_path: Path) -> None:
    inventory = find_sensors(device_tree(tmp_path, "vcio"))
    assert [source.name for source in inventory.supply] == ["firmware"]
    assert inventory.notes == ("firmware: /dev/vcio: ENOTTY. It is asked again at every look.",)


def test_an_answer_that_fills_the_buffer_is_cut_off(tmp_path: Path) -> None:
    vcio = FakeVcio({"pmic_read_adc": "x" * TEXT_BYTES})
    mailbox = Mailbox(device_tree(tmp_path, "vcio"), vcio.exchange)
    with pytest.raises(SensorError, match="cut off"):
        mailbox.ask("pmic_read_adc")


@pytest.mark.parametrize("command", ["é", "x" * TEXT_BYTES])
def test_a_command_that_cannot_be_sent_is_not(command: str) -> None:
    with pytest.raises(SensorError, match="cannot be sent"):
        pack(command)


def test_an_answer_that_nobody_gave_is_refused() -> None:
    with pytest.raises(SensorError, match="did not do what it was asked"):
        unpack(bytes(pack("get_throttled")))


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=64), st.binary(min_size=MESSAGE_BYTES, max_size=MESSAGE_BYTES)))
def test_no_bytes_make_it_raise_anything_else(message: bytes) -> None:
    try:
        unpack(message)
    except SensorError:
        pass
    else:
        assert len(message) == MESSAGE_BYTES
