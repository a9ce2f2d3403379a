"""The file system is shut down under an update, without a last write of its journal, at every step of it.

EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (Linux, fs/ext4/ioctl.c) is to a mounted file system what a
pulled plug is to a disk: what was not synchronised is gone. So this proves the order of the syncs, which a
killed process cannot. Takes a quarter of a minute, and needs root, loop devices and ext4.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.update.install import install
from edge_agent.update.upkeep import recover_all
from tests.update.test_power_cut import _installs, _old_folder, _old_link, _rolls_back, _two_links
from tests.update.toy import CountingDisk, open_store, proves, served, wanted, write_toy

_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where an ext4 image can be mounted."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as made:
        yield Path(made)


def _run(*command: str | Path) -> bool:
    return subprocess.run([*map(str, command)], check=False, capture_output=True).returncode == 0


@contextmanager
def _mounted(image: Path, place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    if not _run("mount", "-o", "loop", image, place):
        pytest.skip("needs root and loop devices")
    try:
        yield place
    finally:
        assert _run("umount", place)


def _template(folder: Path, prepare: Callable[[Path], None]) -> Path:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("needs root and mkfs.ext4")
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    assert _run("mkfs.ext4", "-q", "-b", "1024", image)
    with _mounted(image, folder / "mount") as mount:
        write_toy(mount / "new", "1.1.0")
        write_toy(mount / "newer", "1.2.0")
        prepare(mount / "models")
    return image


def _shut_down(mount: Path) -> None:
    descriptor = os.open(mount, os.O_RDONLY)
    fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    os._exit(7)


def _act_and_pull_the_plug(act: Callable[[Path, CountingDisk], None], mount: Path, step: int) -> bool:
    """Whether the plug was pulled, or the act was over before."""
    child = os.fork()
    if child == 0:
        try:
            act(mount / "models", CountingDisk(step, lambda: _shut_down(mount)))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "act"),
    [
        pytest.param(_old_link, _installs, id="update"),
        pytest.param(_old_folder, _installs, id="update of a folder"),
        pytest.param(_two_links, _rolls_back, id="rollback"),
    ],
)
def test_a_disk_that_loses_power_at_any_step_holds_the_old_or_the_new_one(
    prepare: Callable[[Path], None], act: Callable[[Path, CountingDisk], None], folder: Path
) -> None:
    image, step, was_cut = _template(folder, prepare), 0, True
    while was_cut:
        step += 1
        copy = Path(shutil.copyfile(image, folder / "copy"))
        with _mounted(copy, folder / "mount") as mount:
            was_cut = _act_and_pull_the_plug(act, mount, step)
        with _mounted(copy, folder / "mount") as mount:
            models = mount / "models"
            records = recover_all(open_store(models))
            version = served(models)
            assert version in {"1.0.0", "1.1.0"}, step
            assert all(r.serving is not None and r.serving.version == version for r in records), step
            install(open_store(models), wanted(mount / "newer"), proves)
            assert served(models) == "1.2.0", step
    assert step > 5
