"""Batteries and UPS that the kernel knows: ``/sys/class/power_supply``.

``voltage_now`` µV, ``current_now`` µA (its sign varies by driver), ``power_now`` µW, ``energy_*`` µWh,
``charge_*`` µAh, ``capacity`` percent; ``type`` is Battery, UPS, Mains, USB…; ``scope`` is Device for the
battery of a mouse, which is none of ours (Documentation/ABI/testing/sysfs-class-power).
``ucsi-source-psy-*`` tell what USB-C negotiated and no power (jetson_stats#900): ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from edge_agent.telemetry.power.trial import GRANT, usable
from edge_agent.telemetry.reading import (
    BatteryReading,
    Inventory,
    PowerReading,
    Quality,
    Scope,
    SensorDenied,
    SensorError,
)
from edge_agent.telemetry.sysfs import Tree

T = TypeVar("T")

CLASS = "sys/class/power_supply"
UPDATE_SECONDS = 30.0

_BATTERIES = frozenset({"Battery", "UPS"})
_MAINS = frozenset({"Mains", "USB", "Wireless"})
_NEGOTIATION = "ucsi-source-psy-"
_DRAWN_FROM = {"Discharging": True, "Charging": False, "Full": False, "Not charging": False}


@dataclass(frozen=True, slots=True)
class Gauge:
    """The raw figures of a battery in the kernel's units; None is absent.

    Attributes:
        status: the kernel's word.
        mains: whether some mains or USB supply is there; None where there is none to ask.
        power_uw: µW, of either sign.
        voltage_uv: µV.
        current_ua: µA, of either sign.
        energy_uwh: µWh left.
        energy_full_uwh: µWh when full.
        charge_uah: µAh left.
        charge_full_uah: µAh when full.
        capacity: percent.
    """

    status: str | None = None
    mains: bool | None = None
    power_uw: int | None = None
    voltage_uv: int | None = None
    current_ua: int | None = None
    energy_uwh: int | None = None
    energy_full_uwh: int | None = None
    charge_uah: int | None = None
    charge_full_uah: int | None = None
    capacity: int | None = None


def judge(gauge: Gauge) -> BatteryReading:
    """What the raw figures say. Pure; whatever they are, the answer is within its bounds."""
    on_battery = _DRAWN_FROM.get(gauge.status or "")
    if on_battery is None and gauge.mains is not None:
        on_battery = not gauge.mains
    power_w = _power_w(gauge)
    return BatteryReading(
        percent=_percent(gauge),
        on_battery=on_battery,
        power_w=power_w,
        hours_left=_hours_left(gauge, power_w) if on_battery else None,
    )


def _power_w(gauge: Gauge) -> float | None:
    if gauge.power_uw is not None:
        return abs(gauge.power_uw) / 1e6
    if gauge.voltage_uv is not None and gauge.current_ua is not None:
        return round(abs(gauge.voltage_uv * gauge.current_ua) / 1e12, 6)
    return None


def _percent(gauge: Gauge) -> float | None:
    if gauge.capacity is not None:
        return float(gauge.capacity) if 0 <= gauge.capacity <= 100 else None
    for left, full in (
        (gauge.energy_uwh, gauge.energy_full_uwh),
        (gauge.charge_uah, gauge.charge_full_uah),
    ):
        if left is not None and full and full > 0:
            return round(min(100.0, max(0.0, 100 * left / full)), 1)
    return None


def _hours_left(gauge: Gauge, power_w: float | None) -> float | None:
    if gauge.energy_uwh is not None and gauge.energy_uwh >= 0 and power_w:
        return round(gauge.energy_uwh / 1e6 / power_w, 4)
    if gauge.charge_uah is not None and gauge.charge_uah >= 0 and gauge.current_ua:
        return round(gauge.charge_uah / abs(gauge.current_ua), 4)
    return None


@dataclass(frozen=True, slots=True)
class Battery:
    """One battery or UPS; its name is the kernel's."""

    tree: Tree
    name: str

    def read(self) -> BatteryReading:
        """A look now. A figure that cannot be read is unknown, as long as another can.

        Raises:
            SensorError: none can be read.
        """
        look = _Look(self.tree, f"{CLASS}/{self.name}")
        gauge = Gauge(
            status=look.text("status"),
            mains=mains_online(self.tree),
            power_uw=look.number("power_now"),
            voltage_uv=look.number("voltage_now"),
            current_ua=look.number("current_now"),
            energy_uwh=look.number("energy_now"),
            energy_full_uwh=look.number("energy_full"),
            charge_uah=look.number("charge_now"),
            charge_full_uah=look.number("charge_full"),
            capacity=look.number("capacity"),
        )
        look.raise_if_nothing_was_read()
        return judge(gauge)


