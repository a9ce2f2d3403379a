"""How much ``edge-agent bench`` measures: in full, and with ``--quick``."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.cli.bench_energy import EnergyPlan
from edge_agent.cli.bench_link import LinkPlan


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: turns of bare loop, latency and throughput.
        calls: of the bare loop in a round, and requests one at a time.
        requests: with the queue filled, in a round.
        starts: of the daemon.
        length_rounds: turns of every sentence length.
        length_calls: in each of them.
        energy: how much of it, where there is a sensor.
        link: how much of the link alone, where that is asked for.
    """

    rounds: int
    calls: int
    requests: int
    starts: int
    length_rounds: int
    length_calls: int
    energy: EnergyPlan
    link: LinkPlan


FULL = Plan(
    rounds=10,
    calls=300,
    requests=1000,
    starts=5,
    length_rounds=5,
    length_calls=40,
    energy=EnergyPlan(turns=3, seconds=3.0),
    link=LinkPlan(turns=10, calls=300, requests=3000),
)
QUICK = Plan(
    rounds=3,
    calls=100,
    requests=300,
    starts=1,
    length_rounds=2,
    length_calls=10,
    energy=EnergyPlan(turns=2, seconds=1.0),
    link=LinkPlan(turns=2, calls=50, requests=500),
)
