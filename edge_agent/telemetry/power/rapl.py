"""Intel's and AMD's energy counters (RAPL) as the powercap driver shows them.

``/sys/class/powercap/intel-rapl:N``: ``name`` (``package-0``), ``energy_uj`` (µJ, counts up and wraps at
``max_energy_range_uj``); zones below a package, such as ``core``, are part of it
(Documentation/power/powercap). Only packages are counted; ``psys``, ``dram`` and the second view
``intel-rapl-mmio`` are not. Since 2020 ``energy_uj`` is for root alone (CVE-2020-8694).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from edge_agent.telemetry.power.trial import usable
from edge_agent.telemetry.reading import Inventory, PowerReading, Quality, Scope, SensorError
from edge_agent.telemetry.sysfs import Tree

CLASS = "sys/class/powercap"
UPDATE_SECONDS = 0.01
REMEDY = (
    "The kernel lets only root read it (CVE-2020-8694). A udev rule may give it to the group of the service; "
    "docs/power.md has one."
)

_ZONE = re.compile(r"intel-rapl:[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter whose wraps are undone.

    Attributes:
        last_uj: as it stood at the last look, in µJ.
        total_uj: last_uj and what the wraps took away.
    """

    last_uj: int
    total_uj: int

    def at(self, now_uj: int, range_uj: int | None) -> Counter:
        """The counter at a later look; one wrap between two looks is undone, more cannot be seen.

        Args:
            now_uj: as it stands now.
            range_uj: where it wraps; None is unknown, and a step back then counts as nothing.
        """
        step = now_uj - self.last_uj
        if step < 0:
            step = step % range_uj if range_uj else 0
        return replace(self, last_uj=now_uj, total_uj=self.total_uj + step)


class Rapl:
    """The packages' energy.

    Args:
        tree: the machine's files.
        zones: folders of the packages.
    """

    name = "rapl"
    scope = Scope.SOC
    quality = Quality.MEASURED
    update_seconds = UPDATE_SECONDS

    def __init__(self, tree: Tree, zones: tuple[str, ...]) -> None:
        self._tree = tree
        self._zones = zones
        self._counters: dict[str, Counter] = {}

    def read(self) -> PowerReading:
        """The energy of all packages since the machine began to count; watts follow from two looks.

        Raises:
            SensorError: a package cannot be read.
        """
        total_uj = sum(self._look(zone) for zone in self._zones)
        return PowerReading(None, energy_j=total_uj / 1e6)

    def _look(self, zone: str) -> int:
        now_uj = self._tree.number(f"{zone}/energy_uj")
        if now_uj is None or now_uj < 0:
            raise SensorError(f"/{zone}/energy_uj: no energy there")
        before = self._counters.get(zone, Counter(now_uj, now_uj))
        wrapped = now_uj < before.last_uj
        range_uj = self._tree.number(f"{zone}/max_energy_range_uj") if wrapped else None
        counter = before.at(now_uj, range_uj)
        self._counters[zone] = counter
        return counter.total_uj


def find(tree: Tree) -> Inventory:
    """The packages, as one source."""
    zones = tuple(
        f"{CLASS}/{name}" for name in tree.names(CLASS) if _ZONE.fullmatch(name) and _is_package(tree, name)
    )
    if not zones:
        return Inventory()
    power, notes = usable([Rapl(tree, zones)], REMEDY)
    return Inventory(power=power, notes=notes)


def _is_package(tree: Tree, zone: str) -> bool:
    try:
        return (tree.text(f"{CLASS}/{zone}/name") or "").startswith("package")
    except SensorError:
        return False
