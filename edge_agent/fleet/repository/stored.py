"""What is on disk of a repository, verified before anything is built upon it.

Whoever can write to the web server must not get their changes signed: the root is followed from the one that
is pinned beside the keys, and the rest is read only as far as it is signed from there. Expired metadata are
read all the same, since they can be renewed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES, Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edge_agent.errors import BundleError
from edge_agent.fleet.repository.layout import METADATA

PINNED: Final = "root.json"
"""The first root, kept beside the keys: devices are given it, and the repository is checked against it."""
RESTORE: Final = "bring the repository back from a copy; `edge-agent fleet verify` shows what is wrong"


class Stored:
    """The metadata of a repository's folder.

    Args:
        folder: of the repository.
        pins: folders that may hold the pinned root.
    """

    def __init__(self, folder: Path, pins: Sequence[Path]) -> None:
        self.folder = folder
        self._pins = pins
        self._known: dict[str, Metadata[Any]] = {}

    def forget(self) -> None:
        """Read everything anew from now on."""
        self._known.clear()

    def metadata(self, role: str) -> Metadata[Any] | None:
        """The metadata of a role as they are on disk, verified; expired ones too, since they can be renewed.

        Raises:
            BundleError: they are missing, damaged, or not signed as they must be.
        """
        if role not in self._known:
            version = self._version(role)
            if version is None:
                return None
            self._known[role] = (
                self._verified_root(version) if role == Root.type else self._read(role, version)
            )
        return self._known[role]

    def delegator(self, role: str) -> Root | Targets | None:
        """Who says what keys a role has; None where there is nobody yet."""
        md = self.metadata(Root.type if role in TOP_LEVEL_ROLE_NAMES else Targets.type)
        return md.signed if md else None

    def _version(self, role: str) -> int | None:
        if role == Root.type:
            return self._newest_root()
        if role == Timestamp.type:
            return 0 if (self.folder / METADATA / "timestamp.json").exists() else None
        if role == Snapshot.type:
            timestamp = self.metadata(Timestamp.type)
            return timestamp.signed.snapshot_meta.version if timestamp else None
        snapshot = self.metadata(Snapshot.type)
        meta = snapshot.signed.meta.get(f"{role}.json") if snapshot else None
        return meta.version if meta else None

    def _newest_root(self) -> int | None:
        version = 0
        while (self.folder / METADATA / f"{version + 1}.root.json").exists():
            version += 1
        return version or None

    def _verified_root(self, newest: int) -> Metadata[Any]:
        """The newest root, by the chain from the one that is pinned beside the keys, or else the first."""
        current = self._load("1.root.json")
        for folder in self._pins:
            pinned = folder / PINNED
            if (
                pinned.exists()
                and pinned.read_bytes() != (self.folder / METADATA / "1.root.json").read_bytes()
            ):
                raise BundleError(
                    f"{self.folder}: its first root is not the one in {pinned}",
                    hint="these keys belong to another repository, or the repository was replaced",
                )
        self._check_signed(current.signed, Root.type, current)
        for version in range(2, newest + 1):
            following = self._load(f"{version}.root.json")
            self._check_signed(current.signed, Root.type, following)
            self._check_signed(following.signed, Root.type, following)
            current = following
        return current

    def _read(self, role: str, version: int) -> Metadata[Any]:
        md = self._load(f"{role}.json" if role == Timestamp.type else f"{version}.{role}.json")
        delegator = self.delegator(role)
        if delegator is not None:
            self._check_signed(delegator, role, md)
        if version and md.signed.version != version:
            raise BundleError(
                f"{self.folder}: {version}.{role}.json holds version {md.signed.version}", hint=RESTORE
            )
        return md

    def _load(self, name: str) -> Metadata[Any]:
        path = self.folder / METADATA / name
        try:
            return Metadata.from_bytes(path.read_bytes())
        except OSError as error:
            raise BundleError(f"{path}: {error.strerror}", hint=RESTORE) from error
        except DeserializationError as error:
            raise BundleError(f"{path}: damaged, it is no TUF metadata", hint=RESTORE) from error

    def _check_signed(self, delegator: Root | Targets, role: str, md: Metadata[Any]) -> None:
        """Refuse what is not signed as it must be, expired or not.

        Raises:
            BundleError: the signatures do not reach the threshold.
        """
        try:
            delegator.verify_delegate(role, md.signed_bytes, md.signatures)
        except (RepositoryError, ValueError) as error:
            raise BundleError(
                f"{self.folder}: {role} version {md.signed.version} is not signed as it must be ({error})",
                hint=RESTORE,
            ) from error
