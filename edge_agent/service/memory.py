"""What the daemon asks of Python and of the C library so that a reload is hardly felt."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_SHORT_TURN_SECONDS: Final = 0.0005


def freeze_garbage() -> None:
    """Spares the garbage collector all that lives as long as the daemon: 100,000 objects, 20 ms a round.

    Only what is new is looked through: what was frozen is freed when nobody refers to it, as ever.
    """
    gc.collect()
    gc.freeze()


def return_memory() -> None:
    """Gives free memory back to the system (``malloc_trim(3)``; 2 ms).

    What a model leaves behind lies in pieces between what lives; glibc keeps it, 30 MB after a few swaps of
    ``home``. Other C libraries have no such function and need none.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def short_turns() -> Iterator[None]:
    """Lets other threads have their turn ten times as often: the worker answers while a model loads."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SHORT_TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
