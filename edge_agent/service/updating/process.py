"""Starts the process that updates, listens to it, and ends it in time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import IO, Final

from edge_agent.service.updating.order import Order, Progress, parse
from edge_agent.update.refusal import Reason, UpdateError

_MODULE: Final = "edge_agent.service.updating.child"
_LONGEST_LINE: Final = 1 << 20
_READ_BYTES: Final = 1 << 16
_LOOK_SECONDS: Final = 0.25


def run_order(
    order: Order, on_progress: Callable[[Progress], None], stopping: Event, *, module: str = _MODULE
) -> bool:
    """Has an order carried out; call it from a thread that lives as long, since the child goes with it.

    Args:
        order: what is to be done.
        on_progress: hears every line.
        stopping: ends the child at once.
        module: what is run.

    Returns:
        False where it was stopped.

    Raises:
        UpdateError: it was refused, took too long, or the child failed.
    """
    order = replace(order, parent=os.getpid())
    process = _started(module)
    try:
        refusal = _listen(process, order, on_progress, stopping)
    finally:
        _end(process)
    if refusal is not None:
        raise refusal
    if stopping.is_set() and process.returncode == -signal.SIGKILL:
        return False
    if process.returncode != 0:
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"code {process.returncode}"
        raise UpdateError(Reason.CRASHED, f"the process that updates ended with {how}")
    return True


def _started(module: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        words = f"the process that updates could not be started: {error.strerror or type(error).__name__}"
        raise UpdateError(Reason.CRASHED, words) from error


class _Mouth:
    """Says the order by the child's pipe, as fast as it reads and no faster: one that does not read blocks
    nobody."""

    def __init__(self, pipe: IO[bytes], words: bytes) -> None:
        self._pipe = pipe
        self._words = memoryview(words)
        os.set_blocking(pipe.fileno(), False)

    @property
    def waits(self) -> list[int]:
        """What is to become writable."""
        return [] if self._pipe.closed else [self._pipe.fileno()]

    def speak(self) -> None:
        """Says some more; closes after the last word, or where nobody listens."""
        with suppress(BlockingIOError):
            try:
                self._words = self._words[os.write(self._pipe.fileno(), self._words) :]
            except BrokenPipeError:
                self._words = self._words[:0]
            if not self._words:
                self._pipe.close()


def _listen(
    process: subprocess.Popen[bytes], order: Order, on_progress: Callable[[Progress], None], stopping: Event
) -> UpdateError | None:
    """Says the order and reads lines until the child closes; returns why it did not come about, or None."""
    assert process.stdin is not None
    assert process.stdout is not None
    ear, mouth = process.stdout.fileno(), _Mouth(process.stdin, order.to_json().encode())
    seconds = order.limits.deadline_seconds
    deadline = time.monotonic() + seconds
    refusal: UpdateError | None = None
    pending = b""
    while not stopping.is_set():
        if time.monotonic() > deadline:
            return UpdateError(Reason.DEADLINE, f"it took more than {seconds:g} s")
        readable, writable, _ = select.select([ear], mouth.waits, [], _LOOK_SECONDS)
        if writable:
            mouth.speak()
        if not readable:
            continue
        piece = os.read(ear, _READ_BYTES)
        if not piece:
            return refusal
        *lines, pending = (pending + piece).split(b"\n")
        if len(pending) > _LONGEST_LINE:
            return UpdateError(Reason.CRASHED, "the process that updates speaks without end")
        for line in lines:
            try:
                progress = parse(line.decode("utf-8", "replace"))
            except ValueError:
                return UpdateError(Reason.CRASHED, "the process that updates does not make sense")
            if progress.refused is not None:
                refusal = _refusal(progress)
            on_progress(progress)
    return None


def _refusal(progress: Progress) -> UpdateError:
    assert progress.refused is not None
    return UpdateError(progress.refused, progress.message.removeprefix(f"{progress.refused.value}: "))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends what is left of it, and of what it started; one that has ended by itself keeps its exit code."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(_LOOK_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
