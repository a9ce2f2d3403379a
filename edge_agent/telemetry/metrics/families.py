"""The facts as Prometheus' metric families, and as text; the only file that imports prometheus_client.

Names and units follow Prometheus' naming practices (prometheus.io/docs/practices/naming): one prefix, base
units, ``_total`` for counters, ``_info`` for what is said in labels, a ratio from 0 to 1. The registry is our
own, without the library's collectors of the process, the platform and the garbage collector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from edge_agent.errors import ErrorCode
from edge_agent.telemetry.metrics.facts import (
    BOUNDS_SECONDS,
    STAGES,
    BatteryFacts,
    EnergyFacts,
    HistogramSnapshot,
    MetricFacts,
    ModelFacts,
    PowerFacts,
)

PREFIX = "edge_agent_"
MOST_LABELS = 64
"""Label sets of one family; a board with more rails, zones or models tells only of the first."""

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text"
_STATES = ("up", "degraded", "down")
_BOUNDS = (
    *map(repr, BOUNDS_SECONDS),
    "+Inf",
)  # 1.0, not 1: OpenMetrics wants it so, and labels must not change
_LONGEST_LABEL = 128
_Labelled = tuple[Sequence[str], float | bool | None]


class Exposition:
    """Renders what a function tells at the moment of the scrape.

    Args:
        facts: called once for each scrape, in the thread that renders.
    """

    def __init__(self, facts: Callable[[], MetricFacts]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_FactsCollector(facts))

    def render(self, accept: str) -> tuple[str, bytes]:
        """The metrics as text.

        Args:
            accept: the request's Accept header, empty for none. Who names OpenMetrics there gets it.

        Returns:
            Content type and body.
        """
        if _OPENMETRICS in accept:
            return openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return _TEXT, generate_latest(self._registry)


class _FactsCollector(Collector):
    def __init__(self, facts: Callable[[], MetricFacts]) -> None:
        self._facts = facts

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are not checked at registration, and no scrape is made for it."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families that have a sample."""
        return (family for family in families(self._facts()) if family.samples)


def families(facts: MetricFacts) -> Iterator[Metric]:
    """Every family, with no sample where nothing is known."""
    yield from _about(facts)
    yield from _health(facts)
    yield from _models(facts.models)
    yield from _requests(facts)
    yield _stages(facts.stages)
    yield from _link_and_machine(facts)
    yield from _power(facts)
    yield from _batteries(facts.batteries)


def _about(facts: MetricFacts) -> Iterator[Metric]:
    build = {"version": facts.version, "runtime": facts.runtime, "python": facts.python}
    yield InfoMetricFamily(f"{PREFIX}build", "What runs here.", value=_known(build))
    device = {"device": facts.device, "board": facts.board}
    yield InfoMetricFamily(
        f"{PREFIX}device", "The device's id in MQTT topics, and its board.", _known(device)
    )
    yield _gauge("start_time_seconds", "When the daemon started, since the epoch.", facts.start_time_seconds)


def _health(facts: MetricFacts) -> Iterator[Metric]:
    states = {state: facts.status == state for state in _STATES} if facts.status in _STATES else None
    yield StateSetMetricFamily(f"{PREFIX}health_status", "What health says: the state that is 1.", states)
    yield _gauge("health_reasons", "How many reasons health names for not being up.", facts.reasons)
    yield _counter(
        "running_correctly_seconds", "Time in which health said up.", facts.running_correctly_seconds
    )
    yield _counter(
        "expected_running_seconds", "Time in which it should have said so.", facts.expected_running_seconds
    )


def _models(models: Sequence[ModelFacts]) -> Iterator[Metric]:
    info = InfoMetricFamily(f"{PREFIX}model", "The models that serve.")
    for model in models[:MOST_LABELS]:
        if model.version is not None:
            said = {"name": model.name, "version": model.version, "sha256": model.sha256}
            info.add_metric((), _known(said))
    yield info
    yield _gauges(
        "model_serving",
        "Whether a model answers requests, and rightly (1).",
        ("name",),
        (((model.name,), model.is_serving) for model in models),
    )
    yield _gauges(
        "last_success_timestamp_seconds",
        "When a model last answered rightly, since the epoch; its canaries count.",
        ("name",),
        (((model.name,), model.last_success_seconds) for model in models),
    )


def _requests(facts: MetricFacts) -> Iterator[Metric]:
    # Every code from the start, so that the first error is an increase and not the birth of a series.
    results = {"ok": facts.answered, **{code.value: 0 for code in ErrorCode}, **facts.errors}
    yield _counters(
        "messages_received",
        "Requests that were answered: ok, or the error's code.",
        ("result",),
        _by(results),
    )
    yield _counters(
        "dropped_messages", "Messages neither executed nor answered.", ("reason",), _by(facts.dropped)
    )
    yield _gauge("queue_length", "Requests that wait for the model.", facts.queue)


def _stages(stages: Mapping[str, HistogramSnapshot]) -> Metric:
    family = HistogramMetricFamily(
        f"{PREFIX}inference_duration_seconds",
        "Time of a request by stage; total is all of it.",
        labels=("stage",),
    )
    for stage in STAGES:
        if stage in stages:
            snapshot = stages[stage]
            buckets = list(zip(_BOUNDS, map(float, accumulate(snapshot.counts)), strict=True))
            family.add_metric((stage,), buckets, snapshot.sum_seconds)
    return family


