"""Fetching a published data file once, into a cache: what is kept is what its sha256 says, or nothing.

Only ``https``, and ``http`` to this machine itself, also after a redirection. The content goes to a temporary
file beside its place, bounded in size, and takes its name when whole and proven.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from edge_agent.errors import DataError
from edge_agent.files import sync_folder

LARGEST_BYTES = 512 << 20
TIMEOUT_SECONDS = 30.0
_PIECE_BYTES = 1 << 16
_OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

Progress = Callable[[str, int, "int | None"], None]
"""Told (file, bytes so far, bytes in all or None) after every piece."""


def default_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """``$XDG_CACHE_HOME/edge-agent/data``, or ``~/.cache/edge-agent/data`` (XDG Base Directory 0.8)."""
    base = environment.get("XDG_CACHE_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "edge-agent" / "data"


def is_allowed(address: str) -> bool:
    """Whether data may come from there: by https, or by http from this machine."""
    parts = urlsplit(address)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _OWN_HOSTS)
    )


def sha256_of(path: Path) -> str:
    """Of a file's content, read piece by piece."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def download(
    address: str,
    target: Path,
    *,
    sha256: str,
    largest_bytes: int = LARGEST_BYTES,
    timeout_seconds: float = TIMEOUT_SECONDS,
    progress: Progress = lambda *_: None,
) -> None:
    """Fetches a file; leaves it whole and proven at ``target``, or leaves nothing.

    Args:
        address: https, or http to this machine.
        target: where it goes; folders are made.
        sha256: of the content, in hexadecimal.
        largest_bytes: more is refused, announced or not.
        timeout_seconds: of connecting, and of every wait for more.
        progress: told after every piece.

    Raises:
        DataError: not reachable, broken off, too large, or another content; names the address.
    """
    if not is_allowed(address):
        raise DataError(f"{address}: data is fetched by https only", hint="give its folder by --data DIR")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise DataError(f"{target.parent}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            found = _fetch(address, file, target.name, largest_bytes, timeout_seconds, progress)
            file.flush()
            os.fsync(file.fileno())
        if found != sha256:
            raise DataError(
                f"{address}: its content has changed: sha256 is {found}, {sha256} is meant",
                hint="give a folder with the right file by --data DIR",
            )
        Path(temporary).replace(target)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DataError(
            f"{address}: cannot be fetched: {_reason(error)}",
            hint="try again, or give its folder by --data DIR",
        ) from error
    finally:
        with suppress(OSError):
            Path(temporary).unlink()
    sync_folder(target.parent)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to where data may come from."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not is_allowed(newurl):
            fp.close()
            raise DataError(f"{req.full_url}: it leads to {newurl}, and data is fetched by https only")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(
    address: str, file: IO[bytes], name: str, largest_bytes: int, timeout_seconds: float, progress: Progress
) -> str:
    """Writes the content and returns its sha256."""
    opener = urllib.request.build_opener(_Redirects)
    request = urllib.request.Request(address, headers={"User-Agent": "edge-agent-forge"})
    digest, done = hashlib.sha256(), 0
    with opener.open(request, timeout=timeout_seconds) as response:
        announced = response.headers.get("Content-Length", "")
        total = int(announced) if announced.isdecimal() else None
        while piece := response.read(_PIECE_BYTES):
            done += len(piece)
            if done > largest_bytes:
                break
            digest.update(piece)
            file.write(piece)
            progress(name, done, total)
    if max(done, total or 0) > largest_bytes:
        raise DataError(f"{address}: larger than the {largest_bytes / 1e6:.0f} MB that are allowed")
    if total is not None and done < total:
        raise DataError(
            f"{address}: broken off after {done} of {total} bytes",
            hint="try again, or give its folder by --data DIR",
        )
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(getattr(error.reason, "strerror", None) or error.reason)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
