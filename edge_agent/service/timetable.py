"""What the main thread does now and then, each at its own pace. Pure but for what it calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Task = Callable[[float], None]
"""Is told by how many seconds it comes late."""


@dataclass(slots=True)
class _Entry:
    seconds: float
    task: Task
    due: float


class Timetable:
    """Tasks that come again; times by one monotonic clock."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def every(self, seconds: float, task: Task, *, now: float) -> None:
        """Does a task every so many seconds, for the first time after as many."""
        self._entries.append(_Entry(seconds, task, now + seconds))

    @property
    def due(self) -> float:
        """When the next one is to be done."""
        return min((entry.due for entry in self._entries), default=float("inf"))

    def run(self, now: float) -> None:
        """Does what is due, each task once however late it is."""
        for entry in self._entries:
            if now >= entry.due:
                late, entry.due = now - entry.due, now + entry.seconds
                entry.task(late)

    def put_off(self, task: Task, now: float) -> None:
        """Does a task a whole period from now, since it has just been done for another reason."""
        for entry in self._entries:
            if entry.task == task:
                entry.due = now + entry.seconds
