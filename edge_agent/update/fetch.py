"""Getting files for python-tuf, from a web server or a folder, with resume and without patience for tricks.

What is fetched is distrusted until python-tuf has checked it; here only its length and its speed are bounded:

* never more bytes than the caller allows (endless data);
* a gap between two pieces, and an average speed, below which the server is given up (slow retrieval);
* a download that breaks is resumed where it broke (RFC 9110, section 14: Range), in this process and in the
  next, since the part lies in a file; whoever checks the whole removes a part that turns out false.

A folder is a ``file:`` address. Only plain files are read there: a pipe on a USB stick is refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO, Final
from urllib.parse import unquote, urlsplit

import urllib3
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)
from tuf.ngclient.fetcher import FetcherInterface

_BLOCK_BYTES: Final = 1 << 16
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d*/(?:\d+|\*)")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        connect_seconds: to the first byte.
        gap_seconds: between two pieces.
        grace_seconds: nobody is called slow earlier.
        least_bytes_per_second: the average of one file below which it is given up after the grace.
        attempts: how often a broken download is taken up again in a row without getting anything new.
    """

    connect_seconds: float = 15.0
    gap_seconds: float = 30.0
    grace_seconds: float = 60.0
    least_bytes_per_second: float = 500.0
    attempts: int = 3


class Fetcher(FetcherInterface):  # type: ignore[misc, unused-ignore]
    """Fetches ``http:``, ``https:`` and ``file:`` addresses.

    Args:
        parts: folder for downloads that are not complete; it must exist.
        resumed: what the addresses begin with whose downloads are kept when they break.
        patience: with servers.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        parts: Path,
        resumed: str,
        patience: Patience | None = None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._parts = parts
        self._resumed = resumed
        self._patience = patience or Patience()
        self._clock = clock

    def part(self, url: str) -> Path:
        """Where what has come of an address lies."""
        return self._parts / f"{hashlib.sha256(url.encode()).hexdigest()}.part"

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._pieces(url, 0)[1]

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """A file with what is at an address, at most ``max_length`` bytes; see FetcherInterface."""
        if not url.startswith(self._resumed):
            with tempfile.SpooledTemporaryFile(max_size=1 << 20) as file:
                self._download(url, file, max_length)
                file.seek(0)
                yield file
            return
        part = self.part(url)
        with part.open("a+b") as file:
            self._download(url, file, max_length)
            file.seek(0)
            yield file
        part.unlink()

    def _download(self, url: str, file: IO[bytes], most: int) -> None:
        """Fills the file to the end of what the server has, taking up what breaks off."""
        left = self._patience.attempts
        while True:
            file.seek(0, os.SEEK_END)
            before = file.tell()
            if before > most:
                file.truncate(0)
                continue
            if before == most and before:
                return
            try:
                self._continue(url, file, most)
                return
            except (DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError):
                raise
            except (urllib3.exceptions.HTTPError, OSError, DownloadError) as error:
                file.seek(0, os.SEEK_END)
                left = self._patience.attempts if file.tell() > before else left - 1
                if left <= 0 or not url.startswith("http"):
                    raise DownloadError(f"{url}: {_in_words(error)}") from error

    def _continue(self, url: str, file: IO[bytes], most: int) -> None:
        begun, got = self._clock(), 0
        start, pieces = self._pieces(url, file.tell())
        if start != file.tell():
            file.seek(0)
            file.truncate()
        for piece in pieces:
            if file.tell() + len(piece) > most:
                file.truncate(0)
                raise DownloadLengthMismatchError(f"{url}: more than the {most} bytes that are allowed")
            file.write(piece)
            got += len(piece)
            passed = self._clock() - begun
            patience = self._patience
            if passed > patience.grace_seconds and got < passed * patience.least_bytes_per_second:
                raise SlowRetrievalError(f"{url}: {got} bytes in {passed:.0f} s")

    def _pieces(self, url: str, start: int) -> tuple[int, Iterator[bytes]]:
        if urlsplit(url).scheme == "file":
            return 0, _read(Path(unquote(urlsplit(url).path)))
        return self._ask(url, start)

    def _ask(self, url: str, start: int) -> tuple[int, Iterator[bytes]]:
        """The pieces from a server, and the offset of the first, which may not be the one asked for."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        timeout = urllib3.Timeout(connect=self._patience.connect_seconds, read=self._patience.gap_seconds)
        try:
            response = _pool(url).request(
                "GET", url, headers=headers, timeout=timeout, preload_content=False, retries=_REDIRECTS
            )
        except urllib3.exceptions.MaxRetryError as error:
            if isinstance(error.reason, urllib3.exceptions.ReadTimeoutError):  # a refused one is no slow one
                raise SlowRetrievalError(f"{url}: no answer") from error
            raise
        if response.status == 416:  # the part is all there is, or false
            response.close()
            return self._ask(url, 0)
        if response.status >= 400:
            response.close()
            raise DownloadHTTPError(f"{url}: HTTP {response.status}", response.status)
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        is_part = response.status == 206 and found is not None and int(found[1]) == start
        return start if is_part else 0, _stream(response, url)


_REDIRECTS: Final = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=3)


def _in_words(error: BaseException) -> str:
    """What the system said, such as ``Connection refused``, where an exception of urllib3 wraps it."""
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.strerror):
        cause = cause.__cause__ or cause.__context__
    return str(cause.strerror) if isinstance(cause, OSError) else type(error).__name__


def _stream(response: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
    """What comes, as it comes: one that waits for whole blocks would not see how slow it is."""
    try:
        while piece := response.read1(_BLOCK_BYTES, decode_content=False):
            yield piece
    except urllib3.exceptions.ReadTimeoutError as error:
        raise SlowRetrievalError(f"{url}: nothing for too long") from error
    finally:
        response.close()


def _read(path: Path) -> Iterator[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise DownloadHTTPError(f"{path}: missing", 404) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DownloadError(f"{path}: not a plain file")
        while piece := file.read(_BLOCK_BYTES):
            yield piece


def _pool(url: str) -> urllib3.PoolManager:
    """Honours the proxy of the environment, as everything else on the machine does."""
    parts = urlsplit(url)
    proxy = None
    with suppress(OSError):
        if not urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = urllib.request.getproxies().get(parts.scheme)
    return urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
