"""What the store of models must not know itself: how a bundle is checked and unpacked.

:mod:`edge_agent.update` and :mod:`edge_agent.inference` never import one another; these functions stand
between them. The inference package is imported when one of them is called, not before.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.errors import BundleError
from edge_agent.update.install import Wanted
from edge_agent.update.store import Content

if TYPE_CHECKING:
    from edge_agent.inference.bundle import Bundle

MANIFEST: Final = "bundle.json"
ROOM_FOR_ZIP: Final = 4
"""A download needs its part, the whole, and the unpacked folder of about twice its size."""


def check_bundle(folder: Path) -> Content:
    """Checks every file of a bundle's folder.

    Raises:
        BundleError: it is no right bundle.
    """
    from edge_agent.inference.bundle import read_bundle

    return _content(read_bundle(folder))


def unpack_bundle(source: Path, folder: Path) -> Content:
    """Writes a bundle, a zip or a folder, as the new folder ``folder``, and checks it.

    Raises:
        BundleError: it is no right bundle.
    """
    from edge_agent.inference.bundle import read_bundle, unpack

    if source.is_file():
        return _content(unpack(source, folder))
    bundle = read_bundle(source)
    folder.mkdir()
    for name in (MANIFEST, *bundle.manifest.files):
        shutil.copyfile(bundle.file(name), folder / name)
    return check_bundle(folder)


def wanted_from(path: Path) -> Wanted:
    """A bundle on this machine, by what its manifest claims; the store checks it.

    Raises:
        BundleError: it is missing, or has no manifest that can be read.
    """
    from edge_agent.inference.archive import MOST_MANIFEST_BYTES, ZIP_ERRORS, checked_members, read_member
    from edge_agent.inference.manifest import parse_manifest

    if path.is_dir():
        content = check_bundle(path)
        size = sum(file.stat().st_size for file in path.iterdir())
        return Wanted(content, size, lambda: path, unpack_bundle)
    try:
        with zipfile.ZipFile(path) as source:
            members = checked_members(source)
            if MANIFEST not in members:
                raise BundleError(f"{path}: {MANIFEST} is missing")
            raw = read_member(source, members[MANIFEST], MOST_MANIFEST_BYTES)
    except FileNotFoundError as error:
        raise BundleError(f"{path}: missing", hint="name a bundle's folder or an .edgemodel file") from error
    except (*ZIP_ERRORS, OSError) as error:
        raise BundleError(f"{path}: not a bundle's zip, or truncated") from error
    manifest = parse_manifest(raw)
    size = len(raw) + sum(record.size for record in manifest.files.values())
    found = Content(manifest.name, manifest.version, f"sha256:{hashlib.sha256(raw).hexdigest()}")
    return Wanted(found, size, lambda: path, unpack_bundle)


def _content(bundle: Bundle) -> Content:
    return Content(bundle.manifest.name, bundle.manifest.version, bundle.digest)


def has_other(directories: tuple[Path, ...], name: str) -> bool:
    """Whether a model of this name lies beside the store, and serves where the store has none."""
    store = store_folder(directories)
    return any(_is_bundle(folder / name) for folder in directories if folder != store)


def store_folder(directories: tuple[Path, ...]) -> Path | None:
    """The first of the settings' folders that can hold a store; None where each is a bundle itself."""
    return next((folder for folder in directories if not _is_bundle(folder)), None)


def _is_bundle(folder: Path) -> bool:
    """Whether there is a manifest, as far as the caller may see."""
    try:
        return (folder / MANIFEST).is_file()
    except OSError:  # before Python 3.14 pathlib raises where a folder may not be looked into
        return False
