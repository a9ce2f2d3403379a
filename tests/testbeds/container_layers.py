"""What a container stands on: its root of layers, and its own control groups. All of it goes with a stack."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.testbeds.cache import NoTestbedError
from tests.testbeds.waiting import eventually

CGROUPS = Path("/sys/fs/cgroup")
V1_LIMITS = ("memory", "cpu", "cpuacct", "pids")
"""The hierarchies of version 1 by which systemd limits a unit."""

_EMPTY_SECONDS = 5.0


def mount_layers(folder: Path, root: Path, lower: Sequence[Path], cleanup: ExitStack) -> None:
    """Mounts a root whose upper layer is in memory, as overlayfs cannot lie upon overlayfs.

    Args:
        folder: for the layer that is written to.
        root: where it is mounted.
        lower: the other layers, the uppermost first.
        cleanup: unmounts it.

    Raises:
        NoTestbedError: this machine does not allow it.
    """
    memory = folder / "memory"
    for path in (memory, root):
        path.mkdir(exist_ok=True)
    _mount(cleanup, "-t", "tmpfs", "-o", "mode=755", "none", str(memory))
    for name in ("upper", "work"):
        (memory / name).mkdir()
    options = f"lowerdir={':'.join(map(str, lower))},upperdir={memory}/upper,workdir={memory}/work"
    _mount(cleanup, "-t", "overlay", "-o", options, "none", str(root))


def make_cgroups(name: str, cleanup: ExitStack) -> list[Path]:
    """Own groups in the v1 hierarchies, so that limits inside touch nothing else; v2 needs none."""
    groups: list[Path] = []
    if not (CGROUPS / "memory").is_dir():
        return groups
    for hierarchy in (*V1_LIMITS, "systemd", "unified"):
        if (CGROUPS / hierarchy).is_dir():
            group = CGROUPS / hierarchy / name
            group.mkdir()
            groups.append(group)
            cleanup.callback(_remove_group, group)
    return groups


def _mount(cleanup: ExitStack, *arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoTestbedError(f"mount failed: {done.stderr.strip()}")
    cleanup.callback(subprocess.run, ["umount", "-l", arguments[-1]], check=False)


def _remove_group(top: Path) -> None:
    """Removes an empty group and those in it; what is still busy after some seconds is left."""

    def is_gone() -> bool:
        for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        with suppress(OSError):
            top.rmdir()
        return not top.exists()

    with suppress(AssertionError):
        eventually(is_gone, _EMPTY_SECONDS)
