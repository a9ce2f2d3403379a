"""The kernel's under-voltage alarm on Raspberry Pis (hwmon ``rpi_volt``), readable by everybody.

The driver asks the firmware every two seconds and clears the sticky bits; ``in0_lcrit_alarm`` is 1 where the
supply was too low since its poll before (drivers/hwmon/raspberrypi-hwmon.c). ``in0_input`` to ``in3_input``
of kernels of 2026 are the core's and the memory's voltages, **not** the supply's: they are not read.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.telemetry.power.trial import GRANT, usable
from edge_agent.telemetry.reading import Inventory, SensorError, SupplyReading
from edge_agent.telemetry.sysfs import Tree

DRIVER = "rpi_volt"


@dataclass(frozen=True, slots=True)
class RpiVolt:
    """The alarm in one hwmon folder."""

    tree: Tree
    folder: str

    name = DRIVER

    def read(self) -> SupplyReading:
        """A look now.

        Raises:
            SensorError: the alarm is neither 0 nor 1, or cannot be read.
        """
        alarm = self.tree.number(f"{self.folder}/in0_lcrit_alarm")
        if alarm not in (0, 1, None):
            raise SensorError(f"/{self.folder}/in0_lcrit_alarm: neither 0 nor 1")
        return SupplyReading(under_voltage=None if alarm is None else bool(alarm))


def find(tree: Tree) -> Inventory:
    """The alarm, where the driver is loaded."""
    sources = [RpiVolt(tree, chip.folder) for chip in tree.hwmon(DRIVER)]
    supply, notes = usable(sources, GRANT)
    return Inventory(supply=supply, notes=notes)
