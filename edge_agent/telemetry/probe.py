"""One sensor that is read again and again: what it says, how often it failed, and whether it hangs.

A sensor that fails is unknown that time and is counted. After three failures in a row it is named, and looked
at more rarely, each time after twice as long. One that hangs cannot be called back: it is left to the thread
that waits for it (:class:`Turn`), and another thread looks at the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

from edge_agent.log import get_logger
from edge_agent.telemetry.reading import SensorError

FAILURES_TO_NAME = 3
_MOST_DOUBLINGS = 5

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Sensor(Protocol[T_co]):
    """Whatever has a name and can be read."""

    @property
    def name(self) -> str:
        """As ``health`` calls it."""

    def read(self) -> T_co:
        """A look now.

        Raises:
            SensorError: it could not be read.
        """


class Overtaken(Exception):
    """A reading came back when another thread had already been set to look; names the sensor."""


class Turn:
    """Knows which sensor is being read, and takes the turn from a thread that one of them holds.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._reading: tuple[Probe[Any], float] | None = None

    def begin(self, probe: Probe[Any]) -> None:
        """The calling thread is about to read this sensor."""
        self._reading = (probe, self._clock())

    def end(self, probe: Probe[Any]) -> None:
        """The sensor has come back.

        Raises:
            Overtaken: too late; the calling thread must touch nothing more. The sensor may be read again.
        """
        with self._lock:
            if probe.is_stuck:
                probe.is_stuck = False
                raise Overtaken(probe.name)
            self._reading = None

    def overtake(self, after_seconds: float) -> str | None:
        """Leaves a sensor that has been read for so long to the thread that reads it.

        Returns:
            Its name, and another thread is to look; None where there is no such sensor.
        """
        with self._lock:
            if self._reading is None or self._clock() - self._reading[1] < after_seconds:
                return None
            probe, self._reading = self._reading[0], None
            probe.is_stuck = True
            return probe.name


class Probe(Generic[T]):
    """A sensor with its record.

    Args:
        sensor: to be read.
        turn: shared by all that one thread reads.
        rest_seconds: the first pause after the third failure in a row.

    Attributes:
        is_stuck: a thread waits for it since long; for :class:`Turn`.
        failures: looks that failed.
    """

    def __init__(self, sensor: Sensor[T], turn: Turn, rest_seconds: float) -> None:
        self.is_stuck = False
        self.failures = 0
        self._sensor = sensor
        self._turn = turn
        self._rest_seconds = rest_seconds
        self._in_a_row = 0
        self._reason = ""
        self._resumes_seconds = 0.0

    @property
    def name(self) -> str:
        """Of the sensor."""
        return self._sensor.name

    @property
    def fault(self) -> str | None:
        """Why it is not to be relied on, in words, or None."""
        if self.is_stuck:
            return f"sensor {self.name}: reading it does not come back"
        if self._in_a_row >= FAILURES_TO_NAME:
            return f"sensor {self.name}: {self._reason}"
        return None

    def look(self, now_seconds: float) -> T | None:
        """What the sensor says, or None: it fails, hangs, or is given a rest.

        Raises:
            Overtaken: it hung, and another thread looks now.
        """
        if self.is_stuck or (self._in_a_row >= FAILURES_TO_NAME and now_seconds < self._resumes_seconds):
            return None
        self._turn.begin(self)
        error: Exception | None = None
        value: T | None = None
        try:
            value = self._sensor.read()
        except Exception as caught:  # whatever a driver does, the others are still looked at
            error = caught
        self._turn.end(self)
        if error is None:
            self._succeed()
        else:
            self._fail(error, now_seconds)
        return value

    def _succeed(self) -> None:
        if self._in_a_row >= FAILURES_TO_NAME:
            get_logger().info("sensor.back", sensor=self.name)
        self._in_a_row = 0

    def _fail(self, error: Exception, now_seconds: float) -> None:
        self.failures += 1
        self._in_a_row += 1
        # a message that is not a sensor's own may hold anything
        self._reason = (
            str(error) if isinstance(error, SensorError) else f"it fails with {type(error).__name__}"
        )
        beyond = self._in_a_row - FAILURES_TO_NAME
        if beyond >= 0:
            self._resumes_seconds = now_seconds + self._rest_seconds * 2 ** min(beyond + 1, _MOST_DOUBLINGS)
        if beyond == 0:
            get_logger().warning("sensor.failed", sensor=self.name, reason=self._reason)
