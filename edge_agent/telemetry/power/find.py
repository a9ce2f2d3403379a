"""Which sensors this board has, the best first, with notes on those that are there and cannot be used.

The order of power sources: what is part of the board's design (Jetson, Raspberry Pi 5), then one INA2xx chip,
which is only taken to sit at the input, then the processor's counters, then the owner's estimate, and last a
battery, which can tell only while it is drawn from. Only the first is the total, so nothing is counted twice.
Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.telemetry.power import (
    battery,
    ina2xx,
    ina3221,
    pmic,
    poe,
    psu,
    rapl,
    rpi_volt,
    throttling,
)
from edge_agent.telemetry.power.estimate import Estimate
from edge_agent.telemetry.power.mailbox import Firmware, Mailbox
from edge_agent.telemetry.reading import Inventory, SensorError
from edge_agent.telemetry.sysfs import Tree

NO_MAILBOX = (
    "firmware: this Raspberry Pi shows neither /dev/vcio_gencmd nor /dev/vcio, so its throttling, and the "
    "rails of a Pi 5, are unknown. PrivateDevices= in the unit would hide them, without BindPaths= for them."
)


def find_sensors(
    tree: Tree,
    *,
    firmware: Firmware | None = None,
    estimate: Estimate | None = None,
) -> Inventory:
    """Look for every sensor that this package knows, asking each once.

    Args:
        tree: the machine's files.
        firmware: who answers for a Raspberry Pi's firmware; the mailbox of the tree where None.
        estimate: what the owner's settings reckon with; used where nothing measures all the time.
    """
    asked = firmware or _mailbox(tree)
    parts = [*_boards(tree, asked), rapl.find(tree)]
    if estimate is not None:
        parts.append(Inventory(power=(estimate,)))
    parts.append(battery.find(tree))
    flags = throttling.find(tree, asked)
    parts += [rpi_volt.find(tree), flags, psu.find(tree), poe.find(tree)]
    if asked is None and not flags.supply and _is_raspberry_pi(tree):
        parts.append(Inventory(notes=(NO_MAILBOX,)))
    return joined(parts)


def joined(parts: list[Inventory]) -> Inventory:
    """Several inventories as one, in their order."""
    return Inventory(
        power=tuple(source for part in parts for source in part.power),
        supply=tuple(source for part in parts for source in part.supply),
        batteries=tuple(source for part in parts for source in part.batteries),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _boards(tree: Tree, firmware: Firmware | None) -> Iterator[Inventory]:
    jetson = ina3221.find(tree)
    yield jetson
    if firmware is not None:
        yield pmic.find(tree, firmware)
    if not jetson.power:
        yield ina2xx.find(tree)


def _mailbox(tree: Tree) -> Mailbox | None:
    mailbox = Mailbox(tree)
    return mailbox if mailbox.present() else None


def _is_raspberry_pi(tree: Tree) -> bool:
    try:
        return (tree.text(pmic.MODEL) or "").startswith("Raspberry Pi")
    except SensorError:
        return False