def _link_and_machine(facts: MetricFacts) -> Iterator[Metric]:
    yield _gauge("mqtt_connected", "Whether the link to the broker serves (1).", facts.mqtt_connected)
    yield _counter("mqtt_reconnects", "How often that link was made anew.", facts.mqtt_reconnects)
    yield _counter("cpu_seconds", "Processor time of the daemon.", facts.cpu_seconds)
    yield _gauge("memory_resident_bytes", "Memory of the daemon.", facts.memory_resident_bytes)
    yield _gauge("memory_available_bytes", "Memory that the machine has left.", facts.memory_available_bytes)
    yield _gauge("disk_free_bytes", "Free on the disk of the models.", facts.disk_free_bytes)
    yield _gauge("clock_synchronized", "Whether the wall clock is synchronised (1).", facts.clock_synced)
    yield _gauges("cpu_frequency_hertz", "Clock of the processor.", ("cpu",), _by(facts.cpu_hertz))
    yield _gauges("fan_speed_rpm", "Turns of a fan a minute.", ("fan",), _by(facts.fan_rpm))
    yield _gauges(
        "temperature_celsius", "Temperature by thermal zone.", ("zone",), _by(facts.temperatures_celsius)
    )
    yield _counters("sensor_errors", "Looks at a sensor that failed.", ("sensor",), _by(facts.sensor_errors))


def _power(facts: MetricFacts) -> Iterator[Metric]:
    yield from _energy(facts.energy)
    yield _watts(facts.power)
    yield _gauge("supply_volts", "Voltage at the board's input.", facts.supply_volts)
    yield _gauge("under_voltage", "Whether the supply gives too little now (1).", facts.under_voltage)
    yield _gauge(
        "under_voltage_since_boot", "Whether it once did since the boot (1).", facts.under_voltage_since_boot
    )
    yield _gauges(
        "throttled", "Whether the processor is held down now (1).", ("reason",), _by(facts.throttled)
    )
    yield _gauges(
        "throttled_since_boot",
        "Whether it once was since the boot (1).",
        ("reason",),
        _by(facts.throttled_since_boot),
    )


def _energy(meters: Sequence[EnergyFacts]) -> Iterator[Metric]:
    labels = ("rail", "source", "scope")
    yield _counters(
        "energy_joules",
        "Energy; never add rails, a parent stands beside its children. Source estimate is no measurement.",
        labels,
        (((meter.rail, meter.source, meter.scope), meter.joules) for meter in meters),
    )
    yield _counters(
        "energy_measured_seconds",
        "The time that the energy covers; joules by this are watts, also where a sensor failed for a while.",
        labels,
        (((meter.rail, meter.source, meter.scope), meter.measured_seconds) for meter in meters),
    )


def _watts(meters: Sequence[PowerFacts]) -> Metric:
    return _gauges(
        "power_watts",
        "Power at the last look at the sensor; never add rails.",
        ("rail", "source", "scope"),
        (((meter.rail, meter.source, meter.scope), meter.watts) for meter in meters),
    )


def _batteries(batteries: Sequence[BatteryFacts]) -> Iterator[Metric]:
    yield _gauges(
        "battery_charge_ratio",
        "Charge of a battery or UPS, 0 to 1.",
        ("battery",),
        (((one.name,), None if one.percent is None else one.percent / 100) for one in batteries),
    )
    yield _gauges(
        "on_battery",
        "Whether it is being drawn from (1).",
        ("battery",),
        (((one.name,), one.on_battery) for one in batteries),
    )


def _gauge(name: str, what: str, value: float | bool | None) -> Metric:
    return _gauges(name, what, (), (((), value),))


def _counter(name: str, what: str, value: float | None) -> Metric:
    return _counters(name, what, (), (((), value),))


def _gauges(name: str, what: str, labels: Sequence[str], samples: Iterable[_Labelled]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}{name}", what, labels=labels)
    for values, number in _some(samples):
        family.add_metric(values, number)
    return family


def _counters(name: str, what: str, labels: Sequence[str], samples: Iterable[_Labelled]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}{name}", what, labels=labels)
    for values, number in _some(samples):
        family.add_metric(values, number)
    return family


def _by(
    values: Mapping[str, float | None] | Mapping[str, int] | Mapping[str, bool | None],
) -> Iterator[_Labelled]:
    return (((key,), values[key]) for key in sorted(values))


def _some(samples: Iterable[_Labelled]) -> Iterator[tuple[tuple[str, ...], float]]:
    """The samples that are known, each label set once, and not more than :data:`MOST_LABELS`."""
    seen: dict[tuple[str, ...], float] = {}
    for values, number in samples:
        if number is not None and math.isfinite(number):
            seen.setdefault(tuple(map(_clean, values)), float(number))
    return islice(iter(seen.items()), MOST_LABELS)


def _known(labels: Mapping[str, str | None]) -> dict[str, str]:
    return {name: _clean(value) for name, value in labels.items() if value is not None}


def _clean(value: str) -> str:
    """A name from a file of the kernel or of a bundle, as a label that every reader of UTF-8 takes."""
    return value[:_LONGEST_LABEL].encode("utf-8", "replace").decode("utf-8")
