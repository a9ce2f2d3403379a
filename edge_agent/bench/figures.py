"""What a benchmark found, and the targets that it is held against. Pure.

Milliseconds unless a name says otherwise; megabytes are 10⁶ bytes, as everywhere in this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from edge_agent.inference.metrics import latency

if TYPE_CHECKING:
    from edge_agent.bench.energy import Energy
    from edge_agent.bench.link import LinkReport

MAX_OVERHEAD_P50_MS = 0.5
MAX_OVERHEAD_P99_MS = 2.0
MIN_THROUGHPUT_RATIO = 0.9
MAX_RSS_MB = 120.0
MAX_RSS_GROWTH_MB = 0.5
"""What the allocator's own breathing may cost; a leak of one object a request is ten times that."""
MAX_START_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Median and 99th percentile of repeated measurements of one thing."""

    count: int
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Percentiles:
        """Summarizes measured times.

        Raises:
            ValueError: there are none.
        """
        found = latency(milliseconds)
        return cls(found.count, round(found.p50_ms, 4), round(found.p99_ms, 4))


@dataclass(frozen=True, slots=True)
class AtLength:
    """The runtime's time for one sentence of so many tokens, [CLS] and [SEP] counted."""

    tokens: int
    times: Percentiles


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of the interleaved measurement: the interpreter alone, then the daemon, on one core.

    Attributes:
        bare_ms: each call of the interpreter.
        bare_per_second: calls a second of the loop, its own cost included.
        daemon_ms: each request, from publish to result, one at a time.
        daemon_per_second: results a second with the daemon's queue kept filled.
        requests: answered by the daemon since it started.
        rss_mb: the daemon's resident memory after the round.
    """

    bare_ms: tuple[float, ...]
    bare_per_second: float
    daemon_ms: tuple[float, ...]
    daemon_per_second: float
    requests: int
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Bare:
    """The interpreter in a loop: token ids in, logits out, nothing else."""

    times: Percentiles
    per_second: float


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon behind a broker at QoS 1, beside the bare interpreter of the same rounds.

    Attributes:
        broker: name and version.
        protocol: MQTT, 5 or 4 (3.1.1).
        requests: answered in all.
        times: publish → result, one request at a time.
        overhead_p50_ms: beyond the bare interpreter's p50.
        overhead_p99_ms: beyond the bare interpreter's p99.
        per_second: results a second with the queue kept filled, median of the rounds.
        throughput_ratio: of results to bare calls a second, median of the rounds' ratios.
        rss_mb: resident memory after all requests.
        rss_growth_mb: over the second half of the requests.
        start_seconds: from starting the process to ``online`` at a subscriber, median.
        starts: how many were measured.
        lost: requests that were not answered.
    """

    broker: str
    protocol: int
    requests: int
    times: Percentiles
    overhead_p50_ms: float
    overhead_p99_ms: float
    per_second: float
    throughput_ratio: float
    rss_mb: float
    rss_growth_mb: float
    start_seconds: float
    starts: int
    lost: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured."""

    board: str
    processor: str
    architecture: str
    cores: int
    memory_mb: float | None
    operating_system: str
    kernel: str
    python: str


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """What was measured."""

    name: str
    version: str
    digest: str
    bundle_mb: float
    sentence_tokens: int
    sentences: int


@dataclass(frozen=True, slots=True)
class Target:
    """A promise of the documentation and whether this machine keeps it."""

    name: str
    limit: str
    measured: float
    met: bool


@dataclass(frozen=True, slots=True)
class Report:
    """A whole benchmark.

    Attributes:
        time: when it began, RFC 3339.
        model_core: what the model ran on, None where it was not pinned.
        broker_core: what broker and requester ran on.
        notes: what was left out or could not be kept apart, and why.
        daemon: None where that part was left out.
        link: None where it was not asked for.
        energy: of a request, with its sensor or the reason why it is unknown.
        targets: none where the daemon was left out.
    """

    edge_agent: str
    runtime: str
    time: str
    machine: Machine
    model: MeasuredModel
    model_core: int | None
    broker_core: int | None
    lengths: tuple[AtLength, ...]
    bare: Bare
    daemon: Daemon | None
    link: LinkReport | None
    energy: Energy
    targets: tuple[Target, ...]
    notes: tuple[str, ...]


def bare_of(rounds: Sequence[Round]) -> Bare:
    """The interpreter's figures over all rounds."""
    times = [time for each in rounds for time in each.bare_ms]
    return Bare(Percentiles.of(times), round(median(each.bare_per_second for each in rounds), 1))


def daemon_of(
    rounds: Sequence[Round], starts_seconds: Sequence[float], *, broker: str, protocol: int, lost: int
) -> Daemon:
    """The daemon's figures over all rounds; percentiles are over the requests of all rounds together."""
    bare = Percentiles.of([time for each in rounds for time in each.bare_ms])
    times = Percentiles.of([time for each in rounds for time in each.daemon_ms])
    last = rounds[-1]
    half = min(rounds, key=lambda each: abs(each.requests - last.requests / 2))
    return Daemon(
        broker=broker,
        protocol=protocol,
        requests=last.requests,
        times=times,
        overhead_p50_ms=round(times.p50_ms - bare.p50_ms, 4),
        overhead_p99_ms=round(times.p99_ms - bare.p99_ms, 4),
        per_second=round(median(each.daemon_per_second for each in rounds), 1),
        throughput_ratio=round(median(each.daemon_per_second / each.bare_per_second for each in rounds), 4),
        rss_mb=round(last.rss_mb, 1),
        rss_growth_mb=round(last.rss_mb - half.rss_mb, 2),
        start_seconds=round(median(starts_seconds), 3),
        starts=len(starts_seconds),
        lost=lost,
    )


def targets_of(daemon: Daemon) -> tuple[Target, ...]:
    """What the daemon must reach."""

    def at_most(name: str, limit: float, measured: float, unit: str) -> Target:
        return Target(name, f"≤ {limit:g} {unit}".rstrip(), measured, measured <= limit)

    ratio = daemon.throughput_ratio
    return (
        at_most("overhead p50", MAX_OVERHEAD_P50_MS, daemon.overhead_p50_ms, "ms"),
        at_most("overhead p99", MAX_OVERHEAD_P99_MS, daemon.overhead_p99_ms, "ms"),
        Target("throughput to bare", f"≥ {MIN_THROUGHPUT_RATIO:g}", ratio, ratio >= MIN_THROUGHPUT_RATIO),
        Target("lost", "0", daemon.lost, daemon.lost == 0),
        at_most("memory", MAX_RSS_MB, daemon.rss_mb, "MB"),
        at_most("memory growth", MAX_RSS_GROWTH_MB, daemon.rss_growth_mb, "MB"),
        at_most("start to online", MAX_START_SECONDS, daemon.start_seconds, "s"),
    )
