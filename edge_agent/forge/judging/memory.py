"""Memory that a bundle costs where it serves: a program of its own, since only a fresh process tells.

``python -m edge_agent.forge.judging.memory BUNDLE`` loads the bundle as the daemon does, answers one text
fifty times, and prints what the resident set was before and after, in megabytes (VmRSS of
``/proc/self/status``, ``proc(5)``).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_CALLS = 50
_STATUS = Path("/proc/self/status")
_LONGEST_SECONDS = 120


def memory_megabytes(bundle: Path) -> float | None:
    """Growth of the resident set by loading a bundle and answering, the runtime's own share included.

    None where the kernel does not say, or the process failed.
    """
    command = [sys.executable, "-m", "edge_agent.forge.judging.memory", str(bundle)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_LONGEST_SECONDS)
        found = json.loads(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError):
        return None
    before, after = found["before"], found["after"]
    return None if before is None or after is None else round(after - before, 1)


def resident_megabytes(status: Path = _STATUS) -> float | None:
    """The resident set of this process in megabytes of a million bytes; None where it is not told."""
    try:
        lines = status.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    kibibytes = next((line.split()[1] for line in lines if line.startswith("VmRSS:")), None)
    return None if kibibytes is None else int(kibibytes) * 1024 / 1e6


def _probe(bundle: str) -> dict[str, float | None]:
    from edge_agent.inference.model import Model

    before = resident_megabytes()
    with Model.load(bundle, check_golden=False) as model:
        for _ in range(_CALLS):
            model.predict("turn on the light in the kitchen and tell me the time")
        return {"before": before, "after": resident_megabytes()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_probe(sys.argv[1])) + "\n")
