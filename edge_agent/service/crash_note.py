"""The note that a process leaves when a fatal signal of its own making ends it.

``faulthandler`` writes the stacks of all threads when SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT arrives:
file names, functions and line numbers, never values, so never a user's text. SIGKILL (the kernel out of
memory, an impatient operator), a power cut and a clean end leave no note: that is how the next start tells a
crash from them. A native stack overflow on a thread leaves none either: the handler has no other stack there.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import re
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from io import UnsupportedOperation
from pathlib import Path

MOST_BYTES = 65_536
_SIGNAL = re.compile(r"Fatal Python error: ([^\n]{1,100})\n")
_CURRENT = re.compile(r"^Current thread 0x([0-9a-fA-F]{1,16})\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Crash:
    """What a note says.

    Attributes:
        signal: in faulthandler's words, ``Segmentation fault``.
        thread: identity (``threading.get_ident``) of the Python thread that the signal came to; None where it
            was one of the runtime's own threads, which Python does not know.
        trace: the whole note, for diagnostics.
    """

    signal: str
    thread: int | None
    trace: str


def parse_crash(note: bytes) -> Crash | None:
    """Reads a note; None where it is empty, or was not written by ``faulthandler``."""
    text = note[:MOST_BYTES].decode("ascii", "replace")
    signal = _SIGNAL.match(text)
    if signal is None:
        return None
    current = _CURRENT.search(text)
    return Crash(signal[1], int(current[1], 16) if current else None, text)


def open_own(path: Path) -> int:
    """Opens a file of this user's to read and write, makes it where it is missing; returns its descriptor.

    Raises:
        OSError: it cannot be opened, is a link, or belongs to someone else, who could cut it short under us.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "not a file of this user's")
    return descriptor


class CrashNote:
    """The file of the note. :meth:`read` what the last process left, then :meth:`expect` the next.

    Args:
        path: in a folder in memory.

    Raises:
        OSError: it cannot be written there.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_own(path)
        self._expects = False

    def read(self) -> Crash | None:
        """What the last process left.

        Raises:
            OSError: it cannot be read.
        """
        return parse_crash(os.pread(self._descriptor, MOST_BYTES, 0))

    def expect(self) -> None:
        """Empties the note, and has a fatal signal written there from now on, in place of standard error.

        Raises:
            OSError: it cannot be emptied.
        """
        os.ftruncate(self._descriptor, 0)
        faulthandler.enable(self._descriptor, all_threads=True)
        self._expects = True

    def close(self) -> None:
        """Gives fatal signals back to standard error, and frees the file."""
        if self._expects:
            faulthandler.disable()
            with suppress(AttributeError, UnsupportedOperation, RuntimeError, ValueError):
                faulthandler.enable(sys.stderr)
            self._expects = False
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
