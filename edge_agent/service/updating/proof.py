"""The proof of a candidate model on this board, in a process of its own.

A model may crash the runtime, never come back, or ask for all memory there is. So a child loads it
(:mod:`~edge_agent.service.updating.proof_child`), and whatever ends the child is told in one line. What its
end means is :mod:`~edge_agent.service.updating.verdict`'s.

Memory. What the child has in memory (VmRSS of proc_pid_status(5): anonymous pages, touched pages of mapped
files, shared ones) and in swap is looked at every 20 ms, and the child is killed beyond the limit, or where
the board has less than 32 MB left. RLIMIT_AS and RLIMIT_DATA count what is never touched, and an allocation
that they refuse comes out as a failure of the runtime that does not say why; RLIMIT_RSS does nothing on Linux
(getrlimit(2)). Between two looks it may go over the limit, by 28 MB at most as measured on x86-64. Below that
lies the kernel, which kills the child first where memory is short (oom_score_adj).

The user's sentences go to the child by its stdin only. It gets none of the daemon's settings or secrets by
the environment, writes no file (RLIMIT_FSIZE) and no core dump (not even one that is piped to a program).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

from edge_agent.service.updating.verdict import MB, Proof, ProofLimits, read_proof, reason_of_end
from edge_agent.update.refusal import Reason, UpdateError

if TYPE_CHECKING:
    from edge_agent.service.updating.shadow import ShadowSentence

__all__ = ["Proof", "ProofLimits", "prove"]

_COMMAND: Final = (sys.executable, "-B", "-m", "edge_agent.service.updating.proof_child")
_LOOK_SECONDS: Final = 0.02
_LEAST_AVAILABLE_BYTES: Final = 32_000_000
_LONGEST_ANSWER_BYTES: Final = 1 << 16
_KEPT_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL")


def prove(
    folder: Path,
    limits: ProofLimits,
    *,
    shadow: Sequence[ShadowSentence] = (),
    threads: int = 1,
    stopping: Event | None = None,
    command: Sequence[str] = _COMMAND,
) -> Proof:
    """Has a candidate loaded, asked and measured by a child, and judges what comes out.

    The child goes with the thread that calls this (PR_SET_PDEATHSIG of prctl(2)), and is gone when this
    returns, however it does.

    Args:
        folder: of the bundle.
        limits: what it may take and must reach.
        shadow: live sentences, with what the old model answered.
        threads: of the runtime.
        stopping: ends the proof within the blink of an eye, from another thread.
        command: what is run.

    Raises:
        UpdateError: the candidate is refused, or this machine cannot tell now; see verdict.
    """
    bounds = _with_time_for(limits, len(shadow))
    orders = _orders(folder, bounds, shadow, threads)
    with _started(command) as child:
        printed = _hear(child, orders, bounds, stopping)
    if child.returncode != 0:
        raise reason_of_end(child.returncode, bounds)
    proof = read_proof(printed)
    if fault := proof.fault(limits):
        raise fault
    return proof


def _with_time_for(limits: ProofLimits, sentences: int) -> ProofLimits:
    """A model that keeps to the allowed latency has the time to answer the shadow's sentences."""
    more = sentences * limits.max_latency_ms / 1e3
    return replace(
        limits, wall_seconds=limits.wall_seconds + more, cpu_seconds=limits.cpu_seconds + int(more)
    )


def _orders(folder: Path, limits: ProofLimits, shadow: Sequence[ShadowSentence], threads: int) -> bytes:
    orders = {
        "folder": str(folder.absolute()),
        "threads": threads,
        "parent": os.getpid(),
        "cpu_seconds": limits.cpu_seconds,
        "shadow": [asdict(sentence) for sentence in shadow],
    }
    return json.dumps(orders).encode()


@contextmanager
def _started(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A child with a session of its own; afterwards it, and what it may have started, is gone."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
    except OSError as error:
        raise UpdateError(
            Reason.NO_MEMORY, f"the proof cannot be started: {error.strerror or type(error).__name__}"
        ) from error
    with child:
        try:
            yield child
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


def _hear(
    child: subprocess.Popen[bytes], orders: bytes, limits: ProofLimits, stopping: Event | None
) -> bytes:
    """What the child prints until it ends; looks after it meanwhile."""
    given: bytes | None = orders
    ends = time.monotonic() + limits.wall_seconds
    while True:
        try:
            return child.communicate(given, timeout=_LOOK_SECONDS)[0]
        except subprocess.TimeoutExpired as waiting:
            given = None
            printed = len(waiting.output or b"")
        if stopping is not None and stopping.is_set():
            raise UpdateError(Reason.INTERRUPTED, "the proof was stopped")
        if time.monotonic() > ends:
            raise UpdateError(
                Reason.DEADLINE,
                f"the model did not answer its golden sentences within {limits.wall_seconds:g} s",
                hint="the machine may be too busy; try again",
            )
        if printed > _LONGEST_ANSWER_BYTES:
            raise UpdateError(Reason.PROOF, "the proof printed what it should not")
        _check_memory(child.pid, limits)


def _check_memory(pid: int, limits: ProofLimits) -> None:
    if _memory_bytes(pid) > limits.memory_bytes:
        raise UpdateError(
            Reason.TOO_BIG_HERE,
            f"the process that proves the model took more than {limits.memory_bytes / MB:.0f} MB of memory",
            hint="a smaller model, or a higher updates.max_memory_mb",
        )
    if _available_bytes() < _LEAST_AVAILABLE_BYTES:
        raise UpdateError(
            Reason.NO_MEMORY,
            "this machine ran short of memory while the model was proved",
            hint="end what else runs here, or take a smaller model",
        )


def _memory_bytes(pid: int) -> int:
    """VmRSS and VmSwap of a process, proc_pid_status(5); 0 of one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_bytes().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith((b"VmRSS:", b"VmSwap:")))


def _available_bytes() -> int:
    """MemAvailable of proc_meminfo(5)."""
    with suppress(OSError, LookupError, ValueError):
        found = Path("/proc/meminfo").read_bytes().partition(b"MemAvailable:")[2]
        return int(found.split(maxsplit=1)[0]) * 1024
    return sys.maxsize
