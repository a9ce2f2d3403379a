"""What the machine says of itself and of one process, read from ``/proc``."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from edge_agent.bench.figures import Machine

_PROC = Path("/proc")
_PROCESSOR_KEYS = ("model name", "Model", "Hardware", "cpu model")


def describe_machine(board: str, operating_system: str, proc: Path = _PROC) -> Machine:
    """The machine; what the kernel does not tell is None or the architecture's name."""
    return Machine(
        board=board,
        processor=_processor(proc) or platform.machine(),
        architecture=platform.machine(),
        cores=os.cpu_count() or 1,
        memory_mb=_kilobytes(proc / "meminfo", "MemTotal"),
        operating_system=operating_system,
        kernel=platform.release(),
        python=platform.python_version(),
    )


def resident_mb(pid: int, proc: Path = _PROC) -> float | None:
    """Resident memory of a process (``VmRSS``, proc(5)), None when it is gone."""
    return _kilobytes(proc / str(pid) / "status", "VmRSS")


def processor_seconds(pid: int, proc: Path = _PROC) -> float | None:
    """Processor time of a process, user and system (``/proc/pid/stat``, proc(5)), None when it is gone."""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _processor(proc: Path) -> str | None:
    for key in _PROCESSOR_KEYS:
        found = _value(proc / "cpuinfo", key)
        if found:
            return found
    return None


def _kilobytes(path: Path, key: str) -> float | None:
    """A figure that the kernel gives in units of 1024 bytes, in megabytes."""
    found = _value(path, key)
    try:
        return None if found is None else round(int(found.split()[0]) * 1024 / 1e6, 2)
    except (ValueError, IndexError):
        return None


def _value(path: Path, key: str) -> str | None:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip() or None
    return None
