"""What sensors say: values with their source and scope. Pure; what is unknown is None, never 0.

The rules of honest energy: every figure names where it comes from and what it covers; a parent rail and its
children are never added; an estimate is called one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class SensorError(Exception):
    """A sensor that is there could not be read now; the message says which and why, without values."""


class SensorDenied(SensorError):
    """A sensor that this user may not read: asking again is in vain until somebody grants the right."""


class Scope(str, Enum):
    """What a power figure covers."""

    BOARD_INPUT = "board-input"
    MODULE = "module"
    RAILS_PARTIAL = "rails-partial"
    PMIC_RAILS = "pmic-rails"
    SOC = "soc"


class Quality(str, Enum):
    """Whether a figure was measured or reckoned from what the owner told."""

    MEASURED = "measured"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class PowerReading:
    """One look at a power source.

    Attributes:
        power_w: total in watts, by the rule of the board; None where only energy is counted, or unknown.
        energy_j: joules since some fixed moment, from a hardware counter, wraps undone.
        rails: watts by rail as the board names them; parents stand beside children, they are no sum.
    """

    power_w: float | None
    energy_j: float | None = None
    rails: Mapping[str, float] = field(default_factory=dict)


class PowerSource(Protocol):
    """One way to measure what this machine draws."""

    @property
    def name(self) -> str:
        """Kind of sensor: ``pmic``, ``ina3221``, ``ina2xx``, ``rapl``, ``battery``, ``estimate``."""

    @property
    def scope(self) -> Scope:
        """What the total covers."""

    @property
    def quality(self) -> Quality:
        """Measured or estimated."""

    @property
    def update_seconds(self) -> float:
        """How often the sensor itself has a new value; a shorter window means nothing."""

    def read(self) -> PowerReading:
        """A look now.

        Raises:
            SensorError: it could not be read.
        """


@dataclass(frozen=True, slots=True)
class SupplyReading:
    """One look at the supply and at what the firmware does about it; None is unknown.

    Attributes:
        under_voltage: now, or since the look before.
        under_voltage_since_boot: as the firmware remembers it.
        frequency_capped: the firmware holds the clock down.
        throttled: the firmware throttles now.
        soft_temperature_limit: the firmware slows down for heat.
        throttled_since_boot: as the firmware remembers it.
        supply_v: volts at the board's input.
        supply_max_ma: what the supply promised, in milliamperes.
        supply_a: amperes at the board's input, where they are told without volts.
    """

    under_voltage: bool | None = None
    under_voltage_since_boot: bool | None = None
    frequency_capped: bool | None = None
    frequency_capped_since_boot: bool | None = None
    throttled: bool | None = None
    throttled_since_boot: bool | None = None
    soft_temperature_limit: bool | None = None
    soft_temperature_limit_since_boot: bool | None = None
    supply_v: float | None = None
    supply_max_ma: int | None = None
    supply_a: float | None = None


class SupplySource(Protocol):
    """One way to hear of under-voltage and throttling."""

    @property
    def name(self) -> str:
        """Kind of sensor: ``rpi_volt``, ``firmware``, ``pmic``, ``psu``, ``poe``."""

    def read(self) -> SupplyReading:
        """A look now.

        Raises:
            SensorError: it could not be read.
        """


@dataclass(frozen=True, slots=True)
class BatteryReading:
    """One look at a battery or a UPS; None is unknown.

    Attributes:
        percent: charge, 0 to 100.
        on_battery: whether it is being drawn from; None where that is not said.
        power_w: drawn from it, or into it, in watts; never negative.
        hours_left: at this rate.
    """

    percent: float | None = None
    on_battery: bool | None = None
    power_w: float | None = None
    hours_left: float | None = None


class BatterySource(Protocol):
    """A battery or UPS of this machine."""

    @property
    def name(self) -> str:
        """As the kernel names it: ``BAT0``."""

    def read(self) -> BatteryReading:
        """A look now.

        Raises:
            SensorError: it could not be read.
        """


@dataclass(frozen=True, slots=True)
class Inventory:
    """The sensors that this machine has, in order of preference.

    Attributes:
        power: the best first; only the first is the total, so that nothing is counted twice.
        supply: all of them; what any says holds.
        batteries: all of them.
        notes: sensors that are there and cannot be used, with the reason and remedy in words, for ``check``.
    """

    power: tuple[PowerSource, ...] = ()
    supply: tuple[SupplySource, ...] = ()
    batteries: tuple[BatterySource, ...] = ()
    notes: tuple[str, ...] = ()
