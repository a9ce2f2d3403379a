"""The process ends, or a call fails, at every step by which an update changes the disk."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.update.install import install, roll_back
from edge_agent.update.refusal import UpdateError
from edge_agent.update.upkeep import recover_all
from tests.update.toy import CountingDisk, open_store, proves, served, wanted, write_toy

Prepare = Callable[[Path], None]


def _old_link(models: Path) -> None:
    install(open_store(models), wanted(write_toy(models.parent / "old", "1.0.0")), proves)


def _old_folder(models: Path) -> None:
    write_toy(models / "home", "1.0.0")


def _installs(models: Path, disk: CountingDisk) -> None:
    install(open_store(models, disk), wanted(models.parent / "new"), proves)


def _rolls_back(models: Path, disk: CountingDisk) -> None:
    roll_back(open_store(models, disk), "home")


def _two_links(models: Path) -> None:
    _old_link(models)
    install(open_store(models), wanted(models.parent / "new"), proves)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where syncing costs nothing: kills are what is tried here, not the disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


CASES = [
    pytest.param(_old_link, _installs, id="update"),
    pytest.param(_old_folder, _installs, id="update of a folder"),
    pytest.param(_two_links, _rolls_back, id="rollback"),
]


def _template(tmp_path: Path, prepare: Prepare) -> Path:
    base = tmp_path / "template"
    write_toy(base / "new", "1.1.0")
    write_toy(base / "newer", "1.2.0")
    prepare(base / "models")
    return base


def _copy(base: Path, tmp_path: Path, number: int) -> Path:
    copy = tmp_path / f"copy-{number}"
    shutil.copytree(base, copy, symlinks=True)
    return copy


def _assert_whole_and_updatable(copy: Path) -> None:
    models = copy / "models"
    assert served(models) in {"1.0.0", "1.1.0"}  # at once, as a daemon that goes on would find it
    records = recover_all(open_store(models))
    version = served(models)
    assert version in {"1.0.0", "1.1.0"}
    assert all(r.serving is not None and r.serving.version == version for r in records)
    assert list((models / ".store" / "incoming").glob("*")) == []
    install(open_store(models), wanted(copy / "newer"), proves)
    assert served(models) == "1.2.0"
    roll_back(open_store(models), "home")
    assert served(models) == version


def _steps(base: Path, tmp_path: Path, act: Callable[[Path, CountingDisk], None]) -> int:
    disk = CountingDisk(0, lambda: None)
    act(_copy(base, tmp_path, 0) / "models", disk)
    return disk.steps


@pytest.mark.parametrize(("prepare", "act"), CASES)
def test_a_kill_before_any_step_leaves_the_old_or_the_new_one_and_the_next_update_succeeds(
    prepare: Prepare, act: Callable[[Path, CountingDisk], None], memory: Path
) -> None:
    base = _template(memory, prepare)
    steps = _steps(base, memory, act)
    assert steps > 5
    for number in range(1, steps + 1):
        copy = _copy(base, memory, number)
        child = os.fork()
        if child == 0:
            act(copy / "models", CountingDisk(number, lambda: os.kill(os.getpid(), signal.SIGKILL)))
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        _assert_whole_and_updatable(copy)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize(("prepare", "act"), CASES)
def test_a_step_that_fails_leaves_the_old_or_the_new_one_and_the_next_update_succeeds(
    prepare: Prepare, act: Callable[[Path, CountingDisk], None], number: int, memory: Path
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    base = _template(memory, prepare)
    for index in range(1, _steps(base, memory, act) + 1):
        copy = _copy(base, memory, index)
        with suppress(UpdateError):
            act(copy / "models", CountingDisk(index, fail))
        _assert_whole_and_updatable(copy)


CALLS = "write,pwrite64,rename,renameat,renameat2,fsync,fdatasync,unlink,unlinkat,symlink,symlinkat,mkdir"
PROGRAM = (
    "import sys; from pathlib import Path; from tests.update.toy import *; "
    "from edge_agent.update.install import install; base = Path(sys.argv[1]); "
    "install(open_store(base / 'models'), wanted(base / 'new'), proves)"
)


def _straced(copy: Path, call: str | None = None, when: int = 1) -> subprocess.CompletedProcess[str]:
    inject = [] if call is None else ["-e", f"inject={call}:signal=SIGKILL:when={when}"]
    command = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", *inject]
    return subprocess.run(
        [*command, sys.executable, "-c", PROGRAM, str(copy)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("prepare", [_old_link, _old_folder])
def test_a_kill_at_every_system_call_leaves_the_old_or_the_new_one(prepare: Prepare, memory: Path) -> None:
    """Enumerated, not sampled: every call that writes, renames, links, removes or syncs; half a minute."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    asked = ["strace", "-qq", "-e", "trace=none", "true"]
    if subprocess.run(asked, check=False, capture_output=True).returncode:
        pytest.skip("needs leave to trace a process")
    base = _template(memory, prepare)
    whole = _straced(_copy(base, memory, 0))
    assert whole.returncode == 0, whole.stderr
    calls = Counter(re.findall(r"^(?:\[pid +\d+\] )?(\w+)\(", whole.stderr, re.MULTILINE))
    assert calls.total() > 20
    for call, count in calls.items():
        for when in range(1, count + 1):
            copy = _copy(base, memory, when)
            assert _straced(copy, call, when).returncode != 0, (call, when)
            _assert_whole_and_updatable(copy)
            shutil.rmtree(copy)
