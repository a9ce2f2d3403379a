"""Writing files that matter: either the old content is there or the whole new one, power cut or not.

The order is the one that ext4, XFS and F2FS need: temporary file beside the target → write → ``fsync`` →
``os.replace`` → ``fsync`` of the folder. Readers elsewhere tolerate garbage; a writer that fails leaves what
was there and raises.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_atomic(path: str | os.PathLike[str], content: bytes, *, mode: int = 0o644) -> None:
    """Replace the file at ``path`` by ``content``, atomically and durably.

    Args:
        path: the file; its folder must exist.
        content: the whole new content.
        mode: permission bits of the new file.

    Raises:
        OSError: nothing was changed at ``path`` unless only the last ``fsync`` of the folder failed.
    """
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    sync_folder(target.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make names created, renamed or removed in ``folder`` durable.

    Raises:
        OSError: the folder cannot be opened or synchronised.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
