"""Asks a repository whether anything is new, for the price of a few hundred bytes and no verification.

The daemon asks by a conditional GET for ``timestamp.json`` (RFC 9110, section 13.1: If-None-Match), of which
every change of a repository makes a new one, or looks whether that file of a folder has changed. Only when it
has, a child with python-tuf is started, and that one believes nothing of this answer. Whoever answers
"nothing new" for ever withholds updates, which is seen when the trusted metadata expire: so the child is to
be started once a day all the same.

Neither python-tuf nor urllib3 is imported here: the daemon is to stay small.
"""

from __future__ import annotations

import random
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

_MOST_BYTES: Final = 16_000
_TIMESTAMP: Final = "metadata/timestamp.json"
_JITTER: Final = 0.2


@dataclass(frozen=True, slots=True)
class Poll:
    """What an asking brought.

    Attributes:
        is_new: whether the child should look; not so where nobody answered.
        tag: what to ask with the next time, or None.
        fault: why nobody answered, in words, or None.
    """

    is_new: bool
    tag: str | None
    fault: str | None = None


def ask(base: str, tag: str | None, *, timeout_seconds: float = 20.0) -> Poll:
    """Asks once.

    Args:
        base: address of the repository, ending in a slash (:func:`edge_agent.update.trust.address`).
        tag: of the last asking, or None.
        timeout_seconds: for each piece of the answer.
    """
    url = f"{base}{_TIMESTAMP}"
    if urlsplit(url).scheme == "file":
        return _look(Path(unquote(urlsplit(url).path)), tag)
    headers = {"If-None-Match": tag} if tag and tag.isprintable() else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as response:
            found = response.headers.get("ETag")
            response.read(_MOST_BYTES)
            return Poll(found is None or found != tag, found)
    except urllib.error.HTTPError as error:
        error.close()
        return Poll(False, tag, None if error.code == 304 else f"HTTP {error.code}")
    except (OSError, ValueError) as error:
        return Poll(False, tag, type(error).__name__)


def next_wait(period_seconds: float, chance: Callable[[], float] = random.random) -> float:
    """Seconds to the next asking: the period, a fifth more or less, so that a fleet does not ask in step.

    Args:
        period_seconds: between two askings, on average.
        chance: evenly from 0 to 1.
    """
    return period_seconds * (1 + _JITTER * (2 * chance() - 1))


def _look(path: Path, tag: str | None) -> Poll:
    try:
        found = path.stat()
    except OSError as error:
        return Poll(False, tag, error.strerror)
    now = f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}"
    return Poll(now != tag, now)
