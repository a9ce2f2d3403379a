"""A toy bundle format, so that the store's tests need no model: ``bundle.json`` and one file of weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import BundleError
from edge_agent.update.disk import Disk
from edge_agent.update.install import Wanted
from edge_agent.update.store import Content, Store


def write_toy(folder: Path, version: str, name: str = "home", size: int = 1000) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    weights = hashlib.sha256(version.encode()).digest() * (size // 32)
    (folder / "weights").write_bytes(weights)
    manifest = {"name": name, "version": version, "sha256": hashlib.sha256(weights).hexdigest()}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def check(folder: Path) -> Content:
    """What a toy is, once all of it has been looked at."""
    try:
        content = (folder / "bundle.json").read_bytes()
        manifest = json.loads(content)
        if hashlib.sha256((folder / "weights").read_bytes()).hexdigest() != manifest["sha256"]:
            raise BundleError(f"{folder}: altered")
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder}: no toy") from error
    return Content(manifest["name"], manifest["version"], f"sha256:{hashlib.sha256(content).hexdigest()}")


def unpack(source: Path, target: Path) -> Content:
    target.mkdir()
    for path in sorted(source.iterdir()):
        (target / path.name).write_bytes(path.read_bytes())
    return check(target)


def wanted(source: Path, *, needed: int = 2000, content: Content | None = None) -> Wanted:
    return Wanted(content or check(source), needed, lambda: source, unpack)


def proves(folder: Path) -> None:
    """A proof that whatever is whole passes."""
    check(folder)


def open_store(models: Path, disk: Disk | None = None) -> Store:
    return Store(models, check, disk, reserve_bytes=0)


def served(models: Path, name: str = "home") -> str:
    """The version that a daemon would find: all of it is read and checked. Raises where there is none."""
    return check(models / name).version


def tree(folder: Path) -> dict[str, bytes | str]:
    """Everything in a folder, links as what they point to."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


class CountingDisk(Disk):
    """A real disk that lets something happen before the n-th step."""

    def __init__(self, at: int, happen: Callable[[], None]) -> None:
        self.steps = 0
        self._at = at
        self._happen = happen

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self._at:
            self._happen()

    def make_folder(self, path: Path) -> None:
        self._step()
        super().make_folder(path)

    def write(self, path: Path, content: bytes) -> None:
        self._step()
        super().write(path, content)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        super().rename(source, target)

    def symlink(self, target: str, path: Path) -> None:
        self._step()
        super().symlink(target, path)

    def exchange(self, left: Path, right: Path) -> None:
        self._step()
        super().exchange(left, right)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)

    def sync_folder(self, path: Path) -> None:
        self._step()
        super().sync_folder(path)

    def sync_tree(self, folder: Path) -> None:
        self._step()
        super().sync_tree(folder)
