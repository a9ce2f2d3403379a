"""Asks a repository whether anything is new, for the price of a few hundred bytes and no verification.

The daemon asks by a conditional GET for ``timestamp.json`` (RFC 9110, section 13.1: If-None-Match), of which
every change of a repository makes a new one, or looks whether that file of a folder has changed. Where a
server has no ETag, or another one for the same file on each of its machines, the file's hash tells. Only when
it has changed, a child with python-tuf is started, and that one believes nothing of this answer. Whoever
answers "nothing new" for ever withholds updates, which is seen when the trusted metadata expire: so the child
is to be started once a day all the same.

Neither python-tuf nor urllib3 is imported here: the daemon is to stay small, and has urllib by its MQTT
library.
"""

from __future__ import annotations

import hashlib
import http.client
import random
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

_MOST_BYTES: Final = 16_000
_BLOCK_BYTES: Final = 4096
_BODY_SECONDS: Final = 30.0
_LONGEST_ETAG: Final = 256
_TIMESTAMP: Final = "metadata/timestamp.json"
_JITTER: Final = 0.2
_NOT_MODIFIED: Final = 304


@dataclass(frozen=True, slots=True)
class Tag:
    """By what a change is known.

    Attributes:
        digest: of the file's content, or of its place and time in a folder.
        etag: the web server's, or None.
    """

    digest: str
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """What an asking brought.

    Attributes:
        is_new: whether the child should look; not so where nobody answered.
        tag: what to ask with the next time, or None.
        fault: why nobody answered, in words, or None.
    """

    is_new: bool
    tag: Tag | None
    fault: str | None = None


def base_of(source: str) -> str:
    """A repository's base address, ending in a slash; whether anything is there is not looked at.

    Args:
        source: an address, or a folder.
    """
    if re.match(r"(https?|file)://", source):
        return source if source.endswith("/") else f"{source}/"
    path = Path(source.removeprefix("file:")).expanduser().absolute()
    return f"file://{quote(str(path))}/"


def open_web(base: str) -> urllib.request.OpenerDirector:
    """What asks: HTTP and HTTPS, by the environment's proxies, and no other scheme, redirected or not.

    It is to be kept: with it stay the certificates of the system, which take 20 ms to read.
    """
    opener = urllib.request.OpenerDirector()
    is_tls = urlsplit(base).scheme == "https"
    context = ssl.create_default_context() if is_tls else None
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def ask(
    base: str,
    tag: Tag | None,
    *,
    opener: urllib.request.OpenerDirector | None = None,
    timeout_seconds: float = 20.0,
) -> Poll:
    """Asks once.

    Args:
        base: address of the repository, by :func:`base_of`.
        tag: of the last asking after which the child looked, or None.
        opener: by :func:`open_web`; a new one where None.
        timeout_seconds: for each piece of the answer.
    """
    url = f"{base}{_TIMESTAMP}"
    if urlsplit(url).scheme == "file":
        return _look(Path(unquote(urlsplit(url).path)), tag)
    headers = {"If-None-Match": tag.etag} if tag is not None and tag.etag else {}
    try:
        request = urllib.request.Request(url, headers=headers)
        with (opener or open_web(base)).open(request, timeout=timeout_seconds) as response:
            found = Tag(_digest(response), _usable(response.headers.get("ETag")))
    except urllib.error.HTTPError as error:
        error.close()
        is_known = error.code == _NOT_MODIFIED and bool(headers)
        return Poll(False, tag, None if is_known else f"HTTP {error.code}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Poll(False, tag, _words(error))
    return Poll(tag is None or found.digest != tag.digest, found)


def next_wait(period_seconds: float, chance: Callable[[], float] = random.random) -> float:
    """Seconds to the next asking: the period, a fifth more or less, so that a fleet does not ask in step.

    Args:
        period_seconds: between two askings, on average.
        chance: evenly from 0 to 1.
    """
    return period_seconds * (1 + _JITTER * (2 * chance() - 1))


def _digest(response: http.client.HTTPResponse) -> str:
    """Of the body, or of its beginning where it is longer than any timestamp.

    Raises:
        OSError: it was cut short, or comes too slowly.
    """
    deadline = time.monotonic() + _BODY_SECONDS
    digest, left = hashlib.sha256(), _MOST_BYTES
    while left > 0 and (block := response.read1(min(left, _BLOCK_BYTES))):
        digest.update(block)
        left -= len(block)
        if time.monotonic() > deadline:
            raise TimeoutError("too slow")
    if left > 0 and response.length:
        raise ConnectionError("cut short")
    return digest.hexdigest()


def _usable(etag: str | None) -> str | None:
    is_usable = etag is not None and 0 < len(etag) <= _LONGEST_ETAG and etag.isascii() and etag.isprintable()
    return etag if is_usable else None


def _words(error: Exception) -> str:
    """Why, without the address, and without what a server says in its own words."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"certificate: {reason.verify_message}"
    if isinstance(reason, OSError):
        return reason.strerror or str(reason) or type(reason).__name__
    return type(reason).__name__


def _look(path: Path, tag: Tag | None) -> Poll:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        return Poll(False, tag, _words(error))
    now = Tag(f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}")
    return Poll(now != tag, now)
