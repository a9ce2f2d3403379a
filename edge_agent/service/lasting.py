"""A log that cannot be written ends nothing: a full disk under it, or a reader that went away."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TextIO


class LastingStream(io.TextIOBase):
    """Passes on what is written, and forgets what cannot be.

    Args:
        stream: where to; its buffer, which is bounded, may bring the latest lines once there is room again.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, or does not; returns the number of characters either way."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Empties the buffer as far as possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether somebody watches."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor below, by which the log knows the journal.

        Raises:
            OSError: there is none.
        """
        return self._stream.fileno()
