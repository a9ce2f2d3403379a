"""The Raspberry Pi PoE+ HAT (power_supply ``rpi-poe``): the current that it gives, and how much it may give.

``current_now`` and ``current_max`` in µA (raspberrypi/linux, drivers/power/supply/rpi_poe_power.c). There is
no reliable voltage, so there are no watts: amperes times 5 V would be a guess, and is left to the reader.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.telemetry.power.trial import GRANT, usable
from edge_agent.telemetry.reading import Inventory, SupplyReading
from edge_agent.telemetry.sysfs import Tree

FOLDER = "sys/class/power_supply/rpi-poe"
NO_WATTS = "poe: the PoE HAT tells amperes and no volts, so there are no watts of it."


@dataclass(frozen=True, slots=True)
class PoeHat:
    """The HAT's current."""

    tree: Tree

    name = "poe"

    def read(self) -> SupplyReading:
        """A look now.

        Raises:
            SensorError: it cannot be read.
        """
        now = self.tree.number(f"{FOLDER}/current_now")
        most = self.tree.number(f"{FOLDER}/current_max")
        return SupplyReading(
            supply_a=None if now is None else now / 1e6,
            supply_max_ma=None if most is None else most // 1000,
        )


def find(tree: Tree) -> Inventory:
    """The HAT, where its driver is loaded."""
    if not tree.exists(FOLDER):
        return Inventory()
    supply, notes = usable([PoeHat(tree)], GRANT)
    return Inventory(supply=supply, notes=(*notes, NO_WATTS))
