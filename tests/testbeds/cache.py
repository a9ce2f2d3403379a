"""Where the roots of test beds lie, and what making one takes: a mirror, a lock, a word on why not.

They lie outside the repository, in the folder that the environment variable ``TESTBED_CACHE`` names, by
default ``edge-agent-testbeds`` in the user's cache folder.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RELEASE = "bookworm"


class NoTestbedError(Exception):
    """What this test bed needs cannot be had on this machine; one line says what."""


def mirror() -> str:
    """Where apt gets this release from, by apt-get(8) ``indextargets``.

    Raises:
        NoTestbedError: it has none.
    """
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    sites = [line.split()[1] for line in listed.stdout.splitlines() if line.startswith(RELEASE + " ")]
    if not sites:
        raise NoTestbedError(f"apt has no mirror of Debian {RELEASE} here to make a root from")
    return sites[0]


def cache() -> Path:
    """The folder, made where it is missing."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("TESTBED_CACHE") or home / "edge-agent-testbeds")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Holds a lock, so that two test runs do not make the same root."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def last_line(text: str) -> str:
    """What a program said last."""
    return (text.strip().splitlines() or ["no reason given"])[-1]
