"""Fans of hwmon chips: turns a minute, and how hard they are driven.

``fanN_input`` is in turns a minute and ``pwmN`` 0 to 255 (Documentation/hwmon/sysfs-interface.rst). Jetson's
``pwm_tach`` has its turns in a file ``rpm``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_agent.telemetry.reading import SensorError
from edge_agent.telemetry.sysfs import Tree

_TURNS = re.compile(r"fan(\d+)_input|rpm")
_DRIVE = re.compile(r"pwm(\d+)")
_FULL_DRIVE = 255


@dataclass(frozen=True, slots=True)
class Fan:
    """Where one fan is read.

    Attributes:
        name: the chip's, with a number from its second fan on.
        rpm_path: the file of its turns, or None.
        pwm_path: the file of its drive, or None.
    """

    name: str
    rpm_path: str | None
    pwm_path: str | None


@dataclass(frozen=True, slots=True)
class FanReading:
    """One look at a fan; None is unknown.

    Attributes:
        name: of the fan.
        rpm: turns a minute; 0 is a fan that stands still.
        drive_percent: how hard it is driven.
    """

    name: str
    rpm: int | None
    drive_percent: float | None


def find_fans(tree: Tree) -> tuple[Fan, ...]:
    """The fans of a machine."""
    found = []
    for chip in tree.hwmon():
        turns: dict[str, str] = {}
        drives: dict[str, str] = {}
        for entry in tree.names(chip.folder):
            if match := _TURNS.fullmatch(entry):
                turns[match[1] or "1"] = f"{chip.folder}/{entry}"
            elif match := _DRIVE.fullmatch(entry):
                drives[match[1]] = f"{chip.folder}/{entry}"
        for number in sorted({*turns, *drives}):
            name = chip.name if number == "1" else f"{chip.name} {number}"
            found.append(Fan(name, turns.get(number), drives.get(number)))
    return tuple(found)


def read_fans(tree: Tree, fans: tuple[Fan, ...]) -> tuple[FanReading, ...]:
    """What the fans do; one that says nothing is left out."""
    readings = []
    for fan in fans:
        rpm, drive = _number(tree, fan.rpm_path), _number(tree, fan.pwm_path)
        percent = round(drive / _FULL_DRIVE * 100, 1) if drive is not None and drive <= _FULL_DRIVE else None
        if rpm is not None or percent is not None:
            readings.append(FanReading(fan.name, rpm, percent))
    return tuple(readings)


def _number(tree: Tree, path: str | None) -> int | None:
    try:
        value = None if path is None else tree.number(path)
    except SensorError:
        return None
    return None if value is None or value < 0 else value
