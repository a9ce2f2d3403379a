"""A thread that looks at one power sensor while something else runs, away from the model's core."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType

from edge_agent.bench.cores import pinned
from edge_agent.bench.energy import Look
from edge_agent.telemetry.reading import PowerSource, SensorError

SHORTEST_SECONDS = 0.05
"""RAPL has a new value every millisecond or so; as it counts, nothing is lost between two looks."""
_HANGS = "it does not answer"


class PowerSampler:
    """Looks from entry to exit of its ``with``, at the sensor's own update time.

    Args:
        source: the sensor; nobody else reads it meanwhile.
        core: where the thread runs, None for any.
        patience_seconds: for the last look to come back.
        clock: monotonic seconds.

    Attributes:
        failure: what a look failed with last, None while all were well.
        core_share: processor time of the thread over wall time, once it has ended.
    """

    def __init__(
        self,
        source: PowerSource,
        core: int | None,
        *,
        patience_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._core = core
        self._patience = patience_seconds
        self._clock = clock
        self._interval_seconds = max(source.update_seconds, SHORTEST_SECONDS)
        self._looks: list[Look] = []
        self._stop = Event()
        self._thread = Thread(target=self._run, name="power", daemon=True)
        self.failure: str | None = None
        self.core_share: float | None = None

    def __enter__(self) -> PowerSampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self._patience)
        if self._thread.is_alive():  # a daemon thread: it ends with the program
            self.failure = f"{self._source.name}: {_HANGS}"

    @property
    def looks(self) -> tuple[Look, ...]:
        """What was seen so far."""
        return tuple(self._looks)

    def _run(self) -> None:
        with pinned(self._core):
            began, used = self._clock(), time.thread_time()
            due = began
            while not self._stop.wait(max(0.0, due - self._clock())):
                self._look()
                due = max(due + self._interval_seconds, self._clock())
            self.core_share = (time.thread_time() - used) / max(self._clock() - began, 1e-9)

    def _look(self) -> None:
        asked = self._clock()
        try:
            reading = self._source.read()
        except SensorError as error:
            self.failure = str(error)
        else:
            self._looks.append(Look(asked, self._clock(), reading))
