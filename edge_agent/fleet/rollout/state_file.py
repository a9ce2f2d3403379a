"""The file of one rollout: read, written as a whole, locked against a second driver, and asked through.

FILE          the state, replaced atomically before each action
.FILE.lock    held while somebody drives the rollout; names the process. Never removed: another process
              might hold the one that is gone
.FILE.ask     ``pause`` or ``halt``, for whoever drives it
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge_agent.errors import SettingsError
from edge_agent.files import write_atomic
from edge_agent.fleet.rollout.rollout_state import Rollout, parse, render

WISHES: Final = ("pause", "halt")
_LARGEST_BYTES: Final = 256_000_000


class DrivenError(SettingsError):
    """Another process drives the rollout."""


class StateFile:
    """A rollout's file.

    Args:
        path: of the state.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._wish = path.with_name(f".{path.name}.ask")
        self._lock = path.with_name(f".{path.name}.lock")

    def read(self) -> Rollout:
        """The rollout.

        Raises:
            SettingsError: there is none, or the file is something else.
        """
        try:
            if self.path.stat().st_size > _LARGEST_BYTES:
                raise SettingsError(f"{self.path}: too large to be a rollout")
            return parse(self.path.read_bytes())
        except FileNotFoundError as error:
            raise SettingsError(
                f"{self.path}: there is no such file",
                hint="edge-agent fleet rollout MODEL VERSION --to GROUP",
            ) from error
        except OSError as error:
            raise SettingsError(f"{self.path}: cannot be read ({error.strerror})") from error
        except SettingsError as error:
            raise SettingsError(f"{self.path}: {error}", hint=error.hint) from error

    def write(self, rollout: Rollout) -> None:
        """Replaces the state, durably.

        Raises:
            SettingsError: it cannot be written; what was there is there.
        """
        try:
            write_atomic(self.path, render(rollout))
        except OSError as error:
            raise SettingsError(
                f"{self.path}: cannot be written ({error.strerror})", hint="name another by --state FILE"
            ) from error

    @contextmanager
    def driving(self) -> Iterator[None]:
        """While this process drives the rollout; what was asked of an earlier one is forgotten.

        The lock goes with the process, however that ends (flock(2)).

        Raises:
            DrivenError: another process does.
            SettingsError: the folder may not be written.
        """
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SettingsError(
                f"{self._lock}: cannot be written ({error.strerror})",
                hint="name a file in a folder that you may write by --state FILE",
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise DrivenError(
                    f"{self.path}: process {self.driver()} drives this rollout already",
                    hint="edge-agent fleet rollout pause or halt tell it; show shows where it is",
                ) from error
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            self.take_wish()
            yield
        finally:
            os.close(descriptor)

    def driver(self) -> str:
        """The number of the process that drives it, as it wrote it."""
        with suppress(OSError, UnicodeDecodeError):
            text = self._lock.read_text("ascii").strip()
            if text.isdigit():
                return text
        return "unknown"

    def ask(self, wish: str) -> None:
        """Asks who drives it for one of :data:`WISHES`.

        Raises:
            SettingsError: the folder may not be written.
        """
        try:
            write_atomic(self._wish, wish.encode())
        except OSError as error:
            raise SettingsError(
                f"{self._wish}: cannot be written ({error.strerror})", hint="run it as whoever drives it"
            ) from error

    def take_wish(self) -> str | None:
        """What was asked, once."""
        try:
            wish = self._wish.read_text("ascii").strip()
            self._wish.unlink()
        except (OSError, UnicodeDecodeError):
            return None
        return wish if wish in WISHES else None
