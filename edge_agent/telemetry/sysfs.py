"""Reading the kernel's files: what is absent is None; what is there and broken is a SensorError.

The kernel's rules (Documentation/hwmon/sysfs-interface.rst): one value in a file, in text, with a newline; a
read may fail with EIO, ENODATA, EAGAIN or ENXIO at any time; the numbers of ``hwmonN`` change from boot to
boot, so a chip is known by its ``name``. Device-tree properties (Devicetree Specification, 2.2.4) are strings
that end in NUL, or big-endian numbers.
"""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.telemetry.reading import SensorDenied, SensorError

Reader = Callable[[Path, int], bytes]
"""Reads at most so many bytes of a file; raises OSError."""

LIMIT_BYTES = 4096
"""What the kernel gives at most for one attribute: a page."""

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_REASONS = {
    errno.EIO: "the device does not answer (EIO)",
    errno.ENODATA: "it has no value now (ENODATA)",
    errno.EAGAIN: "it is not ready (EAGAIN)",
    errno.ENXIO: "the device is gone (ENXIO)",
    errno.ENODEV: "the device is gone (ENODEV)",
    errno.ETIMEDOUT: "the device does not answer in time (ETIMEDOUT)",
    errno.EISDIR: "it is a folder",
}
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}")


def read_bytes(path: Path, limit: int) -> bytes:
    """The first ``limit`` bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return file.read(limit) or b""


def reason_of(error: OSError) -> str:
    """An OSError in plain words, without the path."""
    if error.errno in _DENIED:
        return "permission denied"
    number = error.errno or 0
    return _REASONS.get(number, errno.errorcode.get(number, "it cannot be read"))


def sensor_error(what: str, error: OSError) -> SensorError:
    """The OSError as a SensorError, or as a SensorDenied where rights are what is missing."""
    kind = SensorDenied if error.errno in _DENIED else SensorError
    return kind(f"{what}: {reason_of(error)}")


def to_text(raw: bytes) -> str:
    """The text of an attribute without its newline or NUL.

    Raises:
        SensorError: it is empty, or not text.
    """
    try:
        text = raw.decode("utf-8").strip("\0\n ")
    except UnicodeDecodeError:
        raise SensorError("it holds no text") from None
    if not text:
        raise SensorError("it is empty")
    if not text.isprintable():
        raise SensorError("it holds no text")
    return text


def to_number(text: str) -> int:
    """A whole number as the kernel writes it.

    Raises:
        SensorError: it is something else.
    """
    if not _NUMBER.fullmatch(text):
        raise SensorError("it holds no number")
    return int(text)


@dataclass(frozen=True, slots=True)
class Hwmon:
    """A chip under ``/sys/class/hwmon``: its folder below the root, and its driver's name."""

    folder: str
    name: str


class Tree:
    """The files of one machine. Paths are relative to its root: ``sys/class/hwmon``.

    Args:
        root: where ``proc``, ``sys`` and ``dev`` are.
        read: reads a file; tests pass one that fails.
    """

    def __init__(self, root: Path = Path("/"), read: Reader = read_bytes) -> None:
        self.root = root
        self._read = read

    def raw(self, path: str, limit: int = LIMIT_BYTES) -> bytes | None:
        """The bytes of a file, or None where there is no such file.

        Raises:
            SensorError: it is there and cannot be read, or is longer than ``limit`` bytes.
            SensorDenied: the rights are missing.
        """
        try:
            content = self._read(self.root / path, limit + 1)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise sensor_error(f"/{path}", error) from error
        except ValueError:  # a NUL in the path
            return None
        if len(content) > limit:
            raise SensorError(f"/{path}: it is longer than {limit} bytes")
        return content

    def text(self, path: str) -> str | None:
        """The text of a file without newline or NUL, or None where there is no such file.

        Raises:
            SensorError: it cannot be read, is empty, or holds no text.
        """
        content = self.raw(path)
        if content is None:
            return None
        try:
            return to_text(content)
        except SensorError as error:
            raise SensorError(f"/{path}: {error}") from None

    def number(self, path: str) -> int | None:
        """The whole number in a file, in the unit of that file, or None where there is no such file.

        Raises:
            SensorError: it cannot be read, is empty, or holds no number.
        """
        text = self.text(path)
        if text is None:
            return None
        try:
            return to_number(text)
        except SensorError as error:
            raise SensorError(f"/{path}: {error}") from None

    def u32(self, path: str) -> int | None:
        """The big-endian 32-bit number of a device-tree property, or None where there is no such property.

        Raises:
            SensorError: it cannot be read, or does not have four bytes.
        """
        content = self.raw(path)
        if content is None:
            return None
        if len(content) != 4:
            raise SensorError(f"/{path}: it does not have four bytes")
        return int(struct.unpack(">I", content)[0])

    def exists(self, path: str) -> bool:
        """Whether something is there; False where that cannot be known."""
        try:
            return (self.root / path).exists()
        except (OSError, ValueError):
            return False

    def names(self, folder: str) -> tuple[str, ...]:
        """The names in a folder, sorted; none where there is no such folder or it may not be read."""
        try:
            return tuple(sorted(entry.name for entry in (self.root / folder).iterdir()))
        except OSError:
            return ()

    def hwmon(self, *drivers: str) -> tuple[Hwmon, ...]:
        """The hwmon chips of these drivers, all without any; one whose name cannot be read is left out."""
        found = []
        for entry in self.names("sys/class/hwmon"):
            folder = f"sys/class/hwmon/{entry}"
            try:
                name = self.text(f"{folder}/name")
            except SensorError:
                continue
            if name is not None and (not drivers or name in drivers):
                found.append(Hwmon(folder, name))
        return tuple(found)
