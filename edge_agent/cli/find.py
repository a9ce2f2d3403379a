"""Where a model that is named on the command line lies.

A path is taken as it stands. A name is looked for as the daemon does, in the settings' folders, and then in
``./models`` and, where this package runs from its source tree, in the models that ship with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import BundleError
from edge_agent.service.models import find_bundles

_MANIFEST = "bundle.json"
_SHIPPED = Path(__file__).resolve().parents[2] / "models"
_ARCHIVE = ".edgemodel"


@dataclass(frozen=True, slots=True)
class FoundBundle:
    """A bundle's folder by what its manifest claims; nothing of it has been checked."""

    name: str
    version: str | None
    path: Path


def bundles(directories: Sequence[Path]) -> list[FoundBundle]:
    """Every bundle that a name can mean, the first of each name."""
    own = [folder for folder in (Path("models"), _SHIPPED) if folder.resolve() not in _resolved(directories)]
    found = find_bundles(directories)
    found += [(name, path) for name, path in find_bundles(own) if (path / _MANIFEST).is_file()]
    first: dict[str, FoundBundle] = {}
    for name, path in found:
        first.setdefault(name, FoundBundle(name, version_of(path), path))
    return list(first.values())


def find_model(name_or_path: str, directories: Sequence[Path]) -> Path:
    """The folder or ``.edgemodel`` file that ``--model`` means.

    Raises:
        BundleError: there is no such path, or no bundle of that name in the folders.
    """
    path = Path(name_or_path)
    if "/" in name_or_path or name_or_path.endswith(_ARCHIVE) or (path / _MANIFEST).exists():
        if path.exists():
            return path
        raise BundleError(f"{path}: missing", hint="name a bundle's folder or an .edgemodel file")
    known = bundles(directories)
    for bundle in known:
        if bundle.name == name_or_path:
            return bundle.path
    raise BundleError(
        f"there is no model named {name_or_path} in {describe_folders(directories)}",
        hint=f"there are: {', '.join(item.name for item in known)}"
        if known
        else "make install-models brings some",
    )


def describe_folders(directories: Sequence[Path]) -> str:
    """Where names are looked for, in words."""
    return ", ".join(map(str, (*directories, Path("./models"))))


def version_of(folder: Path) -> str | None:
    """The version that a folder's ``bundle.json`` claims, or None."""
    try:
        return str(json.loads((folder / _MANIFEST).read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _resolved(folders: Sequence[Path]) -> set[Path]:
    return {folder.resolve() for folder in folders}
