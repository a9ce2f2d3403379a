"""The Raspberry Pi firmware's flags: under-voltage, capped clock, throttling, heat; now and since boot.

``get_throttled`` answers ``throttled=0x50005``. Bits 0 to 3: under-voltage, frequency capped, throttled, soft
temperature limit, now; bits 16 to 19: the same since boot (raspberrypi/documentation, graphics-utilities).
Whether the kernel's own polling clears what this answers is not settled, so the agent keeps its own latch.
Where there is no mailbox, older kernels have a file with the same bits; it has been seen to say 0 while
``vcgencmd`` said otherwise (raspberrypi/linux#2367), so it is the second choice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_agent.telemetry.power.mailbox import REMEDY, Firmware
from edge_agent.telemetry.power.trial import GRANT, usable
from edge_agent.telemetry.reading import Inventory, SensorError, SupplyReading
from edge_agent.telemetry.sysfs import Tree

COMMAND = "get_throttled"
LEGACY_FILE = "sys/devices/platform/soc/soc:firmware/get_throttled"

_ANSWER = re.compile(r"\s*throttled=0x([0-9a-fA-F]{1,8})\s*", re.ASCII)
_HEX = re.compile(r"(?:0x)?([0-9a-fA-F]{1,8})", re.ASCII)


def from_bits(bits: int) -> SupplyReading:
    """What the firmware's flags say."""

    def on(bit: int) -> bool:
        return bool(bits >> bit & 1)

    return SupplyReading(
        under_voltage=on(0),
        under_voltage_since_boot=on(16),
        frequency_capped=on(1),
        frequency_capped_since_boot=on(17),
        throttled=on(2),
        throttled_since_boot=on(18),
        soft_temperature_limit=on(3),
        soft_temperature_limit_since_boot=on(19),
    )


def parse(text: str) -> SupplyReading:
    """Read the answer of ``get_throttled``.

    Raises:
        SensorError: it is something else.
    """
    found = _ANSWER.fullmatch(text)
    if not found:
        raise SensorError("firmware: no flags in the answer to get_throttled")
    return from_bits(int(found[1], 16))


def parse_legacy(text: str) -> SupplyReading:
    """Read the old file: hexadecimal, without a prefix.

    Raises:
        SensorError: it is something else.
    """
    found = _HEX.fullmatch(text)
    if not found:
        raise SensorError(f"/{LEGACY_FILE}: it holds no flags")
    return from_bits(int(found[1], 16))


@dataclass(frozen=True, slots=True)
class Throttling:
    """The flags by the mailbox."""

    firmware: Firmware

    name = "firmware"

    def read(self) -> SupplyReading:
        """A look now.

        Raises:
            SensorError: the firmware did not answer, or not with flags.
        """
        return parse(self.firmware.ask(COMMAND))


@dataclass(frozen=True, slots=True)
class LegacyThrottling:
    """The flags by the old file."""

    tree: Tree

    name = "firmware"

    def read(self) -> SupplyReading:
        """A look now; nothing is known where the file is gone.

        Raises:
            SensorError: it cannot be read.
        """
        text = self.tree.text(LEGACY_FILE)
        return SupplyReading() if text is None else parse_legacy(text)


def find(tree: Tree, firmware: Firmware | None) -> Inventory:
    """The flags by the best way that works."""
    notes: tuple[str, ...] = ()
    if firmware is not None:
        supply, notes = usable([Throttling(firmware)], REMEDY)
        if supply:
            return Inventory(supply=supply, notes=notes)
    if not tree.exists(LEGACY_FILE):
        return Inventory(notes=notes)
    legacy, more = usable([LegacyThrottling(tree)], GRANT)
    return Inventory(supply=legacy, notes=notes + more)
