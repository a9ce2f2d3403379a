"""What the sensors said, as facts for Prometheus. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edge_agent.telemetry.metrics.facts import BatteryFacts, EnergyFacts, MetricFacts, PowerFacts
from edge_agent.telemetry.reading import SupplyReading
from edge_agent.telemetry.snapshot import PowerFigures, Snapshot


def with_board(facts: MetricFacts, snapshot: Snapshot) -> MetricFacts:
    """The facts with everything that ``snapshot`` knows; it replaces what they said of the board."""
    supply, latch, board, power = snapshot.supply, snapshot.latch, snapshot.board, snapshot.power
    return replace(
        facts,
        energy=() if power is None else _energy(power),
        power=() if power is None else _watts(power),
        supply_volts=supply.supply_v,
        under_voltage=latch.now,
        under_voltage_since_boot=latch.since_boot,
        throttled=_held_down(supply),
        throttled_since_boot=_once_held_down(supply),
        temperatures_celsius=dict(board.temperatures),
        cpu_hertz={
            clock.name: None if clock.now_mhz is None else clock.now_mhz * 1e6 for clock in board.clocks
        },
        fan_rpm={fan.name: fan.rpm for fan in board.fans},
        batteries=tuple(
            BatteryFacts(name, reading.percent, reading.on_battery)
            for name, reading in snapshot.batteries.items()
        ),
        sensor_errors=dict(snapshot.failures),
    )


def _energy(power: PowerFigures) -> tuple[EnergyFacts, ...]:
    if power.energy_j is None:
        return ()
    total = EnergyFacts(
        power.energy_j, power.source, power.scope.value, measured_seconds=power.measured_seconds
    )
    return (total,)


def _watts(power: PowerFigures) -> tuple[PowerFacts, ...]:
    source, scope = power.source, power.scope.value
    rails = (PowerFacts(watts, source, scope, rail) for rail, watts in power.rails.items())
    return (PowerFacts(power.power_w, source, scope), *rails)


def _held_down(supply: SupplyReading) -> Mapping[str, bool | None]:
    return {
        "frequency_capped": supply.frequency_capped,
        "throttled": supply.throttled,
        "soft_temperature_limit": supply.soft_temperature_limit,
    }


def _once_held_down(supply: SupplyReading) -> Mapping[str, bool | None]:
    return {
        "frequency_capped": supply.frequency_capped_since_boot,
        "throttled": supply.throttled_since_boot,
        "soft_temperature_limit": supply.soft_temperature_limit_since_boot,
    }
