"""Commands that stay up end in order by a signal, too, and leave the terminal as it was."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import typer


class _Stopped(Exception):
    """SIGTERM or SIGHUP arrived."""


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP (a closed terminal) leave through every ``finally``.

    Raises:
        typer.Exit: one of them arrived; with 128 and its number, as a shell tells it.
    """

    def stop(number: int, _frame: object) -> None:
        raise _Stopped(number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    except _Stopped as error:
        raise typer.Exit(128 + error.args[0]) from error
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
