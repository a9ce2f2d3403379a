"""Lets a candidate answer its golden sentences in a process of its own.

A model may crash the runtime, never come back, or ask for all memory there is. So it is loaded by a child
with limits, and whatever ends that child is the candidate's fault, told in one line.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from edge_agent.errors import BundleError, GoldenError

PROOF_SECONDS: Final = 180.0
_MOST_CPU_SECONDS: Final = 120
_MOST_ADDRESS_BYTES: Final = 3 << 30
_PROGRAM: Final = (
    "import resource as r\n"
    f"r.setrlimit(r.RLIMIT_CPU, ({_MOST_CPU_SECONDS}, {_MOST_CPU_SECONDS}))\n"
    f"r.setrlimit(r.RLIMIT_AS, ({_MOST_ADDRESS_BYTES}, {_MOST_ADDRESS_BYTES}))\n"
    "r.setrlimit(r.RLIMIT_CORE, (0, 0))\n"
    "from edge_agent.cli.main import main\n"
    "main()\n"
)


def prove(folder: Path, *, seconds: float = PROOF_SECONDS, program: str = _PROGRAM) -> None:
    """Loads a bundle and compares its golden sentences, in a child.

    Args:
        folder: of the bundle.
        seconds: how long it may take.
        program: what the child runs, with the arguments of ``model verify``.

    Raises:
        GoldenError: it crashed, took too long, or answered wrongly.
        BundleError: it is no right bundle.
    """
    command = [sys.executable, "-c", program, "model", "verify", str(folder.absolute()), "--json"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise GoldenError(f"the model did not answer its golden sentences within {seconds:g} s") from error
    if done.returncode < 0:
        raise GoldenError(f"the model ended the process that loaded it ({_signal_name(-done.returncode)})")
    if done.returncode != 0:
        raise BundleError(_reason(done.stdout) or f"the proof ended with exit code {done.returncode}")


def _reason(printed: str) -> str | None:
    """What ``model verify --json`` says of the one model."""
    try:
        reason = json.loads(printed)[0]["reason"]
    except (ValueError, LookupError, TypeError):
        return None
    return reason if isinstance(reason, str) else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
