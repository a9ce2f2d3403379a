"""What the daemon counts of its own work, and the few numbers that health makes of it.

Written by the worker and the network thread, read by the main thread; bounded, whatever the load.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from edge_agent.telemetry.metrics.facts import StageTimes

WINDOW = 1024


@dataclass(frozen=True, slots=True)
class LastError:
    """The latest thing that went wrong: an event's name and seconds since the epoch."""

    event: str
    time: float


class Stages(NamedTuple):
    """Milliseconds that one answered request spent."""

    queue_ms: float
    tokenize_ms: float
    invoke_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and 99th percentile of one stage, in milliseconds."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures at one moment.

    Attributes:
        answered: results so far.
        per_minute: results since the snapshot before.
        stages: of the latest :data:`WINDOW` results: queue, tokenize, invoke, total; empty without one.
        errors: answers with an error, by code.
        dropped: messages neither executed nor answered, by reason.
        last_ok_age_seconds: since each model last answered rightly.
        last_error: the latest of our own.
    """

    answered: int
    per_minute: float
    stages: dict[str, Spread]
    errors: dict[str, int]
    dropped: dict[str, int]
    last_ok_age_seconds: dict[str, float]
    last_error: LastError | None


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted since the start; ``last_ok`` by model, in seconds since the epoch."""

    answered: int
    errors: dict[str, int]
    dropped: dict[str, int]
    last_ok: dict[str, float]


@dataclass(frozen=True, slots=True)
class ModelCount:
    """What the models of one name did.

    Attributes:
        answered: requests with a result.
        failed: requests that failed by its own fault.
        work_ms: tokenizing and computing of the latest :data:`WINDOW` answers, milliseconds.
    """

    answered: int
    failed: int
    work_ms: tuple[float, ...]


class _Model:
    """The same while it is counted."""

    __slots__ = ("answered", "failed", "work_ms")

    def __init__(self) -> None:
        self.answered = 0
        self.failed = 0
        self.work_ms: deque[float] = deque(maxlen=WINDOW)


class Figures:
    """Counts answers, errors and drops.

    Args:
        stage_times: hears of each answer's stages, too.
        clock: monotonic seconds.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        *,
        stage_times: StageTimes | None = None,
    ) -> None:
        self._stage_times = stage_times
        self._clock = clock
        self._wall = wall
        self._lock = Lock()
        self._answered = 0
        self._latencies: deque[Stages] = deque(maxlen=WINDOW)
        self._errors: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._last_ok: dict[str, float] = {}
        self._models: defaultdict[str, _Model] = defaultdict(_Model)
        self._last_error: LastError | None = None
        self._counted = (clock(), 0)
        self._per_minute = 0.0

    @property
    def answered(self) -> int:
        """Results so far."""
        return self._answered

    def count_result(self, model: str, stages: Stages, now: float) -> None:
        """A request was answered with a result; ``now`` by the monotonic clock."""
        with self._lock:
            self._answered += 1
            self._latencies.append(stages)
            self._last_ok[model] = now
            one = self._models[model]
            one.answered += 1
            one.work_ms.append(stages.tokenize_ms + stages.invoke_ms)
        if self._stage_times is not None:
            self._stage_times.observe(*stages)

    def count_error(self, code: str) -> None:
        """A request was answered with an error."""
        with self._lock:
            self._errors[code] += 1

    def count_failure(self, model: str) -> None:
        """A request failed by its model's own fault."""
        with self._lock:
            self._models[model].failed += 1

    def of_model(self, model: str) -> ModelCount:
        """What a model did."""
        with self._lock:
            one = self._models.get(model) or _Model()
            return ModelCount(one.answered, one.failed, tuple(one.work_ms))

    def count_drop(self, reason: str) -> None:
        """A message was neither executed nor answered."""
        with self._lock:
            self._dropped[reason] += 1

    def note_ok(self, model: str) -> None:
        """A canary of this model came out right."""
        with self._lock:
            self._last_ok[model] = self._clock()

    def note_error(self, event: str) -> None:
        """Something of our own went wrong."""
        with self._lock:
            self._last_error = LastError(event, self._wall())

    def last_ok_age_seconds(self, model: str) -> float | None:
        """Seconds since this model last answered rightly, None when it never did."""
        last = self._last_ok.get(model)
        return None if last is None else self._clock() - last

    def counts(self, also_dropped: Mapping[str, int] | None = None) -> Counts:
        """What was counted so far, with drops that others counted; from any thread."""
        with self._lock:
            lag = self._wall() - self._clock()
            return Counts(
                answered=self._answered,
                errors=dict(self._errors),
                dropped=dict(self._dropped + Counter(also_dropped or {})),
                last_ok={model: moment + lag for model, moment in self._last_ok.items()},
            )

    def snapshot(self, also_dropped: Mapping[str, int] | None = None) -> Snapshot:
        """The figures now, with drops that others counted; the rate is that since the snapshot before."""
        with self._lock:
            now = self._clock()
            since, answered = self._counted
            if now > since:
                self._per_minute = (self._answered - answered) * 60.0 / (now - since)
                self._counted = (now, self._answered)
            latest = tuple(self._latencies)
            return Snapshot(
                answered=self._answered,
                per_minute=self._per_minute,
                stages=_spread(latest),
                errors=dict(self._errors),
                dropped=dict(self._dropped + Counter(also_dropped or {})),
                last_ok_age_seconds={model: now - last for model, last in self._last_ok.items()},
                last_error=self._last_error,
            )


def _spread(latest: Sequence[Stages]) -> dict[str, Spread]:
    if not latest:
        return {}
    columns = (sorted(column) for column in zip(*latest, strict=True))
    return {
        field.removesuffix("_ms"): Spread(percentile(column, 0.50), percentile(column, 0.99))
        for field, column in zip(Stages._fields, columns, strict=True)
    }


def percentile(ascending: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of sorted values, of which there is at least one."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]
