"""What may be installed: The Update Framework, by python-tuf, from a pinned root of trust.

A repository is two folders of plain files, ``metadata/`` and ``targets/``, on a web server or on a disk. All
verification is python-tuf's (client workflow of the TUF specification, section 5); this file gives it the
time (:mod:`~edge_agent.update.clock`), a way to fetch and a durable way to write, and turns its refusals into
named reasons. Two private names of python-tuf 7 are used for that, since it has no public ones; a test pins
them, and a version without them fails closed.

Targets: ``models/<name>-<version>.edgemodel`` with the custom metadata name, version and digest; and
``channels/<group>.json``, which says what version of which model a device that polls should have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tuf.api import exceptions as tuf_errors
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.updater import TargetFile

from edge_agent.errors import SettingsError
from edge_agent.files import write_atomic
from edge_agent.update.disk import give_tree, locked
from edge_agent.update.fetch import Fetcher, Patience
from edge_agent.update.poll import base_of
from edge_agent.update.record import DIGEST, NAME
from edge_agent.update.refusal import Reason, UpdateError
from edge_agent.update.store import Content

DEFAULT_CHANNEL: Final = "default"
MOST_BUNDLE_BYTES: Final = 1 << 29
_MOST_CHANNEL_BYTES: Final = 1 << 16
_VERSION: Final = re.compile(r"[0-9A-Za-z.+-]{1,64}")
_LIMITS: Final = {
    "max_root_rotations": 64,
    "max_delegations": 16,
    "root_max_length": 64_000,
    "timestamp_max_length": 16_000,
    "snapshot_max_length": 2_000_000,
    "targets_max_length": 2_000_000,
}
_SIGNED_BY: Final = re.compile(r"was signed by (\d+)/(\d+) keys")


@dataclass(frozen=True, slots=True)
class Offer:
    """A bundle of the repository, by signed metadata; ``length`` is of its zip, in bytes."""

    content: Content
    length: int
    target: TargetFile


class Repository:
    """One look into a repository: metadata are refreshed at most once.

    Args:
        source: its address (``http:``, ``https:``, ``file:``) or its folder.
        root: the content of the pinned ``root.json``, any version of it.
        folder: for trusted metadata and parts of downloads; made where it is missing.
        now: the reference time, with a time zone.
        patience: with servers.
    """

    def __init__(
        self, source: str, root: bytes, folder: Path, now: datetime, patience: Patience | None = None
    ) -> None:
        base = address(source)
        self._metadata, self._parts = folder / "metadata", folder / "parts"
        self._folder, self._lock = folder, folder / "lock"
        for path in (folder, self._metadata, self._parts):
            path.mkdir(parents=True, exist_ok=True)
        self._fetcher = Fetcher(self._parts, f"{base}targets/", patience)
        with _refusals():
            self._updater = _Updater(
                str(self._metadata),
                f"{base}metadata/",
                target_base_url=f"{base}targets/",
                fetcher=self._fetcher,
                config=UpdaterConfig(**_LIMITS),  # type: ignore[arg-type]
                bootstrap=root,
            )
        self._updater.set_reference_time(now)

    def refresh(self) -> None:
        """Fetches and verifies what is new of the metadata.

        Raises:
            UpdateError: it is refused, or cannot be had; trusted metadata are as far as they were verified.
        """
        with locked(self._lock), _refusals():
            self._updater.refresh()

    def find(self, name: str, version: str) -> Offer:
        """A bundle by name and version.

        Raises:
            UpdateError: it is not there, or its signed metadata speak of another one.
        """
        if not NAME.fullmatch(name) or not _VERSION.fullmatch(version):
            raise UpdateError(Reason.UNKNOWN_TARGET, "that is no name and version of a model")
        target = self._target(f"models/{name}-{version}.edgemodel")
        custom = target.custom if isinstance(target.custom, Mapping) else {}
        digest = custom.get("digest")
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise UpdateError(Reason.BAD_METADATA, f"{target.path} has no digest in its signed metadata")
        if (custom.get("name"), custom.get("version")) != (name, version):
            raise UpdateError(Reason.WRONG_SOFTWARE, f"{target.path} is signed as another model")
        if target.length > MOST_BUNDLE_BYTES:
            raise UpdateError(Reason.TOO_LARGE, f"{target.path} has {target.length} bytes")
        return Offer(Content(name, version, digest), target.length, target)

    def channel(self, group: str = DEFAULT_CHANNEL) -> dict[str, str]:
        """Which version of which model a device of a group should have.

        Raises:
            UpdateError: there is no such channel, or it is not one.
        """
        if not NAME.fullmatch(group):
            raise UpdateError(Reason.UNKNOWN_TARGET, "that is no name of a channel")
        target = self._target(f"channels/{group}.json")
        if target.length > _MOST_CHANNEL_BYTES:
            raise UpdateError(Reason.TOO_LARGE, f"{target.path} has {target.length} bytes")
        path = self._download(target, self._parts / "channel.json")
        try:
            return _parse_channel(path.read_bytes(), group)
        except (ValueError, RecursionError) as error:
            raise UpdateError(Reason.BAD_METADATA, f"{target.path}: {error}") from error

    def offered(self, name: str, version: str | None, group: str | None) -> Offer:
        """A bundle by name, of the version that is asked for or that a channel names.

        Args:
            name: of the model.
            version: or None for the channel's.
            group: whose channel must allow the version; None asks the default one where no version is named.

        Raises:
            UpdateError: it is not there, or the channel names another version.
        """
        if group is not None or version is None:
            allowed = self.channel(group or DEFAULT_CHANNEL).get(name)
            if allowed is None or version not in (None, allowed):
                raise UpdateError(
                    Reason.NOT_FOR_CHANNEL,
                    f"channel {group or DEFAULT_CHANNEL} "
                    + (f"has {name} {allowed}" if allowed else f"names no version of {name}"),
                )
            version = allowed
        return self.find(name, version)

    def download(self, offer: Offer) -> Path:
        """Fetches a bundle's zip, resuming what broke off before; it lies there until :meth:`clear`.

        Raises:
            UpdateError: it is refused, or cannot be had.
        """
        return self._download(offer.target, self._parts / "bundle.edgemodel")

    def clear(self) -> None:
        """Forgets what was downloaded, parts as well."""
        for path in self._parts.iterdir():
            path.unlink(missing_ok=True)

    def give_to_owner(self) -> None:
        """What root wrote belongs to the owner of the folders around it, or the daemon could not write it."""
        below = self._folder
        for around in list(self._folder.parents)[:2]:  # a device's folder, and that of the state
            if around.stat().st_uid != 0:
                with suppress(OSError):
                    give_tree(below, around)
                return
            below = around

    def _target(self, path: str) -> TargetFile:
        with locked(self._lock), _refusals():
            found = self._updater.get_targetinfo(path)
        if found is None:
            raise UpdateError(Reason.UNKNOWN_TARGET, f"the repository has no {path}")
        return found

    def _download(self, target: TargetFile, path: Path) -> Path:
        with locked(self._lock), _refusals():
            try:
                return Path(self._updater.download_target(target, str(path)))
            except tuf_errors.RepositoryError as error:  # a false part must not be resumed for ever
                self.clear()
                raise UpdateError(
                    Reason.ALTERED, f"{target.path} is not the file that was signed ({error})"
                ) from error


class _Updater(Updater):
    """python-tuf's client with our clock, and with metadata that outlive a power cut."""

    def set_reference_time(self, now: datetime) -> None:
        trusted = self._trusted_set
        if not isinstance(getattr(trusted, "reference_time", None), datetime):
            raise UpdateError(Reason.BAD_METADATA, "this version of python-tuf takes no reference time")
        trusted.reference_time = now

    def _persist_file(self, filename: str, data: bytes) -> None:
        write_atomic(filename, data)


