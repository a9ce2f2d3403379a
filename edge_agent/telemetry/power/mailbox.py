"""The Raspberry Pi's firmware, asked through the kernel's mailbox device: no subprocess, no library.

What ``vcgencmd`` does (raspberrypi/utils, vcgencmd/vcgencmd.c): a property message with the tag
``GET_GENCMD_RESULT`` goes through one ioctl of ``/dev/vcio``, and the text of the answer comes back in the
same buffer. Kernels of 2026 have ``/dev/vcio_gencmd`` beside it, which lets only this tag through and is the
one that the group ``video`` may open (raspberrypi/linux, drivers/char/broadcom/vcio.c); it is tried first.

The message, in 32-bit words of the machine's order:

    0       bytes of the whole message
    1       0 in the request; 0x80000000 in the answer: done
    2       the tag, 0x00030080
    3       bytes of the value buffer
    4       bytes of the request; the length in the answer
    5       0; the command's own error code in the answer
    6…      the command, then the answer, each ending in NUL
    last    0, the end tag
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge_agent.telemetry.reading import SensorDenied, SensorError
from edge_agent.telemetry.sysfs import Tree, sensor_error

DEVICES = ("dev/vcio_gencmd", "dev/vcio")
REMEDY = (
    "Add the user of the service to the group `video`, and allow /dev/vcio_gencmd and /dev/vcio in the unit "
    "(DeviceAllow=)."
)

GET_GENCMD_RESULT = 0x00030080
DONE = 0x80000000
TEXT_BYTES = 1024
"""Room for the command and for its answer; the longest known answer, that of ``pmic_read_adc``, has 909."""

_HEAD = struct.Struct("=6I")
_END = struct.Struct("=I")
MESSAGE_BYTES = _HEAD.size + TEXT_BYTES + _END.size

IOCTL_PROPERTY = (3 << 30) | (struct.calcsize("P") << 16) | (100 << 8)
"""``_IOWR(100, 0, char *)`` (asm-generic/ioctl.h): both ways, the size of a pointer, magic 100, number 0."""

Exchange = Callable[[Path, bytearray], None]
"""Sends a message to a device and has the answer in the same buffer; raises OSError."""


class Firmware(Protocol):
    """Whoever answers the firmware's text commands."""

    def ask(self, command: str) -> str:
        """The answer to a command, such as ``get_throttled``.

        Raises:
            SensorError: there was none.
        """


def exchange(device: Path, message: bytearray) -> None:
    """The ioctl itself.

    Raises:
        OSError: the device cannot be opened, or refuses the message.
    """
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, IOCTL_PROPERTY, message, True)
    finally:
        os.close(descriptor)


def pack(command: str) -> bytearray:
    """The message that asks for a command.

    Raises:
        SensorError: the command is not ASCII, or too long.
    """
    if not command.isascii() or len(command) >= TEXT_BYTES:
        raise SensorError("firmware: the command cannot be sent")
    head = _HEAD.pack(MESSAGE_BYTES, 0, GET_GENCMD_RESULT, TEXT_BYTES, 0, 0)
    return bytearray(head + command.encode().ljust(TEXT_BYTES, b"\0") + _END.pack(0))


def unpack(message: bytes) -> str:
    """The text of an answer.

    Raises:
        SensorError: the message is no answer, or its text is cut off or no text.
    """
    if len(message) != MESSAGE_BYTES:
        raise SensorError("firmware: the answer has the wrong length")
    _, status, tag, *_ = _HEAD.unpack_from(message)
    if status != DONE or tag != GET_GENCMD_RESULT:
        raise SensorError("firmware: it did not do what it was asked")
    text, end, _ = message[_HEAD.size : -_END.size].partition(b"\0")
    if not end:
        raise SensorError("firmware: the answer is cut off")
    try:
        return text.decode("ascii")
    except UnicodeDecodeError:
        raise SensorError("firmware: the answer is no text") from None


class Mailbox:
    """The firmware behind the mailbox devices of a tree.

    Args:
        tree: where ``dev/`` is.
        exchange: the ioctl; tests pass one that plays the firmware.
    """

    def __init__(self, tree: Tree, exchange: Exchange = exchange) -> None:
        self._tree = tree
        self._exchange = exchange

    def present(self) -> bool:
        """Whether the kernel shows a mailbox device."""
        return any(self._tree.exists(device) for device in DEVICES)

    def ask(self, command: str) -> str:
        """The answer to a command; blocks while the firmware thinks, some milliseconds.

        Raises:
            SensorDenied: no device may be opened.
            SensorError: there is no device, or the answer cannot be used.
        """
        failure = SensorError("firmware: there is neither /dev/vcio_gencmd nor /dev/vcio")
        for device in DEVICES:
            if not self._tree.exists(device):
                continue
            message = pack(command)
            try:
                self._exchange(self._tree.root / device, message)
            except OSError as error:
                failure = sensor_error(f"/{device}", error)
                if isinstance(failure, SensorDenied):
                    continue
                raise failure from error
            return unpack(bytes(message))
        raise failure
