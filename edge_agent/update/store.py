"""Where the versions of models lie, and the link that says which one serves.

    <models>/
      home -> .store/sha256-8f3a…         what the daemon finds under the model's name
      .store/                             hidden from the daemon's look into <models>
        sha256-8f3a…/  sha256-1c77…/      checked bundles, named by their digest, never changed
        journal/home.json                 what is decided (edge_agent.update.record)
        incoming/                         what is half done; emptied under the lock at every start
        lock

A folder gets its digest for a name only when all of it has been checked and is on the disk: files, then the
folder, then the rename, then the folder above. The link is turned by renaming a new one over it, so that
there is the old or the new one at any instant (rename(2)). A plain folder ``<models>/<name>`` that somebody
copied there is taken into the store, and exchanged with the link in one call.
"""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.errors import BundleError
from edge_agent.update.disk import Disk, give_tree, locked, make_for_owner
from edge_agent.update.record import DIGEST, Journal
from edge_agent.update.refusal import Reason, UpdateError

STORE: Final = ".store"
RESERVE_BYTES: Final = 32_000_000
"""What an update leaves free on the disk, for logs and the broker."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a checked bundle says it is; ``digest`` is ``sha256:…`` of its ``bundle.json``."""

    name: str
    version: str
    digest: str


Unpack = Callable[[Path, Path], Content]
"""Writes the bundle at the first path, of whatever form, as the new folder at the second, and checks it."""
Check = Callable[[Path], Content]
"""Checks every file of a bundle's folder. Both raise BundleError."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is kept besides what serves and what each model falls back to.

    Attributes:
        most_versions: of all models together.
        most_bytes: of them together.
    """

    most_versions: int = 2
    most_bytes: int = 100_000_000


