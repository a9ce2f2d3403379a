"""TI's INA219 and its like on an I²C bus: one shunt, one bus voltage (hwmon).

``in1_input`` bus mV, ``curr1_input`` mA, ``power1_input`` µW, ``shunt_resistor`` µΩ, ``update_interval`` ms
(Documentation/hwmon/ina2xx.rst, ina238.rst). The chip's power has no sign, and the current's depends on which
way round the chip was wired; so watts are a magnitude. A wrong ``shunt_resistor`` scales current and power
without any error: ``shunts`` lets `info` tell it.

One such chip is taken to sit at the board's input, as power-meter HATs do. With several nobody knows which
one does: none is the total then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.telemetry.power.trial import GRANT, usable
from edge_agent.telemetry.reading import Inventory, PowerReading, Quality, Scope, SensorError
from edge_agent.telemetry.sysfs import Tree

DRIVERS = (
    *("ina219", "ina220", "ina226", "ina230", "ina231", "ina234", "ina237", "ina238", "ina260"),
    "sy24655",
)
UPDATE_SECONDS = 0.1

Look = Callable[[], "int | None"]


@dataclass(frozen=True, slots=True)
class Ina2xx:
    """One chip.

    Attributes:
        tree: the machine's files.
        folder: its hwmon folder.
        chip: its driver's name, such as ``ina226``.
    """

    tree: Tree
    folder: str
    chip: str

    name = "ina2xx"
    scope = Scope.BOARD_INPUT
    quality = Quality.MEASURED

    @property
    def update_seconds(self) -> float:
        """What the driver says of its averaging, else a tenth of a second."""
        milliseconds = self._number_or_none("update_interval")
        return milliseconds / 1000 if milliseconds and milliseconds > 0 else UPDATE_SECONDS

    @property
    def shunt_ohms(self) -> float | None:
        """The resistor that the driver reckons with, in ohms; None where the chip has its own."""
        microohms = self._number_or_none("shunt_resistor")
        return microohms / 1e6 if microohms and microohms > 0 else None

    @property
    def measures_power(self) -> bool:
        """Whether there is a power, or a current beside the voltage."""
        return any(self.tree.exists(f"{self.folder}/{file}") for file in ("power1_input", "curr1_input"))

    def bus_volts(self) -> float | None:
        """Volts behind the shunt, or None where the chip does not tell.

        Raises:
            SensorError: it cannot be read.
        """
        millivolts = self.tree.number(f"{self.folder}/in1_input")
        return None if millivolts is None else millivolts / 1000

    def microwatts(self) -> int | None:
        """The magnitude of the power in µW, or None where the chip measures only a voltage.

        Raises:
            SensorError: it cannot be read.
        """
        power = self.tree.number(f"{self.folder}/power1_input")
        if power is not None:
            return abs(power)
        millivolts = self.tree.number(f"{self.folder}/in1_input")
        milliamperes = self.tree.number(f"{self.folder}/curr1_input")
        return None if millivolts is None or milliamperes is None else abs(millivolts * milliamperes)

    def read(self) -> PowerReading:
        """A look now.

        Raises:
            SensorError: it cannot be read.
        """
        microwatts = self.microwatts()
        return PowerReading(None if microwatts is None else microwatts / 1e6)

    def _number_or_none(self, file: str) -> int | None:
        try:
            return self.tree.number(f"{self.folder}/{file}")
        except SensorError:
            return None


def chips(tree: Tree, *drivers: str) -> tuple[Ina2xx, ...]:
    """All chips of these drivers."""
    return tuple(Ina2xx(tree, found.folder, found.name) for found in tree.hwmon(*drivers))


def shunts(tree: Tree) -> tuple[tuple[str, float], ...]:
    """Name and shunt resistor in ohms of every chip whose driver tells it, for `info`."""
    told = ((chip.chip, chip.shunt_ohms) for chip in chips(tree, *DRIVERS))
    return tuple((name, ohms) for name, ohms in told if ohms is not None)


def find(tree: Tree) -> Inventory:
    """The one chip that measures a power; on a Jetson ask ``ina3221``, which knows what its chips are for."""
    found = chips(tree, *DRIVERS)
    measuring = [chip for chip in found if chip.measures_power]
    silent = tuple(
        f"ina2xx: the {chip.chip} tells a voltage and no current, so no watts."
        for chip in found
        if not chip.measures_power
    )
    if len(measuring) > 1:
        names = ", ".join(chip.chip for chip in measuring)
        return Inventory(
            notes=(*silent, f"ina2xx: of several chips ({names}) nobody knows which is at the board's input.")
        )
    power, notes = usable(measuring, GRANT)
    return Inventory(power=power, notes=silent + notes)
