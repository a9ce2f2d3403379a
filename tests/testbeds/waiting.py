"""Waiting with a deadline, on something that can be asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")


def eventually(ask: Callable[[], T], within_seconds: float = 10.0, what: str = "it") -> T:
    """Asks until the answer is true, and returns it; fails when the time is over."""
    deadline = time.monotonic() + within_seconds
    pause = Event()
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not happen within {within_seconds} s"
        pause.wait(0.01)
