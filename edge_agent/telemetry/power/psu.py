"""What the Raspberry Pi 5's supply promised by USB Power Delivery: a device-tree number in milliamperes.

The boot loader writes ``/chosen/power/max_current``: 5000, or 3000, with which all USB devices together get
600 mA.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.telemetry.power.trial import GRANT, usable
from edge_agent.telemetry.reading import Inventory, SupplyReading
from edge_agent.telemetry.sysfs import Tree

MAX_CURRENT = "proc/device-tree/chosen/power/max_current"


@dataclass(frozen=True, slots=True)
class Psu:
    """The promise of the supply; 0 means that it made none."""

    tree: Tree

    name = "psu"

    def read(self) -> SupplyReading:
        """A look now.

        Raises:
            SensorError: the property is no 32-bit number.
        """
        return SupplyReading(supply_max_ma=self.tree.u32(MAX_CURRENT) or None)


def find(tree: Tree) -> Inventory:
    """The promise, where the boot loader wrote it."""
    if not tree.exists(MAX_CURRENT):
        return Inventory()
    supply, notes = usable([Psu(tree)], GRANT)
    return Inventory(supply=supply, notes=notes)
