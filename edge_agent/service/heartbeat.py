"""The daemon's heartbeat: a known sentence through every model now and then, and systemd's watchdog.

It is fed by work that was done, an answer or a canary that came back, and never by the clock alone: a worker
that hangs ends in a restart. Nor by the broker: one that is away changes health, not the watchdog.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from edge_agent.service.figures import Figures
from edge_agent.service.notify import Notifier
from edge_agent.service.worker import Worker

_PUNCTUAL_SECONDS = 1.0
FED = "WATCHDOG=1"


class Heartbeat:
    """Of the main thread.

    Args:
        worker: sings the canaries.
        figures: tell of answers.
        notifier: systemd.
        interval_seconds: between two canaries; the watchdog may ask for more.
        on_hang: called at each beat at which the worker hangs.
        is_stuck: whether it does.

    Attributes:
        seconds: between two beats.
    """

    def __init__(
        self,
        worker: Worker,
        figures: Figures,
        notifier: Notifier,
        interval_seconds: float,
        *,
        is_stuck: Callable[[], bool],
        on_hang: Callable[[], None],
    ) -> None:
        watchdog = notifier.watchdog_seconds
        self.seconds = interval_seconds if watchdog is None else min(interval_seconds, watchdog / 3)
        self._worker = worker
        self._figures = figures
        self._notifier = notifier
        self._is_stuck = is_stuck
        self._on_hang = on_hang
        self._number = 0
        self._canary: Event | None = None
        self._answered = 0

    def begin(self) -> None:
        """The first canary; the first beat is due :attr:`seconds` later."""
        self._canary = self.sing()
        self._answered = self._figures.answered

    def sing(self) -> Event:
        """Sends the next canary through the worker; set when it came back."""
        self._number += 1
        return self._worker.canary(self._number - 1)

    def beat(self, late_seconds: float) -> None:
        """Feeds the watchdog if there was work, and sends the next canary if the last one came back.

        Args:
            late_seconds: since it was due. If that is long, the whole process stood still (stopped, or its
                machine asleep), so nothing is held against the worker.
        """
        assert self._canary is not None
        answered = self._figures.answered
        if self._canary.is_set() or answered != self._answered:
            self._notifier.send(FED)
        elif self._is_stuck() and late_seconds < _PUNCTUAL_SECONDS:
            self._on_hang()
        self._answered = answered
        if self._canary.is_set():
            self._canary = self.sing()
