"""Gathers what ``health``, ``info`` and the metrics are made of; others make them of it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence

from edge_agent import __version__
from edge_agent.errors import RuntimeFailure
from edge_agent.service.figures import Figures
from edge_agent.service.health import Facts, Identity, Status, judge, render_health, render_info
from edge_agent.service.links import Links
from edge_agent.service.machine import Machine
from edge_agent.service.models import Catalogue
from edge_agent.service.sensing import Sensing
from edge_agent.service.worker import Worker
from edge_agent.settings import Settings, public_settings
from edge_agent.telemetry.metrics.board import with_board
from edge_agent.telemetry.metrics.facts import MetricFacts, ModelFacts, StageTimes
from edge_agent.telemetry.metrics.uptime import Uptime

_STALE_BEATS = 1.75
"""So that a model that ceased to be right is told within two reports, as well."""
_STUCK_INTERVALS = 0.75
"""So that a worker that hangs is told at the second report after it began, at the latest."""
_LEAST_STUCK_SECONDS = 1.0


class Reporter:
    """For the main thread, save for :meth:`metrics`; what it last said may be read by others.

    Args:
        settings: all of them.
        machine: what is known of this machine.
        figures: what the daemon counts.
        link: how the broker is.
        worker: how the models are.
        sensing: what the sensors say.
        faults: what is broken that the daemon goes on without, in words.
        beat_seconds: between two canaries.
        stage_times: the histograms of the metrics.

    Attributes:
        last_health: the latest health document.
    """

    def __init__(  # noqa: PLR0913
        self,
        settings: Settings,
        machine: Machine,
        figures: Figures,
        link: Links,
        worker: Worker,
        sensing: Sensing,
        *,
        faults: Callable[[], Sequence[str]],
        beat_seconds: float,
        stage_times: StageTimes,
    ) -> None:
        self.last_health = b"{}"
        self._settings = settings
        self._machine = machine
        self._figures = figures
        self._link = link
        self._worker = worker
        self._sensing = sensing
        self._faults = faults
        self._stage_times = stage_times
        self._stale_seconds = _STALE_BEATS * beat_seconds + _LEAST_STUCK_SECONDS
        self._stuck_seconds = max(_LEAST_STUCK_SECONDS, _STUCK_INTERVALS * settings.health.interval_seconds)
        self._begun = time.monotonic()
        self._started = time.time()
        self._catalogue: Catalogue = {}
        self._judged: tuple[Status, int] | None = None
        self._uptime = Uptime(self._begun, noted_seconds=self._begun)

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
            sensors=self._sensing.described(),
        )
        return render_info(identity, catalogue, operations)

    def health(self, catalogue: Catalogue) -> bytes:
        """The health document of this moment."""
        facts = Facts(
            catalogue=catalogue,
            canary_faults=self._worker.faults,
            directories=[str(path) for path in self._settings.models.directories],
            faults=[*self._faults(), *self._sensing.reasons()],
            figures=self._figures.snapshot(self._link.dropped),
            stale_after_seconds=self._stale_seconds,
            stuck_after_seconds=self._stuck_seconds,
            worker_busy_seconds=self._worker.busy_seconds,
            sampler_age_seconds=self._sensing.age_seconds,
            temperature_c=self._sensing.snapshot.board.temperature_c,
            queue=self._worker.waiting,
            link=self._link.status(),
            load=self._machine.load(),
            now=time.time(),
            clock_synced=self._machine.clock_synced(),
            boot_id=self._machine.boot_id(),
            uptime_seconds=self.age_seconds,
            pid=os.getpid(),
        )
        status, reasons = judge(facts)
        self._catalogue, self._judged = catalogue, (status, len(reasons))
        self._uptime = self._uptime.noted(status is Status.UP, time.monotonic())
        self.last_health = render_health(facts, status, reasons)
        return self.last_health

    def metrics(self) -> MetricFacts:
        """Everything for Prometheus, of this moment; in the endpoint's thread."""
        now, status, judged = time.monotonic(), self._link.status(), self._judged
        counts, usage = self._figures.counts(self._link.dropped), self._machine.usage()
        facts = MetricFacts(
            version=__version__,
            device=self._settings.device.id,
            runtime=_runtime_name(),
            python=platform.python_version(),
            board=self._machine.board(),
            status=judged[0].value if judged else None,
            reasons=judged[1] if judged else None,
            models=self._models(counts.last_ok),
            answered=counts.answered,
            errors=counts.errors,
            dropped=counts.dropped,
            stages=self._stage_times.snapshot(),
            queue=self._worker.waiting,
            running_correctly_seconds=self._uptime.correct(now),
            expected_running_seconds=self._uptime.expected(now),
            start_time_seconds=self._started,
            mqtt_connected=status.connected_seconds is not None,
            mqtt_reconnects=max(0, status.connections - 1),
            cpu_seconds=usage.cpu_seconds,
            memory_resident_bytes=usage.memory_resident_bytes,
            memory_available_bytes=usage.memory_available_bytes,
            disk_free_bytes=usage.disk_free_bytes,
            clock_synced=self._machine.clock_synced(),
        )
        return with_board(facts, self._sensing.snapshot)

    def _models(self, last_ok: dict[str, float]) -> tuple[ModelFacts, ...]:
        faults = self._worker.faults
        return tuple(
            ModelFacts(
                name=name,
                version=entry.served.version if entry.served else None,
                sha256=entry.served.digest.removeprefix("sha256:") if entry.served else None,
                is_serving=entry.served is not None and name not in faults,
                last_success_seconds=last_ok.get(name),
            )
            for name, entry in self._catalogue.items()
        )


def _runtime_name() -> str | None:
    from edge_agent.inference.runtime import runtime_info

    try:
        return str(runtime_info())
    except RuntimeFailure:
        return None
