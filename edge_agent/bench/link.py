"""The link without a model, and one way of using it against another: the figures. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from edge_agent.bench.figures import Percentiles, Target

MIN_ECHO_PER_SECOND = 5000.0
MIN_PROTOCOL_RATIO = 0.9
MIN_POOL_RATIO = 1.8


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one side: so many requests one at a time, then so many with the queue kept filled.

    Attributes:
        times_ms: each request, from publish to result.
        per_second: results a second.
        busy_seconds: processor time that the daemon took for ``requests``.
        requests: of the filled queue.
    """

    times_ms: tuple[float, ...]
    per_second: float
    busy_seconds: float
    requests: int


@dataclass(frozen=True, slots=True)
class Echo:
    """A daemon whose model says back what it is told, behind a broker at QoS 1.

    Attributes:
        protocol: MQTT, 5 or 4 (3.1.1).
        times: publish → result, one request at a time.
        per_second: results a second with the queue kept filled, median of the turns.
        processor_us: the daemon's processor time for one request, microseconds; other work on the machine
            does not count.
        requests: answered in all.
    """

    protocol: int
    times: Percentiles
    per_second: float
    processor_us: float
    requests: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results a second of one way against another, in turns within one run.

    Attributes:
        name: what is compared.
        ratio: median of the turns' ratios.
        per_second: of the one, median.
        against_per_second: of the other, median.
        turns: how many of each.
    """

    name: str
    ratio: float
    per_second: float
    against_per_second: float
    turns: int


@dataclass(frozen=True, slots=True)
class LinkReport:
    """What the link costs.

    Attributes:
        echo: with MQTT 5.
        protocols: MQTT 3.1.1 against 5.
        pool: two devices that split one stream against one; None where that was not measured.
        lost: requests that were not answered.
        notes: what was left out, and why.
    """

    echo: Echo
    protocols: Comparison
    pool: Comparison | None
    lost: int
    notes: tuple[str, ...]


def echo_of(turns: Sequence[Turn], protocol: int) -> Echo:
    """The figures of one side over all its turns."""
    filled = sum(turn.requests for turn in turns)
    return Echo(
        protocol=protocol,
        times=Percentiles.of([time for turn in turns for time in turn.times_ms]),
        per_second=round(median(turn.per_second for turn in turns), 1),
        processor_us=round(sum(turn.busy_seconds for turn in turns) / filled * 1e6, 1),
        requests=filled + sum(len(turn.times_ms) for turn in turns),
    )


def comparison_of(name: str, rates: Sequence[float], against: Sequence[float]) -> Comparison:
    """Two sides that took turns.

    Args:
        name: what is compared.
        rates: results a second of the one, turn by turn.
        against: of the other, in the same order and number.
    """
    ratios = [one / other for one, other in zip(rates, against, strict=True)]
    return Comparison(
        name, round(median(ratios), 4), round(median(rates), 1), round(median(against), 1), len(ratios)
    )


def link_targets_of(report: LinkReport) -> tuple[Target, ...]:
    """What the link must reach; a pool only where it was measured."""

    def at_least(name: str, limit: float, measured: float) -> Target:
        return Target(name, f"≥ {limit:g}", measured, measured >= limit)

    found = [
        at_least("echo, requests/s", MIN_ECHO_PER_SECOND, report.echo.per_second),
        at_least(report.protocols.name, MIN_PROTOCOL_RATIO, report.protocols.ratio),
        Target("echo, lost", "0", report.lost, report.lost == 0),
    ]
    if report.pool is not None:
        found.insert(2, at_least(report.pool.name, MIN_POOL_RATIO, report.pool.ratio))
    return tuple(found)
