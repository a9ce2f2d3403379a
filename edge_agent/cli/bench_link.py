"""The course of ``edge-agent bench --link``: the link without a model, and what may be done to it.

Whatever is compared takes turns, and every other turn the second goes first, so that a busy moment of the
machine, or the warmth of its caches, favours neither.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge_agent.bench.asker import WINDOW
from edge_agent.bench.echo import NAME
from edge_agent.bench.link import Comparison, LinkReport, Turn, comparison_of, echo_of
from edge_agent.bench.machine import processor_seconds
from edge_agent.cli import stage
from edge_agent.cli.bench_stage import Pool, Side, echo_daemon, pool_daemon
from edge_agent.errors import BrokerError
from edge_agent.link.protocol import MQTT_3_1_1, MQTT_5

ECHO_WINDOW = 48
"""Requests on their way: more than a device is handed at a time, fewer than it refuses with 3.1.1."""
_WARM_UP = 300
_NO_CORES = "a pool of two was left out: it takes three cores, one for each device and one for the broker"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """How much is measured.

    Attributes:
        turns: of each side.
        calls: requests one at a time, in a turn.
        requests: with the queue filled, in a turn.
    """

    turns: int
    calls: int
    requests: int


@dataclass(frozen=True, slots=True)
class LinkStage:
    """Where it is measured.

    Attributes:
        core: of the device, None for any.
        second_core: of the second device of a pool; None leaves the pool out.
        bundle: of the model that a pool serves.
        model: its name.
        texts: sentences to ask.
        tell: what is being done, in words.
    """

    core: int | None
    second_core: int | None
    bundle: Path
    model: str
    texts: Sequence[str]
    tell: Callable[[str], None]


def measure_link(plan: LinkPlan, where: LinkStage) -> LinkReport:
    """Measures daemons of its own behind a Mosquitto of its own.

    Raises:
        BrokerError: broker or daemons do not come up, or one does not answer.
    """
    with ExitStack() as everything:
        folder = Path(everything.enter_context(tempfile.TemporaryDirectory(prefix="edge-agent-bench-")))
        port = stage.free_port()
        everything.enter_context(stage.broker(folder, port))
        new, old, lost = _protocols(plan, where, folder, port)
        pool, lost_in_pool = None, 0
        if where.second_core is not None:
            pool, lost_in_pool = measure_pool(plan, where, folder, port)
    return LinkReport(
        echo=echo_of(new, MQTT_5),
        protocols=comparison_of("MQTT 3.1.1 to 5", _rates(old), _rates(new)),
        pool=pool,
        lost=lost + lost_in_pool,
        notes=() if pool else (_NO_CORES,),
    )


def measure_pool(plan: LinkPlan, where: LinkStage, folder: Path, port: int) -> tuple[Comparison, int]:
    """Two devices that split one stream against one that has it alone, in turns.

    Returns:
        The comparison, and how many requests were not answered.

    Raises:
        BrokerError: a daemon does not come up or answer.
    """
    alone, shared = Pool("alone", where.model), Pool("shared", where.model)
    members = (
        ("one", where.core, alone),
        ("two-a", where.core, shared),
        ("two-b", where.second_core, shared),
    )
    with ExitStack() as life:
        sides = [
            life.enter_context(pool_daemon(folder, port, core, device, where.bundle, pool))
            for device, core, pool in members
        ]
        asker = sides[0].asker
        rates: dict[str, list[float]] = {alone.topic: [], shared.topic: []}
        for topic in rates:
            asker.ask_many(topic, where.texts, _WARM_UP, 2 * WINDOW)
        for number in range(plan.turns):
            where.tell(f"pool, turn {number + 1} of {plan.turns}")
            for topic in _order(list(rates), number):
                rates[topic].append(asker.ask_many(topic, where.texts, plan.requests, 2 * WINDOW))
        name = "pool of two to one"
        return comparison_of(name, rates[shared.topic], rates[alone.topic]), asker.lost


def _protocols(
    plan: LinkPlan, where: LinkStage, folder: Path, port: int
) -> tuple[list[Turn], list[Turn], int]:
    """The turns with MQTT 5, those with 3.1.1, and how many requests were not answered."""
    with ExitStack() as life:
        sides = [
            life.enter_context(echo_daemon(folder, port, where.core, protocol))
            for protocol in (MQTT_5, MQTT_3_1_1)
        ]
        turns: list[list[Turn]] = [[], []]
        for side in sides:
            side.asker.ask_many(side.topics.request(NAME), where.texts, _WARM_UP, ECHO_WINDOW)
        for number in range(plan.turns):
            where.tell(f"echo, turn {number + 1} of {plan.turns}")
            for which in _order([0, 1], number):
                turns[which].append(_turn(plan, sides[which], where.texts))
        return turns[0], turns[1], sum(side.asker.lost for side in sides)


def _turn(plan: LinkPlan, side: Side, texts: Sequence[str]) -> Turn:
    topic = side.topics.request(NAME)
    times = side.asker.ask_each(topic, texts, plan.calls)
    before = processor_seconds(side.pid)
    rate = side.asker.ask_many(topic, texts, plan.requests, ECHO_WINDOW)
    after = processor_seconds(side.pid)
    if before is None or after is None:
        raise BrokerError("the daemon died during the benchmark")
    return Turn(times, rate, after - before, plan.requests)


def _order(sides: list[_T], number: int) -> list[_T]:
    """Every other turn the last goes first."""
    return sides if number % 2 == 0 else sides[::-1]


def _rates(turns: Sequence[Turn]) -> list[float]:
    return [turn.per_second for turn in turns]
