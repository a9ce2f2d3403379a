"""Running ``edge-agent`` as a user does: a process with its own exit code, stdout and stderr."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = (sys.executable, "-c", "from edge_agent.cli.main import main; main()")
DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def edge_agent(
    *arguments: str | Path,
    stdin: bytes = b"",
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
    program: Sequence[str] = PROGRAM,
) -> Done:
    """Runs the command to its end."""
    done = subprocess.run(
        [*program, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def assert_one_line_and_hint(done: Done) -> None:
    """An error as PROTOCOL §2 wants it: one line, perhaps a hint, never a traceback."""
    lines = done.err.splitlines()
    assert 1 <= len(lines) <= 2, done.err
    assert lines[0].startswith("edge-agent: ")
    assert all(line.startswith("  hint: ") for line in lines[1:])
    assert "Traceback" not in done.err