class _Look:
    """Reads the files of one battery and remembers whether any could be read."""

    def __init__(self, tree: Tree, folder: str) -> None:
        self._tree = tree
        self._folder = folder
        self._read_any = False
        self._failure: SensorError | None = None

    def text(self, file: str) -> str | None:
        try:
            return self._note(self._tree.text(f"{self._folder}/{file}"))
        except SensorError as error:
            self._failure = error
            return None

    def number(self, file: str) -> int | None:
        try:
            return self._note(self._tree.number(f"{self._folder}/{file}"))
        except SensorError as error:
            self._failure = error
            return None

    def raise_if_nothing_was_read(self) -> None:
        if not self._read_any:
            raise self._failure or SensorError(f"/{self._folder}: it tells nothing")

    def _note(self, value: T) -> T:
        self._read_any = self._read_any or value is not None
        return value


@dataclass(frozen=True, slots=True)
class BatteryDraw:
    """What the batteries give, as a power source: the whole machine's draw, while it runs from them."""

    batteries: tuple[Battery, ...]

    name = "battery"
    scope = Scope.BOARD_INPUT
    quality = Quality.MEASURED
    update_seconds = UPDATE_SECONDS

    def read(self) -> PowerReading:
        """A look now; unknown while a battery is charged or idle.

        Raises:
            SensorError: a battery cannot be read.
        """
        readings = [battery.read() for battery in self.batteries]
        drawn = [reading.power_w for reading in readings if reading.on_battery]
        known = [watts for watts in drawn if watts is not None]
        return PowerReading(round(sum(known), 6) if known and len(known) == len(drawn) else None)


def mains_online(tree: Tree) -> bool | None:
    """Whether a mains or USB supply is there; None where the kernel knows of none."""
    online = []
    for name in _supplies(tree):
        try:
            if tree.text(f"{CLASS}/{name}/type") in _MAINS:
                online.append(tree.number(f"{CLASS}/{name}/online"))
        except SensorError:
            continue
    known = [value for value in online if value is not None]
    return any(known) if known else None


def find(tree: Tree) -> Inventory:
    """The batteries of this machine, and their draw where they tell it."""
    found = [Battery(tree, name) for name in _supplies(tree) if _is_ours(tree, name)]
    batteries, notes = usable(found, GRANT)
    telling = tuple(battery for battery in batteries if _tells_power(tree, battery.name))
    power = (BatteryDraw(telling),) if telling else ()
    return Inventory(power=power, batteries=batteries, notes=notes)


def _supplies(tree: Tree) -> list[str]:
    return [name for name in tree.names(CLASS) if not name.startswith(_NEGOTIATION)]


def _is_ours(tree: Tree, name: str) -> bool:
    folder = f"{CLASS}/{name}"
    try:
        if tree.text(f"{folder}/type") not in _BATTERIES:
            return False
    except SensorDenied:
        return True
    except SensorError:
        return False
    try:
        return tree.text(f"{folder}/scope") != "Device" and tree.number(f"{folder}/present") != 0
    except SensorError:
        return True


def _tells_power(tree: Tree, name: str) -> bool:
    return any(tree.exists(f"{CLASS}/{name}/{file}") for file in ("power_now", "current_now"))
