"""A million requests at full rate: does the daemon grow, and does it write a file for a message?

``python -m tests.chaos.soak --requests N`` samples resident memory, open files, threads and bytes written to
storage, and lists the files under the daemon's own folders that changed. Exit status 1 where memory grows
beyond noise, descriptors or threads leak, or something is written for each message. Memory is judged by a
line through block means (least squares): neighbouring samples are not independent. The runtime folder lies in
memory and holds what is in hand at any moment; it is looked at by strace and not by its times of change.
"""

from __future__ import annotations

import argparse
import math
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Condition

import numpy as np
import psutil

from edge_agent.service.presence import FILE_NAME
from tests.chaos.asker import Asker, Question, questions
from tests.chaos.driver import memory_folder, plain_texts
from tests.chaos.ledger import Answered, Event, Sent
from tests.chaos.report import machine, put_section
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.waiting import eventually
from tests.tiny_bundle import build_tiny_bundle

BLOCKS = 20
_T_95_PERCENT = 2.101  # two-sided quantile of Student's t with BLOCKS - 2 = 18 degrees of freedom
_WARM_UP = 0.2  # of the requests: caches fill, the allocator finds its size
_NOISE_BYTES = 1_048_576
_SAMPLES = 400
_MOST_OUTSTANDING = 200
_TRACED_REQUESTS = 500
_LEAST_WRITES_PER_MESSAGE = 0.1
_WAIT_SECONDS = 120.0
_CALLS = "write,pwrite64,writev,pwritev,openat,rename,ftruncate,fsync,fdatasync"


