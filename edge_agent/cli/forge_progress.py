"""How a training run is watched: a bar with the time left on a terminal, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_agent.cli.console import console, quiet_runtime

if TYPE_CHECKING:
    from edge_agent.forge.training.loop import Progress

_SECONDS_BETWEEN_LINES = 30
_MINUTES_FROM, _HOURS_FROM = 100, 6_000  # seconds


@dataclass(slots=True)
class ShownProgress:
    """Shows stages and steps on stderr."""

    bars: Any
    bar: Any
    on_terminal: bool
    said_at: float

    def stage(self, text: str) -> None:
        """A new stage begins, or something is worth a line."""
        self.bars.update(self.bar, visible=False)
        self.bars.print(text, markup=False)

    def progress(self, step: Progress) -> None:
        """A training step is done."""
        left = time_left(step.seconds_left)
        if self.on_terminal:
            self.bars.update(
                self.bar,
                completed=step.step,
                total=step.steps,
                visible=step.step < step.steps,
                description=f"{step.name}, loss {step.loss:.3f}",
                left=left,
            )
        elif time.monotonic() - self.said_at > _SECONDS_BETWEEN_LINES or step.step == step.steps:
            self.said_at = time.monotonic()
            self.bars.print(
                f"{step.name}: step {step.step} of {step.steps}, loss {step.loss:.3f}, {left}", markup=False
            )


def time_left(seconds: float) -> str:
    """A rough time in words: ``40 s left``, ``12 min left``, ``2.5 h left``."""
    if seconds >= _HOURS_FROM:
        return f"{seconds / 3600:.1f} h left"
    return f"{seconds / 60:.0f} min left" if seconds >= _MINUTES_FROM else f"{seconds:.0f} s left"


@contextmanager
def shown_progress() -> Iterator[ShownProgress]:
    """A display that ends with the block; Ctrl-C says how to go on.

    Meanwhile the runtime's own chatter goes nowhere; what Python writes to stderr is still seen.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    # The time left is the training's own: rich would take the steps before a resumption for speed.
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with _own_stderr(), quiet_runtime():
        target = console(stderr=True)
        on_terminal = target.is_terminal
        with Progress(*columns, console=target, transient=True, disable=not on_terminal) as bars:
            bar = bars.add_task("training", total=None, visible=False, left="")
            shown = ShownProgress(bars, bar, on_terminal, time.monotonic())
            try:
                yield shown
            except KeyboardInterrupt:
                shown.stage("stopped; the same command goes on from here")
                raise


@contextmanager
def _own_stderr() -> Iterator[None]:
    """Python's stderr on a descriptor of its own, where it has one, so that silencing number 2 spares it."""
    try:
        number = os.dup(sys.stderr.fileno())
    except OSError:  # a program holds it in memory
        yield
        return
    with os.fdopen(number, "w", encoding="utf-8", errors="replace", buffering=1) as own, redirect_stderr(own):
        yield
