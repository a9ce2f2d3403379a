"""Walking a whole repository as a device would, from a root that is known, and telling what is wrong.

python-tuf's client does the verifying: the chain of roots, thresholds, expiry, versions, lengths and hashes.
On top of it, each bundle is opened and compared with what the metadata say of it, and each channel with the
models that are there. Nothing is taken from the repository's own word but what the client has verified.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Snapshot, TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher
from urllib3.exceptions import HTTPError

from edge_agent.errors import BundleError, SettingsError
from edge_agent.fleet.repository.folder_fetcher import FolderFetcher
from edge_agent.fleet.repository.layout import (
    CHANNELS,
    METADATA,
    MODELS,
    TARGETS,
    Channel,
    Published,
    model_path,
    parse_channel,
)
from edge_agent.inference.bundle import opened_bundle

_MOST_METADATA: Final = 5_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: with what, and what, in words."""

    subject: str
    problem: str


@dataclass(slots=True)
class Report:
    """What a walk found.

    Attributes:
        root: version of the newest root that was reached from the pinned one.
        models: bundles that are right.
        channels: channels that are right.
        findings: what is wrong; empty where all is well.
    """

    root: int = 0
    models: int = 0
    channels: int = 0
    findings: list[Finding] = field(default_factory=list)


def verify(place: str, pinned_root: bytes) -> Report:
    """Walk a repository.

    Args:
        place: a folder, or its http(s) URL.
        pinned_root: the root that devices have.

    Raises:
        SettingsError: the place cannot be reached at all.
    """
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as temporary:
        walk = _Walk(place, Path(temporary), pinned_root)
        return walk.report()


