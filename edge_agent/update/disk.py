"""The few calls by which the store changes the disk, each of them one step that a power cut may fall between.

They are methods of one object, so that a test can count them, let the n-th fail or end the process at it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge_agent.files import sync_folder, write_atomic
from edge_agent.update.refusal import Reason, UpdateError

_HERE: Final = -100
"""AT_FDCWD of openat(2)."""
_EXCHANGE: Final = 2
"""RENAME_EXCHANGE of renameat2(2)."""


class Disk:
    """The real one."""

    def make_folder(self, path: Path) -> None:
        """Makes a folder where there is none, and its name durable."""
        if not path.is_dir():
            path.mkdir()
            sync_folder(path.parent)

    def write(self, path: Path, content: bytes) -> None:
        """Replaces a file atomically and durably."""
        write_atomic(path, content)

    def rename(self, source: Path, target: Path) -> None:
        """Gives a file, link or folder its name; durable only after :meth:`sync_folder`."""
        source.rename(target)

    def symlink(self, target: str, path: Path) -> None:
        """Makes a symbolic link."""
        path.symlink_to(target)

    def exchange(self, left: Path, right: Path) -> None:
        """Swaps two names atomically (renameat2(2), RENAME_EXCHANGE); links, files and folders alike.

        Raises:
            OSError: the file system or the kernel cannot.
        """
        call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if call is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        if call(_HERE, os.fsencode(left), _HERE, os.fsencode(right), _EXCHANGE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(left))

    def remove(self, path: Path) -> None:
        """Removes a link, a file, or a folder with all in it; what is not there is no fault."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Makes the names in a folder durable."""
        sync_folder(path)

    def sync_tree(self, folder: Path) -> None:
        """Makes a flat folder of plain files durable, contents first and names after."""
        for path in sorted(folder.iterdir()):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(folder)

    def free_bytes(self, path: Path) -> int:
        """What this user may still write on the file system of ``path``."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file while the block runs (flock(2)); a process that ends lets go by itself.

    Raises:
        UpdateError: another process holds it.
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UpdateError(
                Reason.BUSY, "another process changes the models of this device", hint="wait until it is done"
            ) from error
        yield
    finally:
        os.close(descriptor)


def make_for_owner(folder: Path) -> None:
    """Makes a folder and those above it; what root makes is given to the owner of the nearest one there was.

    Raises:
        OSError: it cannot be done.
    """
    missing: list[Path] = []
    nearest = folder
    while not nearest.exists():
        missing.append(nearest)
        nearest = nearest.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        give_tree(path, nearest)


def give_tree(folder: Path, like: Path) -> None:
    """Gives a folder and all in it to the owner of another one; does nothing unless root does it.

    Raises:
        OSError: it cannot be done.
    """
    owner = like.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
