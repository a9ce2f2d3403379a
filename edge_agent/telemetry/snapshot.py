"""Everything that the sensors said, at one moment. Immutable; what is unknown is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edge_agent.telemetry.board import BoardReading
from edge_agent.telemetry.latch import UnderVoltageLatch
from edge_agent.telemetry.per_answer import PerAnswer
from edge_agent.telemetry.reading import BatteryReading, Quality, Scope, SupplyReading
from edge_agent.telemetry.strain import Strain


@dataclass(frozen=True, slots=True)
class PowerFigures:
    """What the one source of power says that counts.

    Attributes:
        source: kind of sensor.
        scope: what its figures cover.
        quality: measured or estimated.
        power_w: at the last look; None when that failed.
        rails: watts by rail at the last look; parents stand beside children.
        energy_j: joules since the start; None until something was measured.
        measured_seconds: the time that they cover.
        per_answer: what an answer takes.
    """

    source: str
    scope: Scope
    quality: Quality
    power_w: float | None = None
    rails: Mapping[str, float] = field(default_factory=dict)
    energy_j: float | None = None
    measured_seconds: float = 0.0
    per_answer: PerAnswer = field(default_factory=PerAnswer)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The board at one moment.

    Attributes:
        moment_seconds: when, by the monotonic clock; None before the first look.
        power: None without a source of power.
        supply: all its sources as one.
        latch: our memory of under-voltage.
        board: heat, fans and clocks.
        batteries: by name, those that answered.
        strain: what presses the board.
        failures: looks that failed, by sensor.
    """

    moment_seconds: float | None = None
    power: PowerFigures | None = None
    supply: SupplyReading = field(default_factory=SupplyReading)
    latch: UnderVoltageLatch = field(default_factory=UnderVoltageLatch)
    board: BoardReading = field(default_factory=BoardReading)
    batteries: Mapping[str, BatteryReading] = field(default_factory=dict)
    strain: Strain = field(default_factory=Strain)
    failures: Mapping[str, int] = field(default_factory=dict)

    def faded(self) -> Snapshot:
        """What is still true of it when it is old: counters and memories, and no reading."""
        power = self.power
        if power is not None:
            power = replace(power, power_w=None, rails={}, per_answer=PerAnswer())
        return replace(
            self,
            power=power,
            supply=SupplyReading(),
            latch=replace(self.latch, now=None),
            board=BoardReading(),
            batteries={},
        )
