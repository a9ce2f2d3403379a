"""The clock and the disk do what the schedule asks for, where this machine lets them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.faults import FakeClock, TinyDisk

_TELL_TIMES = """
import sys, threading, time
woken = threading.Event()
before = time.monotonic()
for line in sys.stdin:
    threading.Timer(0.01, woken.set).start()
    assert woken.wait(10)
    time.sleep(0.01)
    woken.clear()
    print(time.time(), time.monotonic() - before, flush=True)
"""


def test_the_wall_clock_of_a_running_process_jumps_and_its_monotonic_clock_does_not(tmp_path: Path) -> None:
    clock = FakeClock(tmp_path)
    if clock.lack is not None:
        pytest.skip(clock.lack)
    process = subprocess.Popen(
        [sys.executable, "-c", _TELL_TIMES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **clock.environment},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        seen: list[list[float]] = []
        for offset in (0, 1_000_000, -1_000_000, 0):
            clock.jump(offset)
            process.stdin.write("\n")
            process.stdin.flush()
            seen.append([float(word) for word in process.stdout.readline().split()])
        process.stdin.close()
    wall = [round((now - seen[0][0]) / 1e6, 3) for now, _ in seen]
    assert wall == [0.0, 1.0, -1.0, 0.0]
    assert all(0 < monotonic < 1000 for _, monotonic in seen)


def test_a_tiny_disk_is_full_until_it_is_freed() -> None:
    disk = TinyDisk()
    try:
        if disk.lack is not None:
            pytest.skip(disk.lack)
        disk.fill()
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (disk.folder / "one").write_bytes(b"x" * 8192)
        disk.free()
        (disk.folder / "one").write_bytes(b"x" * 8192)
    finally:
        disk.close()
    assert not disk.folder.exists()
