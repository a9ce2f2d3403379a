"""What Prometheus is told, as values, and the histogram that feeds it. Pure; nothing here knows the library.

The daemon counts as it works and fills :class:`MetricFacts` when it is scraped, so a request pays for nothing
but :meth:`StageTimes.observe`. What is unknown is None or absent, and then there is no sample, never a 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

STAGES = ("queue", "tokenize", "invoke", "total")
BOUNDS_SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005,
    0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0,
)  # fmt: skip
"""Upper bounds of the buckets, dense where the shipped models answer (0.5 to 10 ms)."""

TOTAL_RAIL = "total"
"""Label of the figure for the whole scope; the rails beside it are parts of it, or parts of parts."""


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """A histogram at one moment.

    Attributes:
        counts: observations by bucket, not cumulative, and last those above all :data:`BOUNDS_SECONDS`.
        sum_seconds: of all observations.
    """

    counts: tuple[int, ...]
    sum_seconds: float


class StageHistogram:
    """Counts durations in fixed buckets: written by one thread, read by any.

    There is no lock. A reader copies the counts in one step of the interpreter and takes the number of
    observations from that very copy, so buckets always agree with the count; the sum may be one behind.
    """

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one duration; a bucket holds what is at most its bound, as Prometheus has it (``le``)."""
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self._sum += seconds

    def snapshot(self) -> HistogramSnapshot:
        """The histogram now."""
        return HistogramSnapshot(tuple(self._counts), self._sum)


class StageTimes:
    """The histograms of all stages of a request; for the one thread that answers."""

    __slots__ = ("_invoke", "_queue", "_tokenize", "_total")

    def __init__(self) -> None:
        self._queue = StageHistogram()
        self._tokenize = StageHistogram()
        self._invoke = StageHistogram()
        self._total = StageHistogram()

    def observe(self, queue_ms: float, tokenize_ms: float, invoke_ms: float, total_ms: float) -> None:
        """Counts one answered request by the times of its ``timing_ms``, in milliseconds."""
        self._queue.observe(queue_ms * 1e-3)
        self._tokenize.observe(tokenize_ms * 1e-3)
        self._invoke.observe(invoke_ms * 1e-3)
        self._total.observe(total_ms * 1e-3)

    def snapshot(self) -> dict[str, HistogramSnapshot]:
        """All of them now, by the names of :data:`STAGES`."""
        histograms = (self._queue, self._tokenize, self._invoke, self._total)
        return {stage: one.snapshot() for stage, one in zip(STAGES, histograms, strict=True)}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model of the catalogue.

    Attributes:
        name: of the bundle.
        version: that serves; None while none does.
        sha256: of the bundle that serves.
        is_serving: it answers requests, and its last canary came out right.
        last_success_seconds: when it last answered rightly, seconds since the epoch.
    """

    name: str
    version: str | None
    sha256: str | None
    is_serving: bool
    last_success_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class EnergyFacts:
    """Energy by one meter since the daemon's start; it never falls.

    Attributes:
        joules: so far.
        source: kind of sensor, ``estimate`` for what the owner's figures give.
        scope: what ``source`` covers, a value of ``reading.Scope``.
        rail: as the board names it, or :data:`TOTAL_RAIL`. Rails must never be added up: a parent stands
            beside its children.
        measured_seconds: the time that they cover; it stands still, as they do, while the sensor fails.
    """

    joules: float
    source: str
    scope: str
    rail: str = TOTAL_RAIL
    measured_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PowerFacts:
    """Watts at the last look, labelled as :class:`EnergyFacts` are."""

    watts: float | None
    source: str
    scope: str
    rail: str = TOTAL_RAIL


@dataclass(frozen=True, slots=True)
class BatteryFacts:
    """A battery or UPS; None is unknown."""

    name: str
    percent: float | None = None
    on_battery: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFacts:
    """Everything that the endpoint tells, at one moment.

    Counters run since the daemon's start. Keys of mappings become label values, so they must come from a
    short list: codes, reasons, names of sensors; never a topic, an id or a text.

    Attributes:
        version: of edge-agent.
        runtime: name and version of the TFLite runtime.
        python: version.
        device: the id in the topics.
        board: the board's name.
        status: ``up``, ``degraded`` or ``down``, as ``health`` says.
        reasons: how many reasons ``health`` names.
        models: the catalogue.
        answered: requests answered with a result.
        errors: requests answered with an error, by code.
        dropped: messages neither executed nor answered, by reason.
        stages: histograms by stage, of :meth:`StageTimes.snapshot`.
        queue: requests that wait.
        running_correctly_seconds: time in which the device was ``up``.
        expected_running_seconds: time since the start.
        start_time_seconds: when the daemon started, seconds since the epoch.
        mqtt_connected: whether the link to the broker serves.
        mqtt_reconnects: how often it was made anew.
        cpu_seconds: processor time of the daemon, user and system.
        memory_resident_bytes: of the daemon.
        memory_available_bytes: of the machine.
        disk_free_bytes: where the models lie.
        clock_synced: whether the wall clock is synchronised.
        energy: by meter.
        power: by meter; of rails whose energy nobody counts, this is all there is.
        supply_volts: at the board's input.
        under_voltage: now.
        under_voltage_since_boot: at any time since the boot.
        throttled: what holds the processor down now, by reason (``frequency_capped``, ``throttled``,
            ``soft_temperature_limit``).
        throttled_since_boot: the same since the boot.
        temperatures_celsius: by thermal zone.
        cpu_hertz: clock by processor or policy.
        fan_rpm: turns a minute by fan.
        batteries: all of them.
        sensor_errors: failed looks by sensor.
    """

    version: str
    device: str
    runtime: str | None = None
    python: str | None = None
    board: str | None = None
    status: str | None = None
    reasons: int | None = None
    models: tuple[ModelFacts, ...] = ()
    answered: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    stages: Mapping[str, HistogramSnapshot] = field(default_factory=dict)
    queue: int | None = None
    running_correctly_seconds: float | None = None
    expected_running_seconds: float | None = None
    start_time_seconds: float | None = None
    mqtt_connected: bool | None = None
    mqtt_reconnects: int | None = None
    cpu_seconds: float | None = None
    memory_resident_bytes: float | None = None
    memory_available_bytes: float | None = None
    disk_free_bytes: float | None = None
    clock_synced: bool | None = None
    energy: tuple[EnergyFacts, ...] = ()
    power: tuple[PowerFacts, ...] = ()
    supply_volts: float | None = None
    under_voltage: bool | None = None
    under_voltage_since_boot: bool | None = None
    throttled: Mapping[str, bool | None] = field(default_factory=dict)
    throttled_since_boot: Mapping[str, bool | None] = field(default_factory=dict)
    temperatures_celsius: Mapping[str, float | None] = field(default_factory=dict)
    cpu_hertz: Mapping[str, float | None] = field(default_factory=dict)
    fan_rpm: Mapping[str, float | None] = field(default_factory=dict)
    batteries: tuple[BatteryFacts, ...] = ()
    sensor_errors: Mapping[str, int] = field(default_factory=dict)
