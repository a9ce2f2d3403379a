"""Asking a command of the system, which may be absent, fail or hang."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

_SBIN = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/opt/vc/bin")
_LONGEST = 65_536


def find_command(name: str) -> str | None:
    """Where a command is, also where users' PATH does not look."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *_SBIN)))


def ask_command(command: Sequence[str], timeout_seconds: float) -> str | None:
    """What a command prints in plain English; None where it fails, is absent, or takes longer."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_seconds,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout[:_LONGEST].decode("utf-8", "replace") if done.returncode == 0 else None
