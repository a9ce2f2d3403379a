"""A small file in the state folder that must outlive a restart; whoever owns it says what stands in it."""

from __future__ import annotations

from pathlib import Path

from edge_agent.files import write_atomic

_PRIVATE = 0o600
_LARGEST_BYTES = 1_048_576


class StateFile:
    """Readable to the daemon's user alone.

    Args:
        path: of the file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes:
        """What stands there, a megabyte at most; nothing where it cannot be read."""
        try:
            with self.path.open("rb") as file:
                return file.read(_LARGEST_BYTES)
        except OSError:
            return b""

    def write(self, content: bytes) -> str | None:
        """Writes it whole or not at all; why it could not be, in words, or None."""
        try:
            write_atomic(self.path, content, mode=_PRIVATE)
        except OSError as error:
            return error.strerror or type(error).__name__
        return None
