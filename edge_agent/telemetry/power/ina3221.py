"""NVIDIA Jetson's INA3221 chips, three channels each, in both layouts of the kernel.

* JetPack 4 (driver ``ina3221x``, IIO): ``rail_name_K``, ``in_voltageK_input`` mV, ``in_currentK_input`` mA,
  ``in_powerK_input`` **mW**, K from 0 to 2.
* JetPack 5 and later (driver ``ina3221``, hwmon; Documentation/hwmon/ina3221.rst): ``inK_label``,
  ``inK_input`` mV, ``currK_input`` mA, ``inK_enable``, K from 1 to 3. There is no ``powerK_input``; ``in4``
  to ``in7`` are the shunts' µV and their sum, no rails.

Channels labelled ``NC``, without a label, or disabled are no rails. A rail's watts keep their sign: Thor's
``VDD_GPU`` has been seen at −0.4 W at rest, an offset of the chip. ``jetson_rails`` says what is a total.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from edge_agent.telemetry.power import ina2xx
from edge_agent.telemetry.power.jetson_rails import UNCONNECTED, Total, total_of
from edge_agent.telemetry.power.trial import usable
from edge_agent.telemetry.reading import Inventory, PowerReading, Quality, Scope, SensorDenied, SensorError
from edge_agent.telemetry.sysfs import Tree

DRIVERS = "sys/bus/i2c/drivers"
VIN = "VIN"
UPDATE_SECONDS = 0.1
REMEDY = "Some JetPacks let only root read it: give the files to the group of the service by a udev rule."

_CHIP = re.compile(r"[0-9]+-[0-9a-f]{4}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Channel:
    """One rail: its files, absent ones included.

    Attributes:
        label: as the board names it.
        milliwatts: file with its power, or None where the layout has none.
        millivolts: file with its voltage.
        milliamperes: file with its current.
        enable: file that says 0 where the channel is switched off, or None.
    """

    label: str
    milliwatts: str | None
    millivolts: str
    milliamperes: str
    enable: str | None = None

    def microwatts(self, tree: Tree) -> int | None:
        """The rail's power now; None where it is switched off or has no current.

        Raises:
            SensorError: it cannot be read.
        """
        if self.enable and tree.number(self.enable) == 0:
            return None
        if self.milliwatts:
            power = tree.number(self.milliwatts)
            if power is not None:
                return power * 1000
        volts, amperes = tree.number(self.millivolts), tree.number(self.milliamperes)
        return None if volts is None or amperes is None else volts * amperes


class Ina3221:
    """A Jetson's rails as a power source.

    Args:
        tree: the machine's files.
        channels: its rails.
        vin: the INA238 at a Thor's input, or None.
    """

    quality = Quality.MEASURED
    update_seconds = UPDATE_SECONDS

    def __init__(self, tree: Tree, channels: tuple[Channel, ...], vin: ina2xx.Ina2xx | None = None) -> None:
        self._tree = tree
        self._channels = channels
        self._vin = vin
        labels = [channel.label for channel in channels] + ([VIN] if vin else [])
        self._total: Total | None = total_of(labels)

    @property
    def name(self) -> str:
        """The kind of chip that the total comes from."""
        return self._vin.name if self._vin else "ina3221"

    @property
    def scope(self) -> Scope:
        """What the total covers; of unknown boards only rails are known."""
        return self._total.scope if self._total else Scope.RAILS_PARTIAL

    @property
    def knows_total(self) -> bool:
        """Whether it is known which rails add up on this board."""
        return self._total is not None

    def read(self) -> PowerReading:
        """A look now. A rail that cannot be read and is not part of the total is left out.

        Raises:
            SensorError: a rail of the total, or every rail, cannot be read.
        """
        rails: dict[str, int] = {}
        broken: dict[str, SensorError] = {}
        for label, look in self._looks():
            try:
                microwatts = look()
            except SensorError as error:
                broken[label] = error
                continue
            if microwatts is not None:
                rails[label] = microwatts
        if broken and not rails:
            raise next(iter(broken.values()))
        total = self._sum(rails, broken)
        return PowerReading(
            None if total is None else total / 1e6,
            rails={label: microwatts / 1e6 for label, microwatts in rails.items()},
        )

    def _looks(self) -> Iterator[tuple[str, ina2xx.Look]]:
        if self._vin:
            yield VIN, self._vin.microwatts
        for channel in self._channels:
            yield channel.label, partial(channel.microwatts, self._tree)

    def _sum(self, rails: dict[str, int], broken: dict[str, SensorError]) -> int | None:
        if self._total is None:
            return None
        for label in self._total.rails:
            if label in broken:
                raise broken[label]
            if label not in rails:
                return None
        return sum(rails[label] for label in self._total.rails)


def find(tree: Tree) -> Inventory:
    """The rails of a Jetson, where it has the chips."""
    try:
        channels = _unique([*_iio_channels(tree), *_hwmon_channels(tree)])
    except SensorDenied as error:
        return Inventory(notes=(f"ina3221: {error}. {REMEDY}",))
    if not channels:
        return Inventory()
    inputs = ina2xx.chips(tree, "ina238")
    source = Ina3221(tree, channels, inputs[0] if len(inputs) == 1 else None)
    power, notes = usable([source], REMEDY)
    if not source.knows_total:
        names = ", ".join(channel.label for channel in channels)
        return Inventory(
            notes=(*notes, f"ina3221: it is not known which of the rails {names} make this board's total.")
        )
    return Inventory(power=power, notes=notes)


def _chips(tree: Tree, driver: str) -> Iterator[str]:
    for name in tree.names(f"{DRIVERS}/{driver}"):
        if _CHIP.fullmatch(name):
            yield f"{DRIVERS}/{driver}/{name}"


def _iio_channels(tree: Tree) -> Iterator[Channel]:
    for chip in _chips(tree, "ina3221x"):
        for device in tree.names(chip):
            if not device.startswith("iio:device"):
                continue
            for number in range(3):
                base = f"{chip}/{device}"
                label = _label(tree, f"{base}/rail_name_{number}")
                if label:
                    yield Channel(
                        label,
                        f"{base}/in_power{number}_input",
                        f"{base}/in_voltage{number}_input",
                        f"{base}/in_current{number}_input",
                    )


def _hwmon_channels(tree: Tree) -> Iterator[Channel]:
    for chip in _chips(tree, "ina3221"):
        for device in tree.names(f"{chip}/hwmon"):
            for number in range(1, 4):
                base = f"{chip}/hwmon/{device}"
                label = _label(tree, f"{base}/in{number}_label")
                if label:
                    yield Channel(
                        label,
                        None,
                        f"{base}/in{number}_input",
                        f"{base}/curr{number}_input",
                        f"{base}/in{number}_enable",
                    )


def _label(tree: Tree, path: str) -> str | None:
    try:
        label = tree.text(path)
    except SensorDenied:
        raise
    except SensorError:
        return None
    return None if label == UNCONNECTED else label


def _unique(channels: list[Channel]) -> tuple[Channel, ...]:
    """One channel of each label: the first."""
    first: dict[str, Channel] = {}
    for channel in channels:
        first.setdefault(channel.label, channel)
    return tuple(first.values())
