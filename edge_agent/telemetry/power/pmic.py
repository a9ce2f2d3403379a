"""The Raspberry Pi 5's power-management chip (DA9091): twelve rails with current and voltage.

``pmic_read_adc`` lists ``<rail>_A current(n)=…A`` and ``<rail>_V volt(n)=…V``. The sum of the rails leaves
out what hangs on USB, HATs and the 5 V pins, and the converters' own loss; so its scope is ``pmic-rails``.
``EXT5V_V`` is the voltage at the 5 V input and ``BATT_V`` that of the clock's cell: neither has a current.
Pi 4 and older have no such chip: the firmware says that the command is not registered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.telemetry.power.mailbox import REMEDY, Firmware
from edge_agent.telemetry.power.trial import usable
from edge_agent.telemetry.reading import (
    Inventory,
    PowerReading,
    Quality,
    Scope,
    SensorError,
    SupplyReading,
)
from edge_agent.telemetry.sysfs import Tree

COMMAND = "pmic_read_adc"
MODEL = "proc/device-tree/model"
UPDATE_SECONDS = 0.1

_BOARD = re.compile(r"Raspberry Pi (?:5|Compute Module 5)")  # the 500 too
_LINE = re.compile(
    r"[ \t]*(?P<rail>\w{1,32})_(?P<kind>[AV])[ \t]+(?:current|volt)\([0-9]{1,3}\)="
    r"(?P<value>-?[0-9]{1,6}(?:\.[0-9]{1,12})?)(?P<unit>[AV])[ \t\r]*",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class PmicReading:
    """What the chip said.

    Attributes:
        rails: watts by rail, of those that have both current and voltage.
        input_v: volts at the board's 5 V input, or None.
    """

    rails: Mapping[str, float]
    input_v: float | None

    @property
    def power_w(self) -> float:
        """Sum of the rails in watts."""
        return sum(self.rails.values())


def known(text: str) -> bool:
    """Whether the firmware knows the command at all."""
    return "not registered" not in text


def parse(text: str) -> PmicReading:
    """Pair the rails of an answer.

    Raises:
        SensorError: it is an error, has no rail, or is cut off: a rail has a current and no voltage.
    """
    if text.lstrip().startswith("error="):
        raise SensorError("pmic: the firmware answered with an error")
    amperes: dict[str, float] = {}
    volts: dict[str, float] = {}
    for line in text.split("\n"):
        found = _LINE.fullmatch(line)
        if found and found["kind"] == found["unit"]:
            (amperes if found["kind"] == "A" else volts)[found["rail"]] = float(found["value"])
    if not amperes:
        raise SensorError("pmic: no rail in the answer")
    if not amperes.keys() <= volts.keys():
        raise SensorError("pmic: the answer is cut off")
    rails = {rail: round(current * volts[rail], 6) for rail, current in amperes.items()}
    return PmicReading(rails, volts.get("EXT5V"))


@dataclass(frozen=True, slots=True)
class PmicRails:
    """The sum of the rails as a power source."""

    firmware: Firmware

    name = "pmic"
    scope = Scope.PMIC_RAILS
    quality = Quality.MEASURED
    update_seconds = UPDATE_SECONDS

    def read(self) -> PowerReading:
        """A look now.

        Raises:
            SensorError: the firmware did not answer, or not with all rails.
        """
        reading = parse(self.firmware.ask(COMMAND))
        return PowerReading(round(reading.power_w, 6), rails=reading.rails)


@dataclass(frozen=True, slots=True)
class PmicInput:
    """The voltage at the 5 V input."""

    firmware: Firmware

    name = "pmic"

    def read(self) -> SupplyReading:
        """A look now.

        Raises:
            SensorError: the firmware did not answer, or not with all rails.
        """
        return SupplyReading(supply_v=parse(self.firmware.ask(COMMAND)).input_v)


def find(tree: Tree, firmware: Firmware) -> Inventory:
    """The chip, where the firmware knows it, or where the board has one and only did not answer now."""
    if not _present(tree, firmware):
        return Inventory()
    power, notes = usable([PmicRails(firmware)], REMEDY)
    return Inventory(power=power, supply=(PmicInput(firmware),) if power else (), notes=notes)


def _present(tree: Tree, firmware: Firmware) -> bool:
    try:
        return known(firmware.ask(COMMAND))
    except SensorError:
        pass
    try:
        return bool(_BOARD.search(tree.text(MODEL) or ""))
    except SensorError:
        return False
