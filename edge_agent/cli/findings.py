"""What ``edge-agent check`` looks at, in which order, and for how long; each idea has a ``findings_…`` file.

A *problem* keeps the agent from doing its work; a *warning* is worth knowing and does not. Each look has a
time-out, and all but the models share :data:`TOTAL_SECONDS`: a broker, a command or a disk that hangs is a
finding, it does not hang ``check``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

TOTAL_SECONDS = 18.0
"""For everything that may hang; models compute, on a slow board for longer."""
MODELS_SECONDS = 120.0
_LEAST_SECONDS = 0.5


class State(str, Enum):
    """How a finding turned out."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``remedy`` is set where it is not ok."""

    about: str
    state: State
    message: str
    remedy: str | None = None


def ok(about: str, message: str) -> Finding:
    """It is well."""
    return Finding(about, State.OK, message)


def warning(about: str, message: str, remedy: str) -> Finding:
    """It is worth knowing."""
    return Finding(about, State.WARNING, message, remedy)


def problem(about: str, message: str, remedy: str) -> Finding:
    """It keeps the agent from doing its work."""
    return Finding(about, State.PROBLEM, message, remedy)


def all_findings(config: Path | None) -> Iterator[Finding]:
    """Every finding, the cheap ones first."""
    from edge_agent.cli import (
        findings_broker,
        findings_models,
        findings_permissions,
        findings_platform,
        findings_sensors,
        findings_service,
        findings_settings,
        findings_updates,
    )

    look = Looker()
    yield from look("platform", 5, lambda: [findings_platform.check_platform()])
    read = findings_settings.Read()
    yield from look("settings", 5, lambda: [read.check(config)])
    yield from look("runtime", 10, lambda: [findings_platform.check_runtime()])
    yield from look("clock", 2, lambda: [findings_platform.check_clock()])
    yield from look("memory", 2, findings_platform.check_memory)
    unit = findings_service.Unit()
    yield from look("service", 4, unit.check)
    if (settings := read.settings) is None:
        yield from look("sensors", 5, lambda: findings_sensors.check_sensors(None))
        return
    who = findings_permissions.who_serves(unit.shown)
    yield from look("permissions", 3, lambda: findings_permissions.check_permissions(settings, config, who))
    yield from look(
        "disk", 3, lambda: findings_platform.check_disk(findings_permissions.places(settings, who))
    )
    yield from look("sensors", 5, lambda: findings_sensors.check_sensors(settings, who))
    broker = findings_broker.Broker(settings)
    yield from look("broker", 8, broker.check)
    if broker.is_well:
        yield from look("daemon", 4, lambda: broker.check_daemon(unit.is_active))
    yield from look("metrics", 3, lambda: findings_settings.check_metrics(settings.metrics))
    yield from look("updates", 5, lambda: findings_updates.check_updates(settings))
    yield from look.long("models", MODELS_SECONDS, lambda: findings_models.check_models(settings))


class Looker:
    """Looks at one thing after another, each in a thread of its own that may hang.

    Args:
        total_seconds: for all of them together.
    """

    def __init__(self, total_seconds: float = TOTAL_SECONDS) -> None:
        self._ends = time.monotonic() + total_seconds

    def __call__(
        self, about: str, seconds: float, find: Callable[[], Iterable[Finding]]
    ) -> Iterator[Finding]:
        """The findings as they come; where they do not in time, a finding that says so."""
        left = max(_LEAST_SECONDS, self._ends - time.monotonic())
        yield from self.long(about, min(seconds, left), find)

    def long(self, about: str, seconds: float, find: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
        """The same for work that may take longer than all the rest; its time is not counted."""
        found: SimpleQueue[Finding | BaseException | None] = SimpleQueue()
        Thread(target=_look, args=(find, found), name=f"check {about}", daemon=True).start()
        begun = time.monotonic()
        try:
            while (one := found.get(timeout=max(0.0, begun + seconds - time.monotonic()))) is not None:
                if isinstance(one, BaseException):
                    raise one
                yield one
        except Empty:
            yield problem(
                about,
                f"it did not end within {seconds:.3g} s",
                "something hangs there (a mount, a device, a name server or a command); mend it, check again",
            )


def _look(find: Callable[[], Iterable[Finding]], found: SimpleQueue[Finding | BaseException | None]) -> None:
    try:
        for finding in find():
            found.put(finding)
        found.put(None)
    except BaseException as error:  # a bug of ours; it is raised again where it is seen
        found.put(error)
