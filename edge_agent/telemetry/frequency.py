"""The processor's clock, from cpufreq (Documentation/admin-guide/pm/cpufreq.rst); kHz there, MHz here.

A policy is a set of processors that share one clock. ``scaling_max_freq`` below ``cpuinfo_max_freq`` may be
the kernel's cooling or the owner's wish, so it is told and judged no fault; that the firmware holds the clock
down is told by the supply's sources.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_agent.telemetry.reading import SensorError
from edge_agent.telemetry.sysfs import Tree

_POLICIES = "sys/devices/system/cpu/cpufreq"
_POLICY = re.compile(r"policy(\d+)")


@dataclass(frozen=True, slots=True)
class Clock:
    """One look at a policy's clock; None is unknown.

    Attributes:
        name: ``policy0``, by the first processor that has it.
        now_mhz: as it runs.
        allowed_mhz: the most that it may run now.
        highest_mhz: the most that it can run.
    """

    name: str
    now_mhz: float | None
    allowed_mhz: float | None
    highest_mhz: float | None


def find_clocks(tree: Tree) -> tuple[str, ...]:
    """The names of the policies, by number."""
    names = [match for entry in tree.names(_POLICIES) if (match := _POLICY.fullmatch(entry))]
    return tuple(match[0] for match in sorted(names, key=lambda match: int(match[1])))


def read_clocks(tree: Tree, names: tuple[str, ...]) -> tuple[Clock, ...]:
    """The clocks of these policies; one that says nothing is left out."""
    clocks = []
    for name in names:
        now, allowed, highest = (
            _mhz(tree, f"{_POLICIES}/{name}/{file}")
            for file in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq")
        )
        if now is not None or highest is not None:
            clocks.append(Clock(name, now, allowed, highest))
    return tuple(clocks)


def _mhz(tree: Tree, path: str) -> float | None:
    try:
        value = tree.number(path)
    except SensorError:
        return None
    return value / 1000 if value else None
