"""python-tuf's way to get files, for a repository that is a folder: a disk, a share, a USB stick."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

_BLOCK_BYTES = 1 << 18
_NOT_FOUND = 404


class FolderFetcher(FetcherInterface):
    """Reads ``file:`` URLs. What is not there is told as HTTP's 404, as the interface wants it."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(unquote(urlsplit(url).path))
        if not path.is_file():
            raise DownloadHTTPError(f"{path}: missing", _NOT_FOUND)
        return _blocks(path)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block