class _Walk:
    """One walk, with the client's own folder."""

    def __init__(self, place: str, scratch: Path, pinned_root: bytes) -> None:
        self._base = place.rstrip("/") if "://" in place else Path(place).resolve().as_uri()
        local = urlsplit(self._base).scheme == "file"
        if local and not (Path(unquote(urlsplit(self._base).path)) / METADATA).is_dir():
            raise SettingsError(
                f"{place}: no repository of models", hint="name the folder that holds metadata/"
            )
        self._fetcher: FetcherInterface = FolderFetcher() if local else Urllib3Fetcher()
        self._metadata, self._files = scratch / METADATA, scratch / TARGETS
        self._metadata.mkdir()
        self._files.mkdir()
        self._pinned = pinned_root
        self._report = Report()
        self._channels: dict[str, Channel] = {}

    def report(self) -> Report:
        with self._telling("the pinned root"):
            self._client = self._new_client()
        if self._report.findings:
            return self._report
        with self._telling("the repository"):
            self._client.refresh()
        if self._report.findings:
            return self._report
        self._report.root = Metadata.from_file(str(self._metadata / "root.json")).signed.version
        found = dict(self._targets())
        for path, target in sorted(found.items()):
            with self._telling(path):
                self._look_at(path, target)
        self._compare_channels(found)
        return self._report

    def _new_client(self) -> Updater:
        return Updater(
            str(self._metadata),
            f"{self._base}/{METADATA}/",
            str(self._files),
            f"{self._base}/{TARGETS}/",
            fetcher=self._fetcher,
            bootstrap=self._pinned,
        )

    def _targets(self) -> Iterator[tuple[str, TargetFile]]:
        """Every target that a client can find, asked for one by one as a client does."""
        top = self._trusted(Targets.type)
        listed = dict.fromkeys(top.targets, Targets.type)
        roles = (top.delegations.roles or {}) if top.delegations else {}
        for role in roles:
            with self._telling(f"role {role}"):
                listed |= dict.fromkeys(self._delegated(role, top), role) | listed
        for path, role in listed.items():
            with self._telling(path):
                target = self._client.get_targetinfo(path)
                if target is None:
                    self._tell(path, f"role {role} names it, but may not: no device will find it")
                else:
                    yield path, target

    def _delegated(self, role: str, top: Targets) -> list[str]:
        """What a delegated role lists, verified by the top role whether or not a path leads there."""
        snapshot = Metadata[Snapshot].from_file(str(self._metadata / "snapshot.json")).signed
        meta = snapshot.meta.get(f"{role}.json")
        if meta is None:
            raise RepositoryError("it was delegated to, but the snapshot does not name it")
        name = f"{self._base}/{METADATA}/{meta.version}.{role}.json"
        content = self._fetcher.download_bytes(name, meta.length or _MOST_METADATA)
        meta.verify_length_and_hashes(content)
        md = Metadata[Targets].from_bytes(content)
        top.verify_delegate(role, md.signed_bytes, md.signatures)
        if md.signed.version != meta.version:
            raise BadVersionNumberError(
                f"it is version {md.signed.version}, the snapshot says {meta.version}"
            )
        if md.signed.is_expired():
            raise ExpiredMetadataError(f"it expired on {md.signed.expires:%Y-%m-%d}")
        return list(md.signed.targets)

    def _trusted(self, role: str) -> Targets:
        return Metadata[Targets].from_file(str(self._metadata / f"{role}.json")).signed

    def _look_at(self, path: str, target: TargetFile) -> None:
        file = self._files / "file"
        self._client.download_target(target, str(file))
        if path.startswith(MODELS):
            self._check_model(path, target, file)
        elif path.startswith(CHANNELS):
            channel = parse_channel(file.read_bytes())
            if path != f"{CHANNELS}{channel.group}.json":
                raise BundleError(f"it is the channel of {channel.group}")
            self._channels[path] = channel
        else:
            raise BundleError("it is neither a model nor a channel")

    def _check_model(self, path: str, target: TargetFile, file: Path) -> None:
        described = Published.from_document(target.custom)
        try:
            with opened_bundle(file) as bundle:
                real = Published.of(bundle)
        except BundleError as error:
            raise BundleError(str(error).replace(str(file), "the bundle")) from error
        if described != real:
            raise BundleError("the metadata say something else of it than the bundle itself")
        if path != real.path:
            raise BundleError(f"it holds {real.name} {real.version}")
        self._report.models += 1

    def _compare_channels(self, found: Mapping[str, TargetFile]) -> None:
        for path, channel in self._channels.items():
            missing = [
                f"{name} {version}"
                for name, version in channel.models.items()
                if model_path(name, version) not in found
            ]
            if missing:
                self._tell(path, f"it names what is not there: {', '.join(missing)}")
            else:
                self._report.channels += 1

    def _tell(self, subject: str, problem: str) -> None:
        self._report.findings.append(Finding(subject, problem))

    @contextmanager
    def _telling(self, subject: str) -> Iterator[None]:
        """What goes wrong inside becomes a finding; a place that does not answer at all ends the walk."""
        try:
            yield
        except BundleError as error:
            self._tell(subject, str(error))
        except HTTPError as error:  # in the middle of a file; python-tuf wraps only what fails at its start
            self._tell(subject, f"the download broke off ({error!s:.120})")
        except (RepositoryError, DownloadError) as error:
            if self._nothing_there(error):
                raise SettingsError(
                    f"{self._base}: cannot be reached", hint="is it the folder or URL that holds metadata/?"
                ) from error
            self._tell(subject, _in_words(error))

    def _nothing_there(self, error: Exception) -> bool:
        known = DownloadHTTPError | DownloadLengthMismatchError | RepositoryError
        return isinstance(error, DownloadError) and not isinstance(error, known)


def _in_words(error: Exception) -> str:
    """An error of python-tuf as a person would say it, with its own words behind."""
    for kind, words in _WORDS.items():
        if isinstance(error, kind):
            return f"{words} ({error})"
    return str(error)


_WORDS: Final[dict[type[Exception], str]] = {
    ExpiredMetadataError: "expired; `edge-agent fleet refresh` signs it anew",
    UnsignedMetadataError: "signed by too few of the right keys",
    BadVersionNumberError: "of the wrong version",
    LengthOrHashMismatchError: "altered: not the length or hash that was signed",
    DownloadLengthMismatchError: "altered: longer than what was signed",
    DownloadHTTPError: "missing",
    RepositoryError: "damaged",
}
