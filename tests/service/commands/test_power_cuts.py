"""A desk whose process is killed at every step, by SIGKILL: the command ends all the same, as it should."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_agent.service.commands.states import Interruption
from edge_agent.service.commands.store import FILE_NAME
from tests.service.commands.life import POINTS, live

_KILLED = -9
_LIFE = [sys.executable, "-m", "tests.service.commands.life"]
_PROCESSES = multiprocessing.get_context("forkserver")  # real ones, without half a second of imports each


def _journal(folder: Path) -> list[tuple[str, Any]]:
    path = folder / "journal"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [(what, detail) for what, detail in map(json.loads, lines)]


def _said(folder: Path) -> list[str]:
    return [detail for what, detail in _journal(folder) if what == "announce"]


def _runs(folder: Path) -> int:
    return sum(what == "run" for what, _ in _journal(folder))


def _life(folder: Path, point: str, interruption: Interruption) -> int | None:
    _PROCESSES.set_forkserver_preload([live.__module__])
    process = _PROCESSES.Process(target=live, args=(folder, point, interruption))
    process.start()
    process.join(120)
    return process.exitcode


@pytest.mark.parametrize("point", POINTS)
def test_a_command_ends_whatever_the_moment_of_the_power_cut(tmp_path: Path, point: str) -> None:
    assert _life(tmp_path, point, Interruption.RUN_AGAIN) == _KILLED
    live(tmp_path, "never", Interruption.RUN_AGAIN)
    assert _said(tmp_path)[-1] == "successful"
    assert 1 <= _runs(tmp_path) <= 2
    before = _runs(tmp_path)
    live(tmp_path, "never", Interruption.RUN_AGAIN)
    assert _runs(tmp_path) == before, "it has ended, and is not executed again"


@pytest.mark.parametrize("point", ["write-1-after", "announce-1-after", "run-1-after", "write-2-before"])
def test_what_must_not_run_twice_does_not(tmp_path: Path, point: str) -> None:
    assert _life(tmp_path, point, Interruption.FAILED) == _KILLED
    live(tmp_path, "never", Interruption.FAILED)
    assert _said(tmp_path)[-1] == "failed"
    assert _runs(tmp_path) <= 1


@pytest.mark.parametrize("point", ["write-1-after", "run-1-before", "announce-2-before"])
def test_a_restart_succeeds_by_having_happened(tmp_path: Path, point: str) -> None:
    assert _life(tmp_path, point, Interruption.SUCCESSFUL) == _KILLED
    live(tmp_path, "never", Interruption.SUCCESSFUL)
    assert _said(tmp_path)[-1] == "successful"
    assert _runs(tmp_path) <= 1


@pytest.mark.parametrize("call", ["rename:when=1", "rename:when=2", "fsync:when=2"])
def test_a_power_cut_within_a_write_leaves_the_old_record_or_the_new_one(tmp_path: Path, call: str) -> None:
    strace = shutil.which("strace")
    assert strace, "the tests need strace: apt install strace"
    name, _, when = call.partition(":")
    calls = "rename,renameat,renameat2" if name == "rename" else name
    fault = ("-e", f"trace={calls}", "-e", f"inject={calls}:signal=KILL:{when}")
    command = [strace, "-f", "-qq", *fault, *_LIFE, str(tmp_path), "never", Interruption.RUN_AGAIN.value]
    assert subprocess.run(command, timeout=120, check=False, stderr=subprocess.DEVNULL).returncode != 0
    live(tmp_path, "never", Interruption.RUN_AGAIN)
    state = tmp_path / "state"
    assert [path.name for path in state.iterdir()] == [FILE_NAME], "nothing was damaged, nothing left over"
    assert _said(tmp_path)[-1] == "successful"
