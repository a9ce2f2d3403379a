"""A TUF repository as static files, edited in memory and written so that a crash never breaks it.

python-tuf makes, signs and verifies all metadata; this file only says where they lie and in which order they
are written. Files that nobody refers to yet come first, ``timestamp.json``, by which clients find all the
rest, last: until it is replaced, they see the old state, whole. A new root that replaces the keys of a role
is the one further moment: what is staged with it is signed by the old keys and the new, so that it verifies
under either root, and the root is written after the timestamp. Only where the old keys are lost does the
root go first.

What is on disk is verified first (:mod:`~edge_agent.fleet.repository.stored`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    DelegatedRole,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.repository import Repository

from edge_agent.errors import BundleError, SettingsError
from edge_agent.files import write_atomic
from edge_agent.fleet.repository.keys import KeyRing
from edge_agent.fleet.repository.layout import METADATA, TARGETS
from edge_agent.fleet.repository.stored import RESTORE, Stored

EXPIRY_FIELD: Final = "x-edge-agent-expiry-days"
"""In the role's own (signed) description: how long each new version of its metadata is valid."""

Clock = Callable[[], datetime]
Writer = Callable[[Path, bytes], None]


def utc_now() -> datetime:
    """The system's time, as TUF counts it."""
    return datetime.now(timezone.utc)


