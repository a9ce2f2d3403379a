"""The journal: one file a model, replaced as a whole before what it says is acted on.

A reader tolerates anything: a file that is no record counts as none, and the store is then taken as it lies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from edge_agent.files import write_atomic
from edge_agent.update.refusal import Reason
from edge_agent.update.slots import Record, State, Version

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_FORMAT: Final = 1
_SUFFIX: Final = ".json"
_MOST_BYTES: Final = 1 << 16

Write = Callable[[Path, bytes], None]


class Journal:
    """The records of one store.

    Args:
        folder: where they lie; it must exist before one is written.
        write: replaces a file atomically and durably.
    """

    def __init__(self, folder: Path, write: Write = write_atomic) -> None:
        self._folder = folder
        self._write = write

    def read(self, name: str) -> Record | None:
        """What is written of a model; None where nothing is, or nothing that makes sense."""
        try:
            with self._path(name).open("rb") as file:
                value = json.loads(file.read(_MOST_BYTES + 1))
            record = from_json(value)
        except (OSError, ValueError, RecursionError):
            return None
        return record if record.name == name else None

    def write(self, record: Record) -> None:
        """Writes a record; it is on the disk when this returns.

        Raises:
            OSError: it is not, and the one before is.
        """
        content = json.dumps(to_json(record), ensure_ascii=False, indent=1) + "\n"
        self._write(self._path(record.name), content.encode("utf-8", "replace"))

    def records(self) -> list[Record]:
        """All that make sense, by name."""
        try:
            names = sorted(path.stem for path in self._folder.iterdir() if path.suffix == _SUFFIX)
        except OSError:
            return []
        found = (self.read(name) for name in names if NAME.fullmatch(name))
        return [record for record in found if record is not None]

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"


def to_json(record: Record) -> dict[str, Any]:
    """A record as a JSON object."""
    return {"format": _FORMAT, **asdict(record)}


def from_json(value: Any) -> Record:
    """A record from :func:`to_json`.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, Mapping) or value.get("format") != _FORMAT:
        raise ValueError("a record is an object of format 1")
    name, previous, condemned = value.get("name"), value.get("previous"), value.get("condemned")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError("a record has a name")
    if not isinstance(previous, list) or not isinstance(condemned, list):
        raise ValueError("a record has lists of versions")
    reason, detail, cuts = value.get("reason"), value.get("detail"), value.get("cuts")
    if not isinstance(cuts, int) or not isinstance(detail, str | None):
        raise ValueError("a record counts cuts, and tells a reason in words")
    return Record(
        name=name,
        state=State(value.get("state")),
        serving=_version(value.get("serving")),
        previous=tuple(version for version in map(_version, previous) if version),
        candidate=_version(value.get("candidate")),
        reason=None if reason is None else Reason(reason),
        detail=detail,
        cuts=cuts,
        condemned=tuple(str(digest) for digest in condemned),
    )


def _version(value: Any) -> Version | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError("a version is an object")
    version, digest = value.get("version"), value.get("digest")
    if not isinstance(version, str) or not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ValueError("a version has a version and a digest")
    return Version(version, digest)
