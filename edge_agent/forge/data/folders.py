"""Where the files of a recipe's data are: in the folders of ``--data``, in the cache, or at their address."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.errors import DataError
from edge_agent.forge.data.download import Progress, default_cache, download, sha256_of
from edge_agent.forge.sections import DataSection


@dataclass(frozen=True, slots=True)
class DataFolders:
    """Where a recipe's files are looked for.

    Attributes:
        recipe_folder: the folder of the recipe.
        data: the folders of ``--data``, first to last.
        cache: where downloads are kept; None: the user's cache folder.
        progress: told (file, bytes so far, bytes in all or None) while one is fetched.
    """

    recipe_folder: Path
    data: Sequence[Path] = field(default=())
    cache: Path | None = None
    progress: Progress = lambda *_: None

    def find(self, section: DataSection) -> Path:
        """The file of a data section: from a data folder, else the cache, else its address.

        What the address gives is kept as it came, so a file ``a.csv.xz`` whose address gives it plain stands
        in the cache as ``a.csv``; readers take both.

        Raises:
            DataError: absent everywhere, not the file that the recipe means, or it cannot be fetched.
        """
        folders = [self.recipe_folder] if section.beside_recipe else list(self.data)
        for folder in folders:
            path = folder / section.file
            if path.exists():
                _check_sha256(path, section)
                return path
        if section.address is None or section.fetched_sha256 is None:
            searched = (
                f" in {', '.join(map(str, folders))}" if folders else ", and no folder of data is given"
            )
            raise DataError(f"{section.file}: not found{searched}", hint=_where_from(section))
        return self._fetched(section, section.address, section.fetched_sha256)

    def _fetched(self, section: DataSection, address: str, sha256: str) -> Path:
        """From the cache, if it still is what it was when it came; else from its address."""
        cached = (self.cache or default_cache()) / fetched_name(section.file, address)
        if not cached.is_file() or sha256_of(cached) != sha256:
            download(address, cached, sha256=sha256, progress=self.progress)
        return cached


def fetched_name(file: str, address: str) -> str:
    """A file's name in the cache: compressed or not, as its address gives it."""
    plain = file.removesuffix(".xz")
    return f"{plain}.xz" if address.endswith(".xz") else plain


def _where_from(section: DataSection) -> str:
    if section.beside_recipe:
        return "it belongs beside the recipe"
    origin = f" (the set is from {section.origin})" if section.origin else ""
    return f"give the folder that holds {section.file} by --data DIR{origin}"


def _check_sha256(path: Path, section: DataSection) -> None:
    """Of a file, or of all files of the section's language in a folder, one after the other by name."""
    if section.sha256 is None:
        return
    files = sorted(path.glob(f"{section.lang}.*")) if path.is_dir() else [path]
    found = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if found != section.sha256:
        raise DataError(f"{path}: sha256 is {found}, the recipe means {section.sha256}")
