"""Reading the kernel's files: absent is None, broken is a SensorError that says why in plain words."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.telemetry.reading import SensorDenied, SensorError
from edge_agent.telemetry.sysfs import LIMIT_BYTES, Reader, Tree, to_number, to_text
from tests.telemetry.trees import build_tree


def failing(number: int) -> Reader:
    def read(path: Path, limit: int) -> bytes:
        raise OSError(number, "injected", str(path))

    return read


def giving(content: bytes) -> Reader:
    return lambda path, limit: content[:limit]


READS: list[Callable[[Tree, str], object]] = [Tree.raw, Tree.text, Tree.number, Tree.u32]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR])
def test_what_is_absent_is_none(read: Callable[[Tree, str], object], number: int) -> None:
    assert read(Tree(read=failing(number)), "sys/x") is None


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EIO, "/sys/x: the device does not answer (EIO)"),
        (errno.ENODATA, "/sys/x: it has no value now (ENODATA)"),
        (errno.EAGAIN, "/sys/x: it is not ready (EAGAIN)"),
        (errno.ENXIO, "/sys/x: the device is gone (ENXIO)"),
        (errno.EISDIR, "/sys/x: it is a folder"),
        (errno.ELOOP, "/sys/x: ELOOP"),
    ],
)
def test_what_fails_says_why(read: Callable[[Tree, str], object], number: int, words: str) -> None:
    with pytest.raises(SensorError) as caught:
        read(Tree(read=failing(number)), "sys/x")
    assert str(caught.value) == words
    assert not isinstance(caught.value, SensorDenied)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_missing_rights_are_told_apart(number: int) -> None:
    with pytest.raises(SensorDenied, match="/sys/x: permission denied"):
        Tree(read=failing(number)).number("sys/x")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"\0", "it is empty"),
        (b"\xff\xfe", "it holds no text"),
        (b"a\x1b[2Jb", "it holds no text"),
        (b"x" * (LIMIT_BYTES + 1), "it is longer than 4096 bytes"),
    ],
)
def test_what_is_no_text_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(SensorError, match=words):
        Tree(read=giving(content)).text("sys/x")


@pytest.mark.parametrize(
    "content", [b"32760 ma\n", b"0x10\n", b"1_000\n", b"1.5\n", "٣\n".encode(), b"--1\n"]
)
def test_what_is_no_number_is_refused(content: bytes) -> None:
    with pytest.raises(SensorError, match="/sys/x: it holds no number"):
        Tree(read=giving(content)).number("sys/x")


@pytest.mark.parametrize(("content", "value"), [(b"952\n", 952), (b"-392\n", -392), (b"+7", 7), (b"0\n", 0)])
def test_numbers_are_read_with_their_sign(content: bytes, value: int) -> None:
    assert Tree(read=giving(content)).number("sys/x") == value


def test_a_device_tree_number_has_four_bytes() -> None:
    assert Tree(read=giving(struct.pack(">I", 5000))).u32("x") == 5000
    for content in (b"", b"\0\0\x13", b"\0\0\x13\x88\0"):
        with pytest.raises(SensorError, match="four bytes"):
            Tree(read=giving(content)).u32("x")


def test_a_device_tree_string_loses_its_nul(tmp_path: Path) -> None:
    tree = build_tree(tmp_path, {"proc/device-tree/model": "A board\0"})
    assert tree.text("proc/device-tree/model") == "A board"


def test_a_folder_that_is_not_there_has_no_names_and_a_path_that_cannot_be_is_absent(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert tree.names("sys/class/hwmon") == ()
    assert tree.hwmon() == ()
    assert tree.text("sys\0") is None
    assert not tree.exists("sys\0")


def test_a_folder_in_the_place_of_a_file_is_no_value(tmp_path: Path) -> None:
    (tmp_path / "in1_input").mkdir()
    with pytest.raises(SensorError, match="it is a folder"):
        Tree(tmp_path).number("in1_input")


@pytest.mark.parametrize("seed", range(4))
def test_a_chip_is_known_by_its_name_whatever_its_number(tmp_path: Path, seed: int) -> None:
    files = {f"sys/class/hwmon/hwmon{number}/name": f"chip{number}" for number in range(5)}
    tree = build_tree(tmp_path, files | {"sys/class/hwmon/hwmon9/name": "!EIO"}, seed)
    (found,) = tree.hwmon("chip3")
    assert tree.text(f"{found.folder}/name") == "chip3"
    assert len(tree.hwmon()) == 5


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_no_content_makes_reading_raise_anything_else(content: bytes) -> None:
    tree = Tree(read=giving(content))
    for read in READS:
        try:
            read(tree, "sys/x")
        except SensorError:
            continue


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_makes_the_parsers_raise_anything_else(text: str) -> None:
    with suppress(SensorError):
        assert to_number(text) == int(text)
    with suppress(SensorError):
        assert to_text(text.encode("utf-8", "surrogatepass")).isprintable()
