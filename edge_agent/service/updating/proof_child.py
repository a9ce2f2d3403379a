"""The process that loads a candidate: ``python -m edge_agent.service.updating.proof_child``.

Orders come as one JSON document on stdin, and one JSON document on stdout says what came out; see
:mod:`~edge_agent.service.updating.proof`, which starts it, looks after it, and judges.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_agent.errors import EdgeAgentError, RequestError, RuntimeFailure
from edge_agent.update.refusal import Reason

if TYPE_CHECKING:
    from edge_agent.inference.model import Model

_PR_SET_PDEATHSIG: Final = 1
_NICENESS: Final = 10
_KILLED_FIRST: Final = "1000"
_NO_CORE_BYTES: Final = 1
"""Too little for a file, and what tells the kernel not to pipe a core to a program either, where 0 does not
(fs/coredump.c). A process that is not dumpable (prctl(2)) leaves none, but could not be watched: where
/proc is mounted with hidepid, as by systemd's ProtectProc=, it is hidden from its own user."""
_ROUNDS: Final = 4
_MOST_TIMED: Final = 64
_TIMED_SECONDS: Final = 10.0


def main() -> None:
    """Carries out the orders on stdin and prints what came out."""
    orders = json.load(sys.stdin)
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the runtime's own chatter goes nowhere
    _go_with(orders["parent"])
    _bound(orders["cpu_seconds"])
    try:
        found = _prove(Path(orders["folder"]), orders["threads"], orders["shadow"])
    except MemoryError:
        found = {
            "reason": Reason.TOO_BIG_HERE.value,
            "refused": "the model asked for more memory than it may",
        }
    except EdgeAgentError as error:
        found = {"reason": Reason.PROOF.value, "refused": str(error)}
    json.dump(found, told)
    told.flush()
    os._exit(0)  # what a bad model does when it is taken down is of no interest


def _go_with(parent: int) -> None:
    """Ends when the parent's thread ends, prctl(2), and is the first that the kernel kills for memory."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_KILLED_FIRST)
    if os.getppid() != parent:
        os._exit(1)


def _bound(cpu_seconds: int) -> None:
    """Sets limits, none above those that are set already, and yields to all else."""
    with suppress(OSError):  # a sandbox may not let it
        os.setpriority(os.PRIO_PROCESS, 0, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    # SIGXCPU at the soft limit tells processor time from other ends; SIGKILL would come at the hard one.
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 2),
        (resource.RLIMIT_CORE, _NO_CORE_BYTES, _NO_CORE_BYTES),
        (resource.RLIMIT_FSIZE, 0, 0),
    ):
        inherited = resource.getrlimit(kind)[1]
        most = sys.maxsize if inherited == resource.RLIM_INFINITY else inherited
        resource.setrlimit(kind, (min(soft, most), min(hard, most)))
    # Memory is watched from outside, which says what it was; a refused allocation would not.
    inherited = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (inherited, inherited))


def _prove(folder: Path, threads: int, shadow: Sequence[dict[str, Any]]) -> dict[str, Any]:
    from edge_agent.inference.model import Model
    from edge_agent.inference.runtime import runtime_info

    runtime_info()  # its library is in memory before the model is weighed
    before = _status_kib()
    with Model.load(folder, threads=threads) as model:
        latency_ms = _latency_ms(model)
        after = _status_kib()
        agreed = sum(_agrees(model, sentence) for sentence in shadow)
        return {
            "runtime": str(model.runtime),
            "latency_ms": latency_ms,
            "model_bytes": _growth_kib(before, after) * 1024,
            "asked": len(shadow),
            "agreed": agreed,
        }


def _latency_ms(model: Model) -> float:
    """Median over golden sentences; see ``Proof.latency_ms``."""
    from edge_agent.inference.golden import parse_golden

    golden = model.manifest.golden
    sentences = parse_golden(golden.file, model.bundle.file(golden.file).read_bytes())
    texts = [sentence.text for sentence in sentences[:: -(-len(sentences) // _MOST_TIMED)]]
    best: dict[str, float] = {}
    ends = time.monotonic() + _TIMED_SECONDS
    for text in texts * _ROUNDS:
        wall, processor = time.perf_counter(), _processor_seconds()
        model.predict(text)
        taken = min(time.perf_counter() - wall, _processor_seconds() - processor) * 1e3
        best[text] = min(taken, best.get(text, taken))
        if time.monotonic() > ends:
            break
    return statistics.median(best.values())


def _processor_seconds() -> float:
    """Of all threads; under RLIMIT_CPU the clock of the process moves with the kernel's ticks only."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _agrees(model: Model, sentence: dict[str, Any]) -> bool:
    """Whether a live sentence is answered as before: recognized, label, names and values of slots."""
    try:
        found = model.predict(sentence["text"])
    except (RequestError, RuntimeFailure):
        return False
    slots = [[slot.name, slot.value] for slot in found.slots]
    old = (sentence["recognized"], sentence["label"], [list(slot) for slot in sentence["slots"]])
    return (found.recognized, found.label, slots) == old


def _status_kib() -> dict[str, int]:
    """VmRSS and VmHWM of this process, proc_pid_status(5), kB of 1024 bytes."""
    lines = (line.partition(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(value.split()[0]) for name, _, value in lines if name in ("VmRSS", "VmHWM")}


def _growth_kib(before: dict[str, int], after: dict[str, int]) -> int:
    """Highest mark since ``before``; where the mark did not move, the highest is what is there."""
    highest = after["VmHWM"] if after["VmHWM"] > before["VmHWM"] else after["VmRSS"]
    return max(0, highest - before["VmRSS"])


if __name__ == "__main__":
    main()
