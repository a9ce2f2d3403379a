"""What a board says of itself besides power: heat, fans and clocks. Found once, then read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_agent.telemetry.fans import FanReading, find_fans, read_fans
from edge_agent.telemetry.frequency import Clock, find_clocks, read_clocks
from edge_agent.telemetry.reading import SensorError
from edge_agent.telemetry.sysfs import Tree
from edge_agent.telemetry.thermal import find_thermometers, hottest_processor, read_temperatures


@dataclass(frozen=True, slots=True)
class BoardReading:
    """One look at the board; what is absent is empty or None.

    Attributes:
        temperature_c: °C of the processor's hottest zone.
        temperatures: °C by zone.
        fans: what they do.
        clocks: of the processors.
    """

    temperature_c: float | None = None
    temperatures: Mapping[str, float] = field(default_factory=dict)
    fans: tuple[FanReading, ...] = ()
    clocks: tuple[Clock, ...] = ()


class Board:
    """Heat, fans and clocks of a machine.

    Args:
        tree: its files.
    """

    name = "thermal"

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._thermometers = find_thermometers(tree)
        self._fans = find_fans(tree)
        self._clocks = find_clocks(tree)
        self._has_answered = False

    def read(self) -> BoardReading:
        """A look now.

        Raises:
            SensorError: no thermometer answers, although one did before. Where none ever did, as in many a
                virtual machine, that is no fault.
        """
        try:
            temperatures = read_temperatures(self._tree, self._thermometers)
        except SensorError:
            if self._has_answered:
                raise
            temperatures = {}
        self._has_answered = self._has_answered or bool(temperatures)
        return BoardReading(
            temperature_c=hottest_processor(self._thermometers, temperatures),
            temperatures=temperatures,
            fans=read_fans(self._tree, self._fans),
            clocks=read_clocks(self._tree, self._clocks),
        )
