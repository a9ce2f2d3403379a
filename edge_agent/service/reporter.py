"""Gathers what ``health`` and ``info`` are made of; :mod:`edge_agent.service.health` makes them of it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence

from edge_agent import __version__
from edge_agent.errors import RuntimeFailure
from edge_agent.service.figures import Figures
from edge_agent.service.health import Facts, Identity, render_health, render_info
from edge_agent.service.links import Links
from edge_agent.service.machine import Machine
from edge_agent.service.models import Catalogue
from edge_agent.service.worker import Worker
from edge_agent.settings import Settings, public_settings

_STALE_BEATS = 1.75
"""So that a model that ceased to be right is told within two reports, as well."""
_STUCK_INTERVALS = 0.75
"""So that a worker that hangs is told at the second report after it began, at the latest."""
_LEAST_STUCK_SECONDS = 1.0


class Reporter:
    """For the main thread; what it last said may be read by others.

    Args:
        settings: all of them.
        machine: what is known of this machine.
        figures: what the daemon counts.
        link: how the broker is.
        worker: how the models are.
        faults: what is broken that the daemon goes on without, in words.
        pulse_seconds: longest time between two canaries.
        sampler_age_seconds: since the sensors were last looked at; None where nobody looks.

    Attributes:
        last_health: the latest health document.
    """

    def __init__(
        self,
        settings: Settings,
        machine: Machine,
        figures: Figures,
        link: Links,
        worker: Worker,
        faults: Callable[[], Sequence[str]],
        pulse_seconds: float,
        sampler_age_seconds: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.last_health = b"{}"
        self._settings = settings
        self._machine = machine
        self._figures = figures
        self._link = link
        self._worker = worker
        self._faults = faults
        self._pulse_seconds = pulse_seconds
        self._sampler_age_seconds = sampler_age_seconds
        self._stuck_seconds = max(_LEAST_STUCK_SECONDS, _STUCK_INTERVALS * settings.health.interval_seconds)
        self._begun = time.monotonic()

    @property
    def age_seconds(self) -> float:
        """Since the start of the daemon."""
        return time.monotonic() - self._begun

    @property
    def is_stuck(self) -> bool:
        """Whether the worker hangs."""
        return self._worker.busy_seconds >= self._stuck_seconds

    def info(self, catalogue: Catalogue, operations: Sequence[str] = ()) -> bytes:
        """The info document."""
        identity = Identity(
            version=__version__,
            runtime=_runtime_name(),
            python=platform.python_version(),
            board=self._machine.board(),
            os=self._machine.operating_system(),
            settings=public_settings(self._settings),
        )
        return render_info(identity, catalogue, operations)

    def health(self, catalogue: Catalogue) -> bytes:
        """The health document of this moment."""
        self.last_health = render_health(
            Facts(
                catalogue=catalogue,
                canary_faults=self._worker.faults,
                directories=[str(path) for path in self._settings.models.directories],
                faults=self._faults(),
                figures=self._figures.snapshot(self._link.dropped),
                stale_after_seconds=_STALE_BEATS * self._pulse_seconds + _LEAST_STUCK_SECONDS,
                stuck_after_seconds=self._stuck_seconds,
                worker_busy_seconds=self._worker.busy_seconds,
                sampler_age_seconds=self._sampler_age_seconds(),
                queue=self._worker.waiting,
                link=self._link.status(),
                load=self._machine.load(),
                now=time.time(),
                clock_synced=self._machine.clock_synced(),
                boot_id=self._machine.boot_id(),
                uptime_seconds=self.age_seconds,
                pid=os.getpid(),
            )
        )
        return self.last_health


def _runtime_name() -> str | None:
    from edge_agent.inference.runtime import runtime_info

    try:
        return str(runtime_info())
    except RuntimeFailure:
        return None
