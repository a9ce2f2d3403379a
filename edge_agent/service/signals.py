"""Signals as events: the handler only puts one into a queue.

``SimpleQueue.put`` may be called from a signal handler (it is reentrant by contract); an ``Event`` may not:
its lock could be held by the very code that the handler interrupted.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)
RELOADING = signal.SIGHUP


@contextmanager
def captured_signals(on_signal: Callable[[int], None]) -> Iterator[None]:
    """Hands SIGTERM, SIGINT and SIGHUP to a function while the block runs.

    A second SIGTERM or SIGINT ends the process at once, as if nobody had captured it.
    """
    stopping: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if number in STOPPING:
            if stopping:
                die_of(number)
            stopping.append(number)
        on_signal(number)

    before = {number: signal.signal(number, handle) for number in (*STOPPING, RELOADING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def die_of(number: int) -> None:
    """Ends the process by a signal, so that its exit status tells the truth; does not return."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