class Store:
    """The store below one folder of models.

    Args:
        models: a folder that the settings name, ``models.directories``; made where it is missing.
        check: checks a folder.
        disk: changes the disk.
        reserve_bytes: what is left free.
    """

    def __init__(
        self, models: Path, check: Check, disk: Disk | None = None, *, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        self.models = models
        self.folder = models / STORE
        self.disk = disk or Disk()
        self.journal = Journal(self.folder / "journal", self.disk.write)
        self._check = check
        self._reserve_bytes = reserve_bytes
        self._incoming = self.folder / "incoming"

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Makes the folders, holds the lock, and clears what a cut left half done.

        Raises:
            UpdateError: another process is at it, or the folder cannot be written.
        """
        try:
            make_for_owner(self.models)
            for folder in (self.folder, self._incoming, self.folder / "journal"):
                _refuse_link(folder)
                self.disk.make_folder(folder)
            with locked(self.folder / "lock"):
                self._clear_incoming()
                yield
        except OSError as error:
            reason = Reason.NO_SPACE if error.errno in _FULL else Reason.DISK
            raise UpdateError(
                reason,
                f"{error.filename or self.folder}: {error.strerror or type(error).__name__}",
                hint="free some space" if reason is Reason.NO_SPACE else _WRITABLE,
            ) from error
        finally:
            with suppress(OSError):
                if not self.folder.is_symlink():
                    self._give_to_owner()

    def path(self, digest: str) -> Path:
        """Where a version lies, or would.

        Raises:
            ValueError: it is no digest.
        """
        if not DIGEST.fullmatch(digest):
            raise ValueError("a digest is sha256: and 64 hexadecimal digits")
        return self.folder / digest.replace(":", "-")

    def holds(self, digest: str) -> bool:
        """Whether a version is there and every file of it is right."""
        return self.content(digest) is not None

    def content(self, digest: str) -> Content | None:
        """What a version says it is; None where it is not there, or not right."""
        try:
            found = self._check(self.path(digest))
        except BundleError:
            return None
        return found if found.digest == digest else None

    def need_space(self, size: int) -> None:
        """Asks for room before anything is written.

        Raises:
            UpdateError: there is less than ``size`` bytes and the reserve.
        """
        free = self.disk.free_bytes(self.folder)
        if free < size + self._reserve_bytes:
            raise UpdateError(
                Reason.NO_SPACE,
                f"{self.models} has {free / 1e6:.0f} MB free, and "
                f"{(size + self._reserve_bytes) / 1e6:.0f} MB are needed",
                hint="free some space, or lower the budget for old versions",
            )

    def scratch(self) -> Path:
        """A new name for something half done; gone at the next start."""
        return self._incoming / uuid.uuid4().hex

    def add(self, source: Path, unpack: Unpack) -> Content:
        """Brings a bundle in; afterwards it lies whole, checked and durable under its digest.

        Raises:
            BundleError: it is refused; nothing of it is left.
        """
        fresh = self.scratch()
        try:
            content = unpack(source, fresh)
            self.disk.sync_tree(fresh)
            self._place(fresh, content.digest)
        finally:
            self.disk.remove(fresh)
        return content

    def adopt(self, name: str) -> Content | None:
        """Takes a folder that lies in the link's place into the store, without moving it yet.

        Returns:
            What it is; None where there is no such folder, or it is not a right bundle of that name.
        """
        plain = self.models / name
        if plain.is_symlink() or not plain.is_dir():
            return None
        try:
            content = self._check(plain)
        except BundleError:
            return None
        if content.name != name:
            return None
        return self.add(plain, self._copy)

    def linked(self, name: str) -> str | None:
        """The digest that ``<models>/<name>`` points to; None where it is no link into the store."""
        try:
            folder, _, digest = str((self.models / name).readlink()).rpartition("/")
        except OSError:
            return None
        found = digest.replace("-", ":", 1)
        return found if folder == STORE and DIGEST.fullmatch(found) else None

    def link(self, name: str, digest: str | None) -> None:
        """Turns ``<models>/<name>`` to a version, or takes the link away; durable when this returns.

        Raises:
            OSError: it could not be done; the old link is there, or the new one.
        """
        place = self.models / name
        if digest is None:
            if place.is_symlink():
                self.disk.remove(place)
                self.disk.sync_folder(self.models)
            return
        fresh = self.scratch()
        self.disk.symlink(f"{STORE}/{self.path(digest).name}", fresh)
        if place.is_dir() and not place.is_symlink():
            self._replace_folder(fresh, place)
        else:
            self.disk.rename(fresh, place)
        self.disk.sync_folder(self.models)

    def versions(self) -> list[str]:
        """Digests of all versions that are there, oldest first."""
        found = [path for path in self.folder.iterdir() if DIGEST.fullmatch(path.name.replace("-", ":", 1))]
        found.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
        return [path.name.replace("-", ":", 1) for path in found]

    def collect(self, protected: Collection[str], budget: Budget) -> list[str]:
        """Removes the oldest versions beyond the budget, none of the protected ones.

        Returns:
            The digests that were removed.
        """
        links = {self.linked(path.name) for path in self.models.iterdir() if path.is_symlink()}
        spare = [digest for digest in self.versions() if digest not in protected and digest not in links]
        sizes = {digest: folder_bytes(self.path(digest)) for digest in spare}
        removed: list[str] = []
        while spare and (len(spare) > budget.most_versions or sum(sizes.values()) > budget.most_bytes):
            digest = spare.pop(0)
            del sizes[digest]
            trash = self.scratch()
            self.disk.rename(self.path(digest), trash)  # a name in the store never stands for half a folder
            self.disk.sync_folder(self.folder)
            self.disk.remove(trash)
            removed.append(digest)
        return removed

    def _place(self, fresh: Path, digest: str) -> None:
        """Gives a whole folder its name; one of that name that has rotted is exchanged."""
        place = self.path(digest)
        if place.exists():
            if self.holds(digest):
                return
            self.disk.exchange(fresh, place)
        else:
            self.disk.rename(fresh, place)
        self.disk.sync_folder(self.folder)

    def _replace_folder(self, fresh: Path, place: Path) -> None:
        try:
            self.disk.exchange(fresh, place)
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
            # Two steps where the file system knows no exchange: a cut between them is mended at the start.
            self.disk.rename(place, self.scratch())
            self.disk.rename(fresh, place)
        self.disk.sync_folder(self.models)
        self._clear_incoming()

    def _copy(self, source: Path, target: Path) -> Content:
        target.mkdir()
        for path in sorted(source.iterdir()):
            shutil.copyfile(path, target / path.name)
        return self._check(target)

    def _clear_incoming(self) -> None:
        for path in self._incoming.iterdir():
            self.disk.remove(path)

    def _give_to_owner(self) -> None:
        """What root made belongs to the owner of the folder, or the daemon could not change it."""
        give_tree(self.folder, self.models)


def _refuse_link(path: Path) -> None:
    """Root would empty, or give away, whatever the owner of the models' folder makes it point to.

    Raises:
        OSError: it is a symbolic link.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, "is a link, and must be a folder", str(path))


def folder_bytes(folder: Path) -> int:
    """The sizes of the files in a flat folder, together."""
    return sum(path.lstat().st_size for path in folder.iterdir())


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_NO_EXCHANGE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV})

_WRITABLE: Final = "run it as the owner of the folder, or as root"
