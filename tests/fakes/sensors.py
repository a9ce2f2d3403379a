"""Sensors that say what a test tells them to: fail, flap, hang. With a clock that goes when told."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Generic, TypeVar

from edge_agent.telemetry.board import BoardReading
from edge_agent.telemetry.reading import (
    BatteryReading,
    PowerReading,
    Quality,
    Scope,
    SensorError,
    SupplyReading,
)

T = TypeVar("T")


class FakeClock:
    """Monotonic seconds that pass when told."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> float:
        """Lets time pass; returns the moment then."""
        self.seconds += seconds
        return self.seconds


class FakeSensor(Generic[T]):
    """Says ``value``, which may be a function of the number of the look.

    Attributes:
        looks: how often it was read.
        broken: what it raises instead, or None.
        gate: a reading waits until it is set; it is, until :meth:`hang` is called.
    """

    def __init__(self, name: str, value: T | Callable[[int], T]) -> None:
        self._name = name
        self.value = value
        self.looks = 0
        self.broken: Exception | None = None
        self.gate = Event()
        self.gate.set()
        self.is_held = Event()

    @property
    def name(self) -> str:
        return self._name

    def hang(self) -> None:
        """From now on a reading does not come back until :meth:`let_go`."""
        self.is_held.clear()
        self.gate.clear()

    def let_go(self) -> None:
        """Readings come back."""
        self.gate.set()

    def fail(self, message: str = "the device does not answer (EIO)") -> None:
        """From now on a reading fails."""
        self.broken = SensorError(message)

    def read(self) -> T:
        self.looks += 1
        if not self.gate.is_set():
            self.is_held.set()
            assert self.gate.wait(60), "a test let a sensor hang"
        if self.broken is not None:
            raise self.broken
        return self.value(self.looks) if callable(self.value) else self.value


class FakePower(FakeSensor[PowerReading]):
    """A :class:`~edge_agent.telemetry.reading.PowerSource`."""

    def __init__(
        self,
        value: PowerReading | Callable[[int], PowerReading],
        *,
        name: str = "ina3221",
        update_seconds: float = 0.1,
        scope: Scope = Scope.MODULE,
        quality: Quality = Quality.MEASURED,
    ) -> None:
        super().__init__(name, value)
        self._update_seconds = update_seconds
        self._scope = scope
        self._quality = quality

    @property
    def scope(self) -> Scope:
        return self._scope

    @property
    def quality(self) -> Quality:
        return self._quality

    @property
    def update_seconds(self) -> float:
        return self._update_seconds


class FakeSupply(FakeSensor[SupplyReading]):
    """A :class:`~edge_agent.telemetry.reading.SupplySource`."""

    def __init__(self, value: SupplyReading, *, name: str = "rpi_volt") -> None:
        super().__init__(name, value)


class FakeBattery(FakeSensor[BatteryReading]):
    """A :class:`~edge_agent.telemetry.reading.BatterySource`."""

    def __init__(self, value: BatteryReading, *, name: str = "BAT0") -> None:
        super().__init__(name, value)


class FakeBoard(FakeSensor[BoardReading]):
    """Heat, fans and clocks as told."""

    def __init__(self, temperature_c: float | None = None) -> None:
        super().__init__("thermal", BoardReading())
        self.warm(temperature_c)

    def warm(self, temperature_c: float | None) -> None:
        """The processor is this hot from now on."""
        zones = {} if temperature_c is None else {"cpu-thermal": temperature_c}
        self.value = BoardReading(temperature_c, zones)