@dataclass(frozen=True, slots=True)
class Sample:
    """The daemon at one moment."""

    answered: int
    rss_bytes: int
    descriptors: int
    threads: int
    written_bytes: int


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth in bytes for each request, with the bounds of its 95 % interval."""

    per_request: float
    low: float
    high: float


def slope_of(requests: list[int], sizes: list[int]) -> Slope:
    """The slope of ``sizes`` over ``requests`` by least squares through the means of ``BLOCKS`` blocks.

    Montgomery, Peck, Vining, "Introduction to Linear Regression Analysis", section 2.3: the standard error of
    a slope is the root of (residual variance / sum of squares of x).
    """
    x = np.array([block.mean() for block in np.array_split(np.asarray(requests, float), BLOCKS)])
    y = np.array([block.mean() for block in np.array_split(np.asarray(sizes, float), BLOCKS)])
    centred = x - x.mean()
    spread = float((centred**2).sum())
    slope = float((centred * y).sum() / spread)
    residuals = y - y.mean() - slope * centred
    error = math.sqrt(float((residuals**2).sum()) / (BLOCKS - 2) / spread)
    return Slope(slope, slope - _T_95_PERCENT * error, slope + _T_95_PERCENT * error)


def faults_of(samples: list[Sample], changed: list[str], writes: dict[str, int]) -> list[str]:
    """What is wrong, one line each.

    Args:
        samples: from the end of the warm-up on.
        changed: files under the daemon's folders that changed meanwhile.
        writes: file → times that it was opened or written during ``_TRACED_REQUESTS`` requests.
    """
    first, last = samples[0], samples[-1]
    requests = last.answered - first.answered
    slope = slope_of([one.answered for one in samples], [one.rss_bytes for one in samples])
    faults = [f"{path} changed: state is written while requests are answered" for path in changed]
    if slope.low > 0 and slope.low * requests > _NOISE_BYTES:
        faults.append(f"memory grows by {slope.per_request:.2f} bytes a request, at least {slope.low:.2f}")
    if last.descriptors > max(one.descriptors for one in samples[: len(samples) // 4]) + 2:
        faults.append(f"open files went from {first.descriptors} to {last.descriptors}")
    if last.threads > first.threads:
        faults.append(f"threads went from {first.threads} to {last.threads}")
    for path, count in writes.items():
        if count >= _LEAST_WRITES_PER_MESSAGE * _TRACED_REQUESTS:
            faults.append(f"{path} is written {count} times for {_TRACED_REQUESTS} requests")
    return faults


class _Counter:
    """How many requests are on their way."""

    def __init__(self) -> None:
        self.news = Condition()
        self.sent = 0
        self.answered = 0
        self.wrong = 0

    def note(self, event: Event) -> None:
        with self.news:
            self.sent += isinstance(event, Sent)
            if isinstance(event, Answered):
                self.answered += 1
                self.wrong += not event.is_right
                self.news.notify_all()


class Soak:
    """A broker, a daemon and a requester; :meth:`ask` sends and waits."""

    def __init__(self, folder: Path, memory: Path, parts: ExitStack) -> None:
        self.counter = _Counter()
        self._asked = questions({"tiny": build_tiny_bundle(folder / "models" / "tiny")}, plain_texts())
        broker = Mosquitto(folder / "broker")
        parts.enter_context(broker)
        self.folders = [folder / "state", folder / "models", folder / "daemon"]
        self.daemon = Daemon(
            folder / "daemon",
            broker.port,
            (folder / "models",),
            settings={
                "device": {
                    "state_directory": str(folder / "state"),
                    "runtime_directory": str(memory),
                },
                "log": {"level": "info"},
                "health": {"interval_seconds": 30},
            },
        )
        parts.enter_context(self.daemon)
        asker = Asker(broker.port, "soak", self.daemon.root, self.counter.note, self._question, is_v5=True)
        parts.callback(asker.close)
        self._asker = asker
        self._process = psutil.Process(self.daemon.pid)

    def ask(self, count: int) -> None:
        """Sends so many, as quickly as answers come, and waits until few enough are on their way."""
        counter = self.counter
        for _ in range(count):
            with counter.news:
                ready = counter.news.wait_for(
                    lambda: counter.sent - counter.answered < _MOST_OUTSTANDING, _WAIT_SECONDS
                )
            assert ready, "no answers come any more"
            self._asker.send(counter.sent)

    def settle(self) -> None:
        """Waits for the answers that are still to come."""
        counter = self.counter
        with counter.news:
            assert counter.news.wait_for(lambda: counter.answered >= counter.sent, _WAIT_SECONDS)

    def sample(self) -> Sample:
        return Sample(
            answered=self.counter.answered,
            rss_bytes=self._process.memory_info().rss,
            descriptors=self._lasting_descriptors(),
            threads=self._process.num_threads(),
            written_bytes=self._process.io_counters().write_bytes,
        )

    def _lasting_descriptors(self) -> int:
        """Open files, but for those that health or a record has open just for a moment."""
        looks: list[int] = []
        for _ in range(5):
            looks.append(self._process.num_fds())
            time.sleep(0.01)
        return min(looks)

    def wait_announced(self) -> None:
        """Waits until the device has noted what it told Home Assistant, a second or so after its start."""
        eventually(
            lambda: any(path.name == FILE_NAME for folder in self.folders for path in folder.rglob("*")),
            60.0,
            "the record of the announcement",
        )

    def marks(self) -> dict[str, tuple[int, int]]:
        """Size and time of change of every file in the daemon's folders, but for its log."""
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime_ns)
            for folder in self.folders
            for path in folder.rglob("*")
            if path.is_file() and path.name != "daemon.log"
        }

    def traced_writes(self) -> dict[str, int]:
        """Files that are opened for writing or written during some requests; empty where strace is absent."""
        program = shutil.which("strace")
        if program is None:
            return {}
        log = self.folders[-1] / "strace.log"
        command = [
            program,
            "-f",
            "-qq",
            "-y",
            "-e",
            f"trace={_CALLS}",
            "-o",
            str(log),
            "-p",
            str(self.daemon.pid),
        ]
        tracer = subprocess.Popen(command)
        time.sleep(1.0)  # strace says nothing when it has attached to all threads
        self.ask(_TRACED_REQUESTS)
        self.settle()
        tracer.send_signal(signal.SIGINT)
        tracer.wait(30)
        return written_files(log.read_text(encoding="utf-8", errors="replace"))

    def _question(self, number: int) -> Question:
        return self._asked[number % len(self._asked)]