def address(source: str) -> str:
    """A repository's base address, ending in a slash.

    Raises:
        SettingsError: it is neither an address of a known kind nor a folder.
    """
    is_address = re.match(r"(https?|file)://", source)
    if not is_address and not Path(source.removeprefix("file:")).expanduser().is_dir():
        raise SettingsError(f"{source}: neither a folder nor an http address", hint="--repository URL|DIR")
    return base_of(source)


@contextmanager
def _refusals() -> Iterator[None]:
    """Names what python-tuf refuses."""
    try:
        yield
    except (tuf_errors.RepositoryError, tuf_errors.DownloadError) as error:
        reason = reason_of(error)
        raise UpdateError(reason, str(error) or type(error).__name__, hint=_HINTS.get(reason)) from error


_HINTS: Final = {
    Reason.EXPIRED: "publish fresh metadata; where the device's clock is wrong, mend that first",
    Reason.UNREACHABLE: "look at the address and the network, or whether the folder is mounted",
}


def reason_of(error: Exception) -> Reason:
    """The reason behind an exception of python-tuf; it tells some apart by words only."""
    text = str(error)
    if isinstance(error, tuf_errors.DownloadError):
        return _DOWNLOADS.get(type(error), Reason.UNREACHABLE)
    if isinstance(error, tuf_errors.ExpiredMetadataError):
        return Reason.EXPIRED
    if isinstance(error, tuf_errors.UnsignedMetadataError):
        signed = _SIGNED_BY.search(text)
        return Reason.THRESHOLD if signed and int(signed[1]) > 0 else Reason.SIGNATURE
    if isinstance(error, tuf_errors.LengthOrHashMismatchError):
        return Reason.MIX_AND_MATCH
    if isinstance(error, tuf_errors.BadVersionNumberError):
        is_mix = re.match(r"Expected (snapshot version|\S+ v)\d+", text)
        return Reason.MIX_AND_MATCH if is_mix else Reason.ROLLBACK
    return Reason.ROLLBACK if text.startswith("New snapshot is missing") else Reason.BAD_METADATA


_DOWNLOADS: Final[Mapping[type, Reason]] = {
    tuf_errors.DownloadLengthMismatchError: Reason.TOO_LARGE,
    tuf_errors.SlowRetrievalError: Reason.SLOW,
}


def _parse_channel(content: bytes, group: str) -> dict[str, str]:
    value: Any = json.loads(content)
    if not isinstance(value, dict) or value.get("format") != 1 or value.get("group") != group:
        raise ValueError(f"not a channel of format 1 of {group}")
    models = value.get("models")
    if not isinstance(models, dict) or not all(isinstance(version, str) for version in models.values()):
        raise ValueError("models are names and versions")
    return models
