"""How a training run is watched: a bar with the time left on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_agent.cli.console import console

if TYPE_CHECKING:
    from edge_agent.forge.training.loop import Progress

_SECONDS_BETWEEN_LINES = 30


@dataclass(slots=True)
class ShownProgress:
    """Shows stages and steps on stderr."""

    bars: Any
    bar: Any
    on_terminal: bool
    said_at: float

    def stage(self, text: str) -> None:
        """A new stage begins, or something is worth a line."""
        if self.on_terminal:
            self.bars.update(self.bar, visible=False)
        self.bars.print(text)

    def progress(self, step: Progress) -> None:
        """A training step is done."""
        if self.on_terminal:
            self.bars.update(
                self.bar,
                completed=step.step,
                total=step.steps,
                visible=step.step < step.steps,
                description=f"{step.name}, loss {step.loss:.3f}",
            )
        elif time.monotonic() - self.said_at > _SECONDS_BETWEEN_LINES or step.step == step.steps:
            self.said_at = time.monotonic()
            left = step.seconds_left / 60
            self.bars.print(
                f"{step.name}: step {step.step} of {step.steps}, loss {step.loss:.3f}, {left:.0f} min left"
            )


@contextmanager
def shown_progress() -> Iterator[ShownProgress]:
    """A display that ends with the block; Ctrl-C says how to go on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    target = console(stderr=True)
    with Progress(*columns, console=target) as bars:
        bar = bars.add_task("training", total=None, visible=False)
        shown = ShownProgress(bars, bar, target.is_terminal, time.monotonic())
        try:
            yield shown
        except KeyboardInterrupt:
            bars.update(bar, visible=False)
            bars.print("stopped; the same command goes on from here")
            raise