class ModelRepository(Repository):
    """One repository, opened to be read or changed. Nothing is written before :meth:`commit`.

    Args:
        folder: of the repository.
        keys: what signs; without, it can only be read.
        now: the time that expiry dates are counted from.
        write: writes one file, atomically.
    """

    def __init__(
        self, folder: Path, keys: KeyRing, *, now: Clock = utc_now, write: Writer = write_atomic
    ) -> None:
        self.folder = folder
        self.keys = keys
        self.now = now
        self._write = write
        self._disk = Stored(folder, keys.folders)
        self._staged: dict[str, bytes] = {}
        self._files: dict[str, bytes] = {}

    # What python-tuf's Repository asks for.

    def open(self, role: str) -> Metadata[Any]:
        """The staged or else the verified stored metadata of a role; a new one where there is none."""
        if role in self._staged:
            return Metadata.from_bytes(self._staged[role])
        stored = self._disk.metadata(role)
        if stored is not None:
            return Metadata.from_bytes(stored.to_bytes())
        return Metadata(_fresh(role))

    def close(self, role: str, md: Metadata[Any]) -> None:
        """Give the metadata the next version and a new expiry date, sign and stage them."""
        stored = self._disk.metadata(role)
        md.signed.version = stored.signed.version + 1 if stored else 1
        days = self._description(role, md.signed).unrecognized_fields[EXPIRY_FIELD]
        md.signed.expires = self.now().replace(microsecond=0) + timedelta(days=days)
        self._sign(role, md)
        self._staged[role] = md.to_bytes()

    @property
    def targets_infos(self) -> dict[str, MetaFile]:
        """Version, length and hash of the metadata of every targets role."""
        return {f"{role}.json": self._info(role) for role in (Targets.type, *self.delegated())}

    @property
    def snapshot_info(self) -> MetaFile:
        """Version, length and hash of the snapshot."""
        return self._info(Snapshot.type)

    # Reading.

    def delegated(self) -> dict[str, DelegatedRole]:
        """Delegated roles by their names."""
        delegations = self.targets().delegations
        return dict((delegations.roles or {}) if delegations else {})

    def all_targets(self) -> dict[str, TargetFile]:
        """Every target by its path; what the top role names goes before what a delegated one does."""
        found: dict[str, TargetFile] = {}
        for role, described in self.delegated().items():
            own = self.targets(role).targets
            found |= {path: target for path, target in own.items() if described.is_delegated_path(path)}
        return found | self.targets().targets

    def content(self, target: TargetFile) -> bytes:
        """The verified bytes of a target that is stored or added.

        Raises:
            BundleError: the file is missing or altered.
        """
        path = _target_file(target)
        try:
            content = self._files[path] if path in self._files else (self.folder / path).read_bytes()
            target.verify_length_and_hashes(content)
        except OSError as error:
            raise BundleError(f"{self.folder / path}: {error.strerror}", hint=RESTORE) from error
        except RepositoryError as error:
            raise BundleError(f"{self.folder / path}: altered", hint=RESTORE) from error
        return content

    # Writing.

    def add_file(self, target: TargetFile, content: bytes) -> None:
        """Stage the file of a target; its entry in the metadata is the caller's."""
        self._files[_target_file(target)] = content

    def publish_changes(self, *, force: bool = False) -> None:
        """Stage a snapshot and a timestamp of all that is staged, and write everything.

        Args:
            force: a new snapshot and timestamp even where nothing changed.
        """
        self.do_snapshot(force)
        self.do_timestamp(force)
        self.commit()

    def commit(self) -> None:
        """Write what is staged: what nobody refers to first, what clients look at last.

        Raises:
            SettingsError: the folder cannot be written; clients then see the old state.
        """
        last = [Timestamp.type, Root.type] if self._verifies_under_old_root() else [Root.type, Timestamp.type]
        staged = [role for role in self._staged if role not in {Snapshot.type, *last}]
        roles = [role for role in (*staged, Snapshot.type, *last) if role in self._staged]
        try:
            for path, content in self._files.items():
                self._put(self.folder / path, content)
            for role in roles:
                self._put(self.folder / METADATA / self._file_name(role), self._staged[role])
        except OSError as error:
            raise SettingsError(
                f"{self.folder}: cannot be written ({error.strerror or error})",
                hint="clients still see the old state; make room or fix the permissions and do it again",
            ) from error
        self._files.clear()
        self._staged.clear()
        self._disk.forget()

    # Inside.

    def _put(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write(path, content)

    def _file_name(self, role: str) -> str:
        signed = Metadata.from_bytes(self._staged[role]).signed
        return f"{role}.json" if role == Timestamp.type else f"{signed.version}.{role}.json"

    def _info(self, role: str) -> MetaFile:
        md = self.open(role)
        return MetaFile.from_data(md.signed.version, self._staged.get(role) or md.to_bytes(), ["sha256"])

    def _description(self, role: str, signed: Signed) -> Any:
        """Keys, threshold and expiry of a role, as its delegator describes them."""
        if role == Root.type:
            assert isinstance(signed, Root)
            return signed.roles[role]
        return self._delegator(role).get_delegated_role(role)

    def _delegator(self, role: str) -> Root | Targets:
        return self.root() if role in TOP_LEVEL_ROLE_NAMES else self.targets()

    def _sign(self, role: str, md: Metadata[Any]) -> None:
        """Sign with every key that is here, of the role as it will be and as it was."""
        described = self._description(role, md.signed)
        keyids = list(described.keyids)
        old = self._disk.delegator(role)
        if old is not None and (role in TOP_LEVEL_ROLE_NAMES or _delegates(old, role)):
            keyids += old.get_delegated_role(role).keyids
        md.signatures.clear()
        for keyid in dict.fromkeys(keyids):
            signer = self.keys.signer(keyid)
            if signer is not None:
                try:
                    md.sign(signer, append=True)
                except RepositoryError as error:
                    raise _unsigned(role, keyid, error) from error
        self._check_threshold(role, md, old)

    def _check_threshold(self, role: str, md: Metadata[Any], old: Root | Targets | None) -> None:
        wanting: list[Root | Targets] = [md.signed if role == Root.type else self._delegator(role)]
        if role == Root.type and old is not None:
            wanting.append(old)
        for delegator in wanting:
            result = delegator.get_verification_result(role, md.signed_bytes, md.signatures)
            if not result:
                raise SettingsError(
                    f"{role} needs the signatures of {result.threshold} of its keys, here are "
                    f"{len(result.signed)}; missing: {', '.join(_short(result.unsigned)) or 'none known'}",
                    hint="name every folder that holds its keys: --keys may be given more than once; "
                    f"of a lost one: edge-agent fleet rotate {role}",
                )

    def _verifies_under_old_root(self) -> bool:
        """Whether a client that does not know the staged root yet would take the rest of what is staged."""
        old = self._disk.metadata(Root.type)
        if old is None:
            return False
        staged = [role for role in TOP_LEVEL_ROLE_NAMES - {Root.type} if role in self._staged]
        metadata = {role: Metadata.from_bytes(self._staged[role]) for role in staged}
        return all(
            old.signed.get_verification_result(role, md.signed_bytes, md.signatures)
            for role, md in metadata.items()
        )


@contextmanager
def opened(
    folder: Path, keys: KeyRing, *, now: Clock = utc_now, write: Writer = write_atomic
) -> Iterator[ModelRepository]:
    """A repository that nobody else changes meanwhile.

    Raises:
        SettingsError: there is none, or somebody else is changing it.
        BundleError: it is not what its keys signed.
    """
    if not (folder / METADATA / "timestamp.json").exists():
        raise SettingsError(f"{folder}: no repository of models", hint=f"edge-agent fleet init {folder}")
    with locked(folder / METADATA):
        yield ModelRepository(folder, keys, now=now, write=write)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for oneself, by flock(2) on it; it ends with the process.

    Raises:
        SettingsError: somebody else holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise SettingsError(
            f"{folder.parent}: another edge-agent is changing it", hint="try again when it is done"
        ) from error
    finally:
        os.close(descriptor)


def _fresh(role: str) -> Signed:
    made = {Root.type: Root, Snapshot.type: Snapshot, Timestamp.type: Timestamp}.get(role, Targets)
    signed: Signed = made()
    return signed


def _delegates(delegator: Root | Targets, role: str) -> bool:
    delegations = getattr(delegator, "delegations", None)
    return bool(delegations and delegations.roles and role in delegations.roles)


def _unsigned(role: str, keyid: str, error: RepositoryError) -> SettingsError:
    cause = error.__cause__
    if isinstance(cause, SettingsError):
        return cause
    reason = f"{type(cause).__name__}: {cause!s:.120}".removesuffix(": ")
    return SettingsError(
        f"key {keyid[:8]} of {role} did not sign ({reason})",
        hint="is the token plugged in and its PIN right? nothing was written",
    )


def _target_file(target: TargetFile) -> str:
    return f"{TARGETS}/{target.get_prefixed_paths()[0]}"


def _short(keys: dict[str, Any]) -> list[str]:
    return [keyid[:8] for keyid in keys]
