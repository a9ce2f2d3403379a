"""Names in a repository of models: where things lie, how versions are ordered, what a channel says.

    DIR/metadata/1.root.json  2.root.json …  N.targets.json  N.<delegated role>.json  N.snapshot.json
    DIR/metadata/timestamp.json                       the only file whose content changes under its name
    DIR/targets/models/<sha256>.<name>-<version>.edgemodel
    DIR/targets/channels/<sha256>.<group>.json

The prefixes are those of TUF's consistent snapshots (specification, section 6.2); the paths of targets, as
metadata name them, are without. All of it is pure: no file is touched here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from edge_agent.errors import BundleError, SettingsError
from edge_agent.inference.bundle import SUFFIX, Bundle
from edge_agent.inference.manifest import is_name, is_version

METADATA: Final = "metadata"
TARGETS: Final = "targets"
MODELS: Final = "models/"
CHANNELS: Final = "channels/"
CHANNEL_FORMAT: Final = 1
_MEGABYTE: Final = 1_000_000
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def model_path(name: str, version: str) -> str:
    """The target path of one version of a model."""
    return f"{MODELS}{name}-{version}{SUFFIX}"


def channel_path(group: str) -> str:
    """The target path of a group's channel.

    Raises:
        SettingsError: it is no name of a group.
    """
    if not is_name(group):
        raise SettingsError(
            f"{group!r:.80} is no name of a group", hint="small letters, digits, - and _, up to 64"
        )
    return f"{CHANNELS}{group}.json"


@dataclass(frozen=True, slots=True)
class Published:
    """What the metadata of a model's target say beside its length and hash.

    Attributes:
        name: of the model.
        version: semantic version.
        digest: of the bundle, ``sha256:…`` of its ``bundle.json``.
        task: as in the bundle.
        languages: as in the bundle.
        megabytes: of the unpacked bundle, rounded up. TUF's canonical JSON knows no fractions.
    """

    name: str
    version: str
    digest: str
    task: str
    languages: tuple[str, ...]
    megabytes: int

    @classmethod
    def of(cls, bundle: Bundle) -> Published:
        """Of a checked bundle."""
        manifest = bundle.manifest
        size = sum(record.size for record in manifest.files.values())
        return cls(
            manifest.name,
            manifest.version,
            bundle.digest,
            manifest.task.value,
            tuple(manifest.languages),
            -(-size // _MEGABYTE),
        )

    @property
    def path(self) -> str:
        """Its target path."""
        return model_path(self.name, self.version)

    def document(self) -> dict[str, Any]:
        """As ``custom`` in the metadata."""
        return {
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "task": self.task,
            "languages": list(self.languages),
            "megabytes": self.megabytes,
        }

    @classmethod
    def from_document(cls, document: Any) -> Published | None:
        """From ``custom``; None where it is not of this form."""
        try:
            found = cls(**{**document, "languages": tuple(document["languages"])})
        except (TypeError, KeyError):
            return None
        texts = (found.name, found.version, found.digest, found.task, *found.languages)
        right = all(isinstance(text, str) for text in texts) and type(found.megabytes) is int
        return found if right and is_name(found.name) and is_version(found.version) else None


@dataclass(frozen=True, slots=True)
class Channel:
    """Which version of each model the devices of a group should have.

    Attributes:
        group: its name.
        models: name → version.
    """

    group: str
    models: Mapping[str, str]

    def render(self) -> bytes:
        """The file; the same bytes for the same channel."""
        document = {
            "format": CHANNEL_FORMAT,
            "group": self.group,
            "models": dict(sorted(self.models.items())),
        }
        return json.dumps(document, indent=1).encode() + b"\n"


def parse_channel(content: bytes) -> Channel:
    """Read a channel's file.

    Raises:
        BundleError: it is not one, or of an unknown format.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError("a channel that is no JSON") from error
    if not isinstance(document, dict) or document.get("format") != CHANNEL_FORMAT:
        raise BundleError("a channel of an unknown format", hint="update edge-agent")
    group, models = document.get("group"), document.get("models")
    if not isinstance(group, str) or not is_name(group) or not isinstance(models, dict):
        raise BundleError("a channel without a right group and models")
    for name, version in models.items():
        if not is_name(name) or not isinstance(version, str) or not is_version(version):
            raise BundleError("a channel that names no right model and version")
    return Channel(group, models)


def order(version: str) -> tuple[Any, ...]:
    """Sorts versions as Semantic Versioning 2.0.0, section 11, says; build metadata have no rank."""
    core, _, before = version.partition("+")[0].partition("-")
    numbers = tuple(int(number) for number in core.split("."))
    parts = [(0, int(part), "") if _is_number(part) else (1, 0, part) for part in before.split(".")]
    return (*numbers, 0, *parts) if before else (*numbers, 1)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def parse_duration(text: str) -> timedelta:
    """``14d``, ``12h`` or ``30m``.

    Raises:
        SettingsError: it is none of these.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if found is None:
        raise SettingsError(f"{text!r:.40} is no length of time", hint="for example 14d, 12h or 30m")
    return int(found[1]) * _UNITS[found[2]]
