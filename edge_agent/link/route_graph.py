"""What routes do to one another: one out of another's reach, a pool's messages taken twice, loops. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.link.filters import covers, overlap


@dataclass(frozen=True, slots=True)
class Stream:
    """A route as the others see it.

    Attributes:
        name: in messages.
        subscribe: the filter that it listens to.
        reach: a filter that matches wherever its answers can go.
        share: of a pool, or None.
    """

    name: str
    subscribe: str
    reach: str
    share: str | None = None


def refuse_clashes(streams: Sequence[Stream]) -> None:
    """Refuses a route that an earlier one leaves nothing to, and one that overlaps a pool's.

    Raises:
        ValueError: in one line that names both.
    """
    for position, later in enumerate(streams):
        for earlier in streams[:position]:
            if covers(earlier.subscribe, later.subscribe):
                raise ValueError(f"{later.name}: {earlier.name} takes all its messages")
            is_shared = earlier.share is not None or later.share is not None
            if is_shared and overlap(earlier.subscribe, later.subscribe):
                raise ValueError(
                    f"{later.name}: it overlaps {earlier.name}, so that a pool's message would come twice"
                )


def refuse_loops(streams: Sequence[Stream]) -> None:
    """Refuses a cycle in the graph whose edges lead from a route to those that its answers can reach.

    Raises:
        ValueError: in one line that names the cycle.
    """
    follows = [
        [number for number, other in enumerate(streams) if overlap(stream.reach, other.subscribe)]
        for stream in streams
    ]
    for start in range(len(streams)):
        cycle = _cycle_from(start, follows)
        if cycle is not None:
            names = " → ".join(streams[number].name for number in [*cycle, start])
            raise ValueError(f"a route must not feed itself: {names}")


def _cycle_from(start: int, follows: list[list[int]]) -> list[int] | None:
    """A shortest way from a route back to itself, breadth first, or None."""
    ways: list[list[int]] = [[start]]
    seen: set[int] = set()
    for way in ways:
        for number in follows[way[-1]]:
            if number == start:
                return way
            if number not in seen:
                seen.add(number)
                ways.append([*way, number])
    return None