def written_files(trace: str) -> dict[str, int]:
    """Regular files in the output of ``strace -f -y``, with how often each was written or opened to write."""
    counts: dict[str, int] = {}
    for line in trace.splitlines():
        call, _, rest = line.partition(" ")[2].strip().partition("(")
        if call == "openat":
            is_writing = "O_WRONLY" in rest or "O_RDWR" in rest
            path = rest.partition('"')[2].partition('"')[0] if is_writing else ""
        elif call == "rename":
            path = rest.partition('"')[2].partition('"')[0]
        else:
            path = rest.partition("<")[2].partition(">")[0]
        if path.startswith("/") and not path.startswith(("/dev/", "/proc/")):
            counts[path] = counts.get(path, 0) + 1
    return counts


def main() -> int:
    """Runs, prints and judges."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--report", type=Path, help="Markdown file that takes the figures, between its marks")
    arguments = parser.parse_args()
    requests = arguments.requests
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as name,
        tempfile.TemporaryDirectory(prefix="soak-", dir=memory_folder()) as memory,
        ExitStack() as parts,
    ):
        soak = Soak(Path(name), Path(memory), parts)
        begun = time.monotonic()
        soak.ask(int(_WARM_UP * requests))
        soak.wait_announced()
        marks, samples = soak.marks(), [soak.sample()]
        rest = requests - soak.counter.sent
        for _ in range(_SAMPLES):
            soak.ask(max(1, rest // _SAMPLES))
            samples.append(soak.sample())
        soak.settle()
        seconds = time.monotonic() - begun
        after = soak.marks()
        changed = sorted(path for path in marks.keys() | after.keys() if marks.get(path) != after.get(path))
        writes = soak.traced_writes()
        faults = faults_of(samples, changed, writes)
        if soak.counter.wrong:
            faults.append(f"{soak.counter.wrong} wrong answers")
    figures = report(samples, changed, writes, requests / seconds)
    sys.stdout.write(figures)
    if arguments.report is not None:
        before = arguments.report.read_text(encoding="utf-8") if arguments.report.exists() else ""
        date = time.strftime("%Y-%m-%d", time.gmtime())
        text = f"`python -m tests.chaos.soak --requests {requests}`, {date}, on {machine()}:\n\n{figures}"
        arguments.report.write_text(put_section(before, text, "soak"), encoding="utf-8")
    sys.stdout.write("\n".join(["", *(f"FAULT: {fault}" for fault in faults), ""]))
    return 1 if faults else 0


def report(samples: list[Sample], changed: list[str], writes: dict[str, int], rate: float) -> str:
    """The figures in Markdown."""
    first, last = samples[0], samples[-1]
    slope = slope_of([one.answered for one in samples], [one.rss_bytes for one in samples])
    megabyte = 1_048_576
    rows = (
        ("requests after the warm-up", last.answered - first.answered),
        ("requests a second", round(rate)),
        (
            "resident memory, first → last",
            f"{first.rss_bytes / megabyte:.1f} → {last.rss_bytes / megabyte:.1f} MiB",
        ),
        (
            "growth in bytes a request, 95 % interval",
            f"{slope.per_request:+.3f} ({slope.low:+.3f} … {slope.high:+.3f})",
        ),
        ("open files, first → last", f"{first.descriptors} → {last.descriptors}"),
        ("threads, first → last", f"{first.threads} → {last.threads}"),
        ("bytes written to storage by the process", last.written_bytes - first.written_bytes),
        ("files changed in its folders, but for its log", ", ".join(changed) or "none"),
        (
            f"files written during {_TRACED_REQUESTS} requests (strace)",
            ", ".join(f"{Path(path).name} {count} ×" for path, count in writes.items()) or "none",
        ),
    )
    return "| | |\n|---|---|\n" + "".join(f"| {what} | {value} |\n" for what, value in rows)


if __name__ == "__main__":
    sys.exit(main())
