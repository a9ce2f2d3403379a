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
from threading import Event
from typing import Final

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
    with _started(order, module) as process:
        try:
            refusal = _listen(process, order.limits.deadline_seconds, on_progress, stopping)
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


def _started(order: Order, module: str) -> subprocess.Popen[bytes]:
    # The order goes by memory: a pipe would block on a child that does not read, and a file would be written.
    memory = os.memfd_create("order", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(order.to_json().encode())
        os.lseek(memory, 0, os.SEEK_SET)
        return subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=memory,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        words = f"the process that updates could not be started: {error.strerror or type(error).__name__}"
        raise UpdateError(Reason.CRASHED, words) from error
    finally:
        os.close(memory)


def _listen(
    process: subprocess.Popen[bytes],
    deadline_seconds: float,
    on_progress: Callable[[Progress], None],
    stopping: Event,
) -> UpdateError | None:
    """Reads lines until the child closes; returns why it did not come about, or None."""
    assert process.stdout is not None
    deadline = time.monotonic() + deadline_seconds
    refusal: UpdateError | None = None
    pending = b""
    while not stopping.is_set():
        if time.monotonic() > deadline:
            return UpdateError(Reason.DEADLINE, f"it took more than {deadline_seconds:g} s")
        if not select.select([process.stdout], [], [], _LOOK_SECONDS)[0]:
            continue
        piece = os.read(process.stdout.fileno(), _READ_BYTES)
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
