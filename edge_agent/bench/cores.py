"""Keeping the model on one core and everything else on another (``sched_setaffinity(2)``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core does what; None where there are not two.

    Attributes:
        model: the interpreter, bare or in the daemon.
        others: broker and requester.
        note: what is wrong with this choice, or None.
    """

    model: int | None
    others: int | None
    note: str | None = None


def choose_cores(available: Set[int], siblings: Callable[[int], Set[int]]) -> Cores:
    """The last core for the model, the first that is no hardware thread of it for the rest.

    Interrupts are served by the first core of most boards, and big cores have the highest numbers.

    Args:
        available: numbers of the cores that this process may use.
        siblings: the hardware threads that share a core with this one, itself included.
    """
    if len(available) < 2:
        note = "only one core: daemon, broker and requester share it and look slower"
        return Cores(None, None, note)
    model = max(available)
    apart = sorted(available - siblings(model) - {model})
    if apart:
        return Cores(model, apart[0])
    note = "the two cores are hardware threads of one: broker and requester slow the daemon down"
    return Cores(model, min(available), note)


def thread_siblings(core: int, root: Path = _TOPOLOGY) -> Set[int]:
    """The hardware threads that share a core with ``core``; only itself where the kernel does not say."""
    try:
        listed = (root / f"cpu{core}/topology/thread_siblings_list").read_text()
        return _parse_list(listed)
    except (OSError, ValueError):
        return {core}


def _parse_list(listed: str) -> set[int]:
    """``"0,2-3"`` → {0, 2, 3}."""
    found: set[int] = set()
    for part in listed.strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def available_cores() -> set[int]:
    """Numbers of the cores that this thread may use."""
    return os.sched_getaffinity(0)


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """This thread, and processes that it starts meanwhile, on one core; None changes nothing."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
