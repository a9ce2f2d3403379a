"""Finds the children that prove a model."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_MODULE = b"edge_agent.service.updating.proof_child"
_PATIENCE_SECONDS = 60.0


def children(parent: int | None = None) -> list[int]:
    """Process ids of the proofs that a process has running, or left as zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, LookupError):
            name_and_rest = (path / "stat").read_text().rpartition(")")[2].split()
            if int(name_and_rest[1]) != (os.getpid() if parent is None else parent):
                continue
            is_zombie = name_and_rest[0] == "Z"
            if is_zombie or _MODULE in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def wait_for_child(parent: int | None = None) -> int:
    """The process id of a proof that has read its orders and loads the model: it is to be killed first."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for pid in children(parent):
            with suppress(OSError):
                if Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000":
                    return pid
        time.sleep(0.02)
    raise AssertionError("no proof was started")
