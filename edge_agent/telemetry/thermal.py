"""Temperatures: thermal zones (Documentation/driver-api/thermal/sysfs-api.rst) and hwmon chips, in °C.

Both give millidegrees. A zone that is switched off reads −256 °C on Jetson, or fails with EAGAIN: it is left
out, that is no fault. A zone that a hwmon chip of the same name shows too (``cpu-thermal``, ``cpu_thermal``)
is read once. The processor's temperature is that of its hottest zone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.telemetry.reading import SensorError
from edge_agent.telemetry.sysfs import Tree

_ZONES = "sys/class/thermal"
_ZONE = re.compile(r"thermal_zone\d+")
_INPUT = re.compile(r"(temp\d+)_input")
_LOWEST, _HIGHEST = -100_000, 200_000
_PROCESSOR = re.compile(r"cpu|gpu|soc|pkg|package|core|k10temp|zenpower|npu|^cv\d|^tj\b", re.IGNORECASE)
"""Zones of the processor by their names on Raspberry Pi, Jetson, Rockchip, Allwinner, Amlogic, Intel and AMD.

Not among them: ``PMIC-Die``, which always reads 100 °C on Jetson; boards, disks, radios, the RP1.
"""


@dataclass(frozen=True, slots=True)
class Thermometer:
    """One temperature's name, its file, and whether it is the processor's."""

    name: str
    path: str
    is_processor: bool


def find_thermometers(tree: Tree) -> tuple[Thermometer, ...]:
    """The thermometers of a machine; two of one name are told apart by a number."""
    chips = [(label, path) for chip in tree.hwmon() for label, path in _inputs(tree, chip.folder, chip.name)]
    seen = {_plain(label) for label, _ in chips}
    zones = []
    for entry in tree.names(_ZONES):
        if _ZONE.fullmatch(entry):
            name = _label(tree, f"{_ZONES}/{entry}/type") or entry
            if _plain(name) not in seen:
                zones.append((name, f"{_ZONES}/{entry}/temp"))
    has_processor = any(_PROCESSOR.search(name) for name, _ in [*zones, *chips])
    found: dict[str, Thermometer] = {}
    for name, path in [*zones, *chips]:
        is_zone = path.startswith(_ZONES)
        is_processor = bool(_PROCESSOR.search(name)) if has_processor else is_zone
        unique = _unique(name, found)
        found[unique] = Thermometer(unique, path, is_processor)
    return tuple(found.values())


def read_temperatures(tree: Tree, thermometers: tuple[Thermometer, ...]) -> Mapping[str, float]:
    """°C by name; what is switched off or does not answer is left out.

    Raises:
        SensorError: none answers, and one of them is broken.
    """
    found: dict[str, float] = {}
    broken: SensorError | None = None
    for thermometer in thermometers:
        try:
            value = tree.number(thermometer.path)
        except SensorError as error:
            broken = broken or error
            continue
        if value is not None and _LOWEST < value < _HIGHEST:
            found[thermometer.name] = value / 1000
    if broken is not None and not found:
        raise broken
    return found


def hottest_processor(
    thermometers: tuple[Thermometer, ...], temperatures: Mapping[str, float]
) -> float | None:
    """°C of the processor's hottest zone, or None."""
    return max(
        (temperatures[t.name] for t in thermometers if t.is_processor and t.name in temperatures),
        default=None,
    )


def _inputs(tree: Tree, folder: str, chip: str) -> list[tuple[str, str]]:
    found = []
    for entry in tree.names(folder):
        match = _INPUT.fullmatch(entry)
        if match:
            label = _label(tree, f"{folder}/{match[1]}_label")
            name = f"{chip} {label}" if label else chip
            found.append((name, f"{folder}/{entry}"))
    return found


def _label(tree: Tree, path: str) -> str | None:
    try:
        return tree.text(path)
    except SensorError:
        return None


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _unique(name: str, taken: Mapping[str, object]) -> str:
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name} {number}", number + 1
    return unique
