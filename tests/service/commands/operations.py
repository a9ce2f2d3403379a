"""Operations for tests of the desk: they do what they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event
from typing import Any

from edge_agent.service.commands.operation import Outcome
from edge_agent.service.commands.states import Interruption


class Told:
    """Counts its runs, waits for leave where it is to, and ends as it is told.

    Args:
        outcome: how each run ends; an exception is raised.
        gate: each run waits for it, or for the daemon's end.
        deadline_seconds: as the desk sees it.
        interruption: as the desk sees it.
        deaf: it does not hear of the daemon's end.
        on_run: called when a run begins.
    """

    def __init__(
        self,
        outcome: Outcome | Exception | None = None,
        *,
        gate: Event | None = None,
        deadline_seconds: float = 60.0,
        interruption: Interruption = Interruption.RUN_AGAIN,
        deaf: bool = False,
        on_run: Callable[[], None] = lambda: None,
    ) -> None:
        self.outcome = outcome or Outcome(result={"done": True})
        self.gate = gate
        self.deadline_seconds = deadline_seconds
        self.interruption = interruption
        self.deaf = deaf
        self.on_run = on_run
        self.runs: list[Mapping[str, Any]] = []
        self.running = Event()

    def run(self, arguments: Mapping[str, Any], stopping: Event) -> Outcome | None:
        self.runs.append(arguments)
        self.running.set()
        self.on_run()
        while self.gate is not None and not self.gate.wait(0.02):
            if stopping.is_set() and not self.deaf:
                return None
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome
