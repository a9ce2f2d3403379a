"""An operator's workplace for tests: a repository, its keys, and a device that only has the first root."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.ngclient import Updater

from edge_agent.files import write_atomic
from edge_agent.fleet.repository.creating import Plan, create
from edge_agent.fleet.repository.folder_fetcher import FolderFetcher
from edge_agent.fleet.repository.keys import KeyRing
from edge_agent.fleet.repository.model_repository import ModelRepository, Writer, opened, utc_now
from edge_agent.fleet.repository.publishing import publish
from edge_agent.fleet.repository.verifying import Report, verify

PASSPHRASE = "correct horse battery"


@dataclass(frozen=True)
class Workplace:
    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def keys(self) -> Path:
        return self.folder / "repository-keys"

    @property
    def first_root(self) -> bytes:
        return (self.keys / "root.json").read_bytes()

    def ring(self, *more: Path, passphrase: str = PASSPHRASE) -> KeyRing:
        return KeyRing([self.keys, *more], lambda purpose: passphrase)

    def create(self, plan: Plan | None = None, now: Callable[[], datetime] = utc_now) -> None:
        create(self.repository, self.ring(), plan or Plan(), now=now)

    def open(
        self,
        *more: Path,
        write: Writer = write_atomic,
        now: Callable[[], datetime] = utc_now,
        passphrase: str = PASSPHRASE,
    ) -> AbstractContextManager[ModelRepository]:
        return opened(self.repository, self.ring(*more, passphrase=passphrase), now=now, write=write)

    def publish(self, *bundles: Path, groups: tuple[str, ...] = ()) -> None:
        with self.open() as repository:
            publish(repository, bundles, groups=groups)

    def verify(self) -> Report:
        return verify(str(self.repository), self.first_root)

    def device(self, name: str = "device") -> Device:
        return Device(self.folder / name, self.first_root, self.repository.as_uri())

    def files(self) -> dict[str, bytes]:
        """Everything in the repository, to see that nothing changed."""
        found = (path for path in sorted(self.repository.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.repository)): path.read_bytes() for path in found}


@dataclass(frozen=True)
class Device:
    """python-tuf's own client, which keeps what it has trusted between its runs."""

    folder: Path
    root: bytes
    base: str

    def updater(self) -> Updater:
        for part in ("metadata", "targets"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        fetcher = FolderFetcher() if self.base.startswith("file:") else None
        return Updater(
            str(self.folder / "metadata"),
            f"{self.base}/metadata/",
            str(self.folder / "targets"),
            f"{self.base}/targets/",
            fetcher=fetcher,
            bootstrap=self.root,
        )

    def fetch(self, path: str) -> bytes | None:
        """A target, downloaded and verified; None where the repository names none of that path."""
        client = self.updater()
        client.refresh()
        target = client.get_targetinfo(path)
        return None if target is None else Path(client.download_target(target)).read_bytes()


class PowerCut(OSError):
    """The moment at which a writer stops."""


def failing_writer(after: int, *, half: bool) -> Writer:
    """A writer that does ``after`` writes; the next one fails, before or after it has taken place."""
    left = after

    def write(path: Path | str | os.PathLike[str], content: bytes) -> None:
        nonlocal left
        if left == 0 and not half:
            raise PowerCut("before")
        write_atomic(path, content)
        if left == 0:
            raise PowerCut("after")
        left -= 1

    return write


def counting_writer(written: list[Path]) -> Writer:
    def write(path: Path, content: bytes) -> None:
        written.append(path)
        write_atomic(path, content)

    return write
