"""Whether the board is hard pressed, and in words why. Pure.

Strained is a board that is fed too little, held down by its firmware, too hot, or low on the battery that it
runs on: the daemon may then use fewer threads, take fewer requests, and does not change models. A sensor that
ceased to answer is told beside it and strains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from edge_agent.settings.board_sections import PowerSettings
from edge_agent.telemetry.reading import BatteryReading, SupplyReading

COOLING_CELSIUS = 5.0
"""So far below ``hot_celsius`` a hot processor is well again."""


class Press(str, Enum):
    """A way of being hard pressed."""

    UNDER_VOLTAGE = "under-voltage"
    THROTTLED = "throttled"
    FREQUENCY_CAPPED = "frequency-capped"
    SOFT_LIMIT = "soft-temperature-limit"
    HOT = "hot"
    LOW_BATTERY = "low-battery"


@dataclass(frozen=True, slots=True)
class Strain:
    """How hard pressed the board is.

    Attributes:
        presses: what presses it.
        faults: sensors that do not answer, in words.
        reasons: everything in words, for ``health``.
    """

    presses: frozenset[Press] = frozenset()
    faults: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def is_strained(self) -> bool:
        """Whether the daemon should ask less of the board."""
        return bool(self.presses)

    def differs(self, other: Strain) -> bool:
        """Whether something else presses or fails; other words, such as another temperature, do not count."""
        return self.presses != other.presses or self.faults != other.faults


def judge_strain(
    supply: SupplyReading,
    temperature_c: float | None,
    batteries: Mapping[str, BatteryReading],
    settings: PowerSettings,
    *,
    before: Strain,
    faults: Iterable[str] = (),
) -> Strain:
    """What presses the board now.

    Args:
        supply: what the supply's sources say.
        temperature_c: °C of the processor's hottest zone, or None: then it stays as hot as it was.
        batteries: by name.
        settings: how hot is too hot, how low too low.
        before: the judgement before this one.
        faults: sensors that do not answer, in words.
    """
    pressing = {**_of_supply(supply), **_of_heat(temperature_c, settings, Press.HOT in before.presses)}
    low = [
        f"battery {name}: {reading.percent:.0f} % and drawn from"
        for name, reading in sorted(batteries.items())
        if _is_low(reading, settings)
    ]
    told = tuple(faults)
    presses = frozenset(pressing) | ({Press.LOW_BATTERY} if low else set())
    return Strain(presses, told, (*pressing.values(), *low, *told))


def _of_supply(supply: SupplyReading) -> dict[Press, str]:
    volts = "" if supply.supply_v is None else f" ({supply.supply_v:.2f} V at the input)"
    told = {
        Press.UNDER_VOLTAGE: (supply.under_voltage, f"power: under-voltage{volts}; use a stronger supply"),
        Press.THROTTLED: (supply.throttled, "power: the firmware throttles the processor"),
        Press.FREQUENCY_CAPPED: (supply.frequency_capped, "power: the firmware caps the processor's clock"),
        Press.SOFT_LIMIT: (supply.soft_temperature_limit, "heat: the firmware slows down for heat"),
    }
    return {press: words for press, (is_so, words) in told.items() if is_so}


def _of_heat(temperature_c: float | None, settings: PowerSettings, was_hot: bool) -> dict[Press, str]:
    if temperature_c is None:
        return {Press.HOT: "heat: the processor was too hot when last seen"} if was_hot else {}
    limit = settings.hot_celsius - (COOLING_CELSIUS if was_hot else 0.0)
    # At the limit it becomes hot; well again it is only 5 °C below, not on the way.
    is_hot = temperature_c > limit if was_hot else temperature_c >= limit
    words = f"heat: the processor is at {temperature_c:.0f} °C; {settings.hot_celsius:.0f} °C is too hot"
    return {Press.HOT: words} if is_hot else {}


def _is_low(reading: BatteryReading, settings: PowerSettings) -> bool:
    is_drawn = bool(reading.on_battery)
    return is_drawn and reading.percent is not None and reading.percent <= settings.low_battery_percent
