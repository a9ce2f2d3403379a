"""The board's sensors: which there are, what they say now, and which are there and cannot be used.

They are asked as the user who calls ``check``. ``vcgencmd`` is asked here and nowhere else, where the kernel
shows no mailbox.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edge_agent.cli.findings import Finding, ok, problem, warning
from edge_agent.cli.findings_reasons import remedy_words
from edge_agent.telemetry.reading import (
    BatteryReading,
    Inventory,
    PowerSource,
    Quality,
    SensorError,
    SupplyReading,
)

if TYPE_CHECKING:
    from edge_agent.cli.findings_permissions import Person
    from edge_agent.settings import Settings
    from edge_agent.telemetry.power.mailbox import Firmware
    from edge_agent.telemetry.sysfs import Tree

_ESTIMATE = "power.idle_watts and power.full_watts make an estimate"
NO_SENSOR = f"no power sensor; {_ESTIMATE}"
_SUPPLY = (
    ("under_voltage", "the board is fed too little: under-voltage now"),
    ("throttled", "the firmware throttles the processor now"),
    ("frequency_capped", "the firmware caps the processor's clock now"),
    ("soft_temperature_limit", "the firmware slows down for heat now"),
)
_PAST = {
    "under_voltage": "under-voltage",
    "throttled": "throttling",
    "frequency_capped": "a capped clock",
    "soft_temperature_limit": "slowing down for heat",
}


def check_sensors(settings: Settings | None, who: Person | None = None) -> Iterator[Finding]:
    """Power, supply, batteries and heat of this machine."""
    from edge_agent.telemetry.power.find import find_sensors
    from edge_agent.telemetry.sysfs import Tree

    tree = Tree()
    if settings is not None and not settings.telemetry.enabled:
        yield ok("sensors", "telemetry.enabled is false: nobody looks at them")
        return
    if who is not None and who.is_service and who.uid != os.geteuid():
        yield ok("sensors", f"read as uid {os.geteuid()}; the daemon reads them as {who.name}")
    inventory = find_sensors(tree, firmware=_vcgencmd(tree))
    has_estimate = settings is not None and settings.power.idle_watts is not None
    yield from judge_sensors(inventory, has_estimate=has_estimate)
    yield from judge_heat(_temperature(tree), 80.0 if settings is None else settings.power.hot_celsius)


def _vcgencmd(tree: Tree) -> Firmware | None:
    """The second way to the firmware, where the first is not shown."""
    from edge_agent.cli.findings_command import find_command
    from edge_agent.telemetry.power.mailbox import Mailbox
    from edge_agent.telemetry.power.vcgencmd import Vcgencmd

    program = find_command("vcgencmd")
    return None if program is None or Mailbox(tree).present() else Vcgencmd(program)


def _temperature(tree: Tree) -> float | None:
    from edge_agent.telemetry.board import Board

    try:
        return Board(tree).read().temperature_c
    except SensorError:
        return None


def judge_sensors(inventory: Inventory, *, has_estimate: bool = False) -> Iterator[Finding]:
    """What was found says now, and the notes on what cannot be used."""
    for position, source in enumerate(inventory.power):
        yield _judge_power(source, is_total=position == 0)
    if not inventory.power:
        yield ok("power", "no power sensor: the owner's estimate is used" if has_estimate else NO_SENSOR)
    supplies: list[tuple[str, SupplyReading]] = []
    for supply in inventory.supply:
        try:
            supplies.append((supply.name, supply.read()))
        except SensorError as error:
            yield warning("supply", str(error), remedy_words(str(error)))
    yield from judge_supplies(supplies)
    for battery in inventory.batteries:
        try:
            yield ok("battery", f"{battery.name}: {battery_in_words(battery.read())}")
        except SensorError as error:
            yield warning("battery", str(error), remedy_words(str(error)))
    for note in inventory.notes:
        yield _of_note(note)


def _of_note(note: str) -> Finding:
    """A note is what is wrong, and after its first sentence what helps."""
    message, _, remedy = note.partition(". ")
    return warning("sensor", message.rstrip("."), remedy.rstrip(".") or _ESTIMATE)


def _judge_power(source: PowerSource, *, is_total: bool) -> Finding:
    try:
        reading = source.read()
    except SensorError as error:
        return warning("power", str(error), remedy_words(str(error)))
    marks = [source.scope.value]
    if source.quality is Quality.ESTIMATED:
        marks.append("estimated")
    if not is_total:
        marks.append("not added to the first")
    told = f"{source.name} ({', '.join(marks)})"
    if reading.power_w is not None:
        return ok("power", f"{reading.power_w:.2f} W by {told}")
    if reading.energy_j is not None:
        return ok("power", f"{told} counts joules; watts come with time")
    return ok("power", f"{told} has no value now")


def judge_supplies(supplies: Sequence[tuple[str, SupplyReading]]) -> Iterator[Finding]:
    """Under-voltage and throttling, now and since boot; what any source says holds, and is told once."""
    troubled: set[str] = set()
    for flag, words in _SUPPLY:
        now = [name for name, reading in supplies if getattr(reading, flag)]
        past = [name for name, reading in supplies if getattr(reading, f"{flag}_since_boot")]
        if now:
            yield problem("supply", f"{words} ({', '.join(now)})", remedy_words(words))
        elif past:
            told = f"{_PAST[flag]} at some time since boot, not now ({', '.join(past)})"
            yield warning("supply", told, remedy_words(words))
        troubled.update(now, past)
    for name, reading in supplies:
        if name not in troubled:
            yield ok("supply", f"{name}: {supply_in_words(reading)}")


def supply_in_words(reading: SupplyReading) -> str:
    """What a source knows of the supply."""
    known = [
        ("no under-voltage", reading.under_voltage is False),
        ("not throttled", reading.throttled is False),
        (f"{reading.supply_v or 0:.2f} V at the input", reading.supply_v is not None),
        (f"{reading.supply_max_ma} mA promised", reading.supply_max_ma is not None),
        (f"{reading.supply_a or 0:.2f} A at the input", reading.supply_a is not None),
    ]
    return ", ".join(words for words, is_known in known if is_known) or "says nothing now"


def battery_in_words(reading: BatteryReading) -> str:
    """Charge, whether it is drawn from, and for how long."""
    parts = ["charge unknown" if reading.percent is None else f"{reading.percent:.0f} %"]
    if reading.on_battery is not None:
        parts.append("drawn from" if reading.on_battery else "on mains")
    if reading.hours_left is not None:
        parts.append(f"{reading.hours_left:.1f} h left")
    return ", ".join(parts)


def judge_heat(temperature_c: float | None, hot_celsius: float) -> Iterator[Finding]:
    """Whether the processor is too hot; nothing where no thermometer tells."""
    if temperature_c is None:
        return
    told = f"the processor is at {temperature_c:.0f} °C"
    if temperature_c >= hot_celsius:
        message = f"{told}; {hot_celsius:.0f} °C is too hot"
        yield warning("temperature", message, remedy_words(f"heat: {message}"))
    else:
        yield ok("temperature", told)
