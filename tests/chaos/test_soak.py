"""The judge of the soak, on figures made by hand, and a short soak with the real daemon."""

from __future__ import annotations

import random
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.chaos.soak import BLOCKS, Sample, Soak, faults_of, slope_of, written_files

MEBIBYTE = 1_048_576


def samples(*, grows: float = 0.0, leaks: int = 0, threads: int = 0, count: int = 200) -> list[Sample]:
    """Two hundred looks at a daemon that answers a thousand requests between two of them."""
    noise = random.Random(5)
    return [
        Sample(
            answered=1000 * n,
            rss_bytes=round(80 * MEBIBYTE + grows * 1000 * n + noise.gauss(0, 50_000)),
            descriptors=20 + leaks * n,
            threads=5 + threads * (n > count // 2),
            written_bytes=0,
        )
        for n in range(count)
    ]


def test_a_line_without_noise_has_its_own_slope() -> None:
    numbers = list(range(0, 4000, 10))
    slope = slope_of(numbers, [7 + 3 * number for number in numbers])
    assert round(slope.per_request, 6) == round(slope.low, 6) == round(slope.high, 6) == 3.0


def test_noise_alone_has_a_slope_whose_interval_holds_zero() -> None:
    noise = random.Random(1)
    inside = 0
    for _ in range(200):
        slope = slope_of(list(range(400)), [round(noise.gauss(1e6, 1e4)) for _ in range(400)])
        inside += slope.low <= 0 <= slope.high
    assert 180 <= inside <= 200, f"95 % intervals of {BLOCKS} blocks held the truth {inside} times of 200"


def test_a_quiet_daemon_has_no_faults() -> None:
    assert faults_of(samples(), [], {}) == []


def test_memory_descriptors_threads_and_files_that_grow_with_requests_are_faults() -> None:
    faults = faults_of(
        samples(grows=20.0, leaks=1, threads=1), ["/state/one"], {"/state/one": 500, "/state/two": 3}
    )
    assert [fault.split(" ")[0] for fault in faults] == [
        "/state/one",
        "memory",
        "open",
        "threads",
        "/state/one",
    ]
    assert not any("two" in fault for fault in faults)


def test_growth_under_the_noise_of_an_allocator_is_no_fault() -> None:
    assert faults_of(samples(grows=2.0), [], {}) == []


def test_a_trace_tells_written_files_from_sockets_and_from_files_that_are_read() -> None:
    trace = """
11 write(3<socket:[123]>, "PUBACK", 6) = 6
11 write(2</tmp/daemon/daemon.log>, "x", 1) = 1
12 openat(AT_FDCWD</tmp>, "/proc/stat", O_RDONLY|O_CLOEXEC) = 4</proc/stat>
12 openat(AT_FDCWD</tmp>, "/state/one.tmp", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 4</state/one.tmp>
12 write(4</state/one.tmp>, "x", 1) = 1
12 fsync(4</state/one.tmp>) = 0
12 rename("/state/one.tmp", "/state/one") = 0
12 write(5<pipe:[77]>, "x", 1) = 1
12 write(6<anon_inode:[eventfd]>, "x", 1) = 1
"""
    assert written_files(trace) == {"/tmp/daemon/daemon.log": 1, "/state/one.tmp": 4}


def test_the_daemon_writes_no_file_while_it_answers(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as memory, ExitStack() as parts:
        soak = Soak(tmp_path, Path(memory), parts)
        soak.ask(300)
        soak.settle()
        soak.wait_announced()
        marks, before = soak.marks(), soak.sample()
        soak.ask(1000)
        soak.settle()
        after = soak.sample()
        assert soak.marks() == marks
        assert soak.counter.wrong == 0
        assert after.answered - before.answered == 1000
        assert (after.threads, after.descriptors) == (before.threads, before.descriptors)
