"""Python, processor, runtime, clock, memory and disk: what the machine brings along."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge_agent.cli.findings import Finding, ok, problem, warning
from edge_agent.errors import EdgeAgentError

LITTLE_MEMORY_MB = 200.0
NO_MEMORY_MB = 64.0
"""Less than the daemon needs with one small model."""
LITTLE_DISK_MB = 300.0
"""Unpacking a second version of a model, and some."""
NO_DISK_MB = 20.0

_SUPPORTED_PYTHONS = ((3, 10), (3, 13))
_ONLY_PYTHON_OF_ARMV7L = (3, 11)
_SUPPORTED_MACHINES = ("x86_64", "aarch64")


def check_platform() -> Finding:
    """Python and processor are ones that this package supports."""
    system, machine = platform.system(), platform.machine()
    description = f"{platform.python_implementation()} {platform.python_version()} on {system} {machine}"
    return judge_platform(sys.version_info[:2], system, machine, description)


def judge_platform(python: tuple[int, int], system: str, machine: str, description: str) -> Finding:
    """Whether a Python version on a system and processor is supported."""
    first, last = _SUPPORTED_PYTHONS
    if not first <= python <= last:
        return problem("platform", description, "use Python 3.10 to 3.13")
    if machine == "armv7l":
        if python == _ONLY_PYTHON_OF_ARMV7L:
            return ok("platform", description)
        remedy = "32-bit ARM has a runtime for Python 3.11 only: Raspberry Pi OS 12"
        return problem("platform", description, remedy)
    if system != "Linux" or machine not in _SUPPORTED_MACHINES:
        return warning("platform", description, "not tested here; Linux on x86-64 or ARM is")
    return ok("platform", description)


def check_runtime() -> Finding:
    """A TFLite runtime is installed and can be loaded."""
    from edge_agent.inference.runtime import runtime_info

    try:
        return ok("runtime", str(runtime_info()))
    except EdgeAgentError as error:
        return problem("runtime", str(error), error.hint or "pip install ai-edge-litert")


def check_clock() -> Finding:
    """The clock is synchronised; ``sent_at`` and certificates need it."""
    from edge_agent.service.machine import kernel_clock_synced

    if kernel_clock_synced():
        return ok("clock", "synchronised")
    remedy = "sudo timedatectl set-ntp true; until then ttl_s counts from receipt"
    return warning("clock", "not synchronised", remedy)


def check_memory() -> Iterator[Finding]:
    """There is memory left for a daemon."""
    from edge_agent.service.machine import Machine

    available = Machine().load().memory_available_mb
    if available is not None:
        yield judge_memory(available)


def judge_memory(available_mb: float) -> Finding:
    """Whether so many megabytes (10⁶ bytes) are enough."""
    message = f"{available_mb:,.0f} MB available"
    remedy = "stop other programs, serve fewer or smaller models, or add zram (apt install zram-tools)"
    if available_mb < NO_MEMORY_MB:
        return problem("memory", f"{message}: not enough for a daemon with one model", remedy)
    if available_mb < LITTLE_MEMORY_MB:
        return warning("memory", f"{message}: enough to serve, scarce while a model is updated", remedy)
    return ok("memory", message)


def check_disk(folders: Iterable[Path]) -> Iterator[Finding]:
    """There is room where the daemon writes, once for each file system."""
    seen: set[int] = set()
    for folder in folders:
        there = next((one for one in (folder, *folder.parents) if os.access(one, os.F_OK)), Path("/"))
        device = there.stat().st_dev
        if device not in seen:
            seen.add(device)
            room = os.statvfs(there)
            yield judge_disk(
                there,
                shutil.disk_usage(there).free / 1e6,
                has_files=room.f_favail > 0 or room.f_files == 0,
                is_read_only=bool(room.f_flag & os.ST_RDONLY),
            )


def judge_disk(folder: Path, free_mb: float, *, has_files: bool, is_read_only: bool) -> Finding:
    """Whether a file system has room, in megabytes (10⁶ bytes) and in files (inodes)."""
    about, message = "disk", f"{free_mb:,.0f} MB free at {folder}"
    if is_read_only:
        remedy = f"the daemon serves and remembers no command: mount it writable (findmnt -T {folder})"
        return warning(about, f"{folder} is on a file system that is read-only", remedy)
    remedy = "sudo journalctl --vacuum-size=100M; sudo apt clean; or remove models that nobody asks"
    if free_mb < NO_DISK_MB or not has_files:
        return problem(about, message if has_files else f"no file can be made any more at {folder}", remedy)
    if free_mb < LITTLE_DISK_MB:
        return warning(about, f"{message}: too little for the update of a model", remedy)
    return ok(about, message)
