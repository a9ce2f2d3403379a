"""The thread that looks at the sensors, and what others may know of it without waiting.

It sleeps until the next look is due or a request begins after a pause. Nobody waits for it: a snapshot is
taken by reading one attribute. A sensor that hangs holds only this thread; whoever calls :meth:`Sampler.tend`
now and then has it replaced by another one, which leaves that sensor out until it has come back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread

from edge_agent.log import get_logger
from edge_agent.settings.board_sections import PowerSettings, TelemetrySettings
from edge_agent.telemetry.board import BoardReading
from edge_agent.telemetry.observer import Observer
from edge_agent.telemetry.probe import Overtaken, Sensor, Turn
from edge_agent.telemetry.reading import Inventory
from edge_agent.telemetry.snapshot import Snapshot
from edge_agent.telemetry.strain import Press

HANG_SECONDS = 5.0
"""A look takes milliseconds; what takes so long does not come back soon."""
STALE_INTERVALS = 3


def suspended_seconds() -> float:
    """How long the machine has been suspended since its boot (clock_gettime(2): BOOTTIME, MONOTONIC)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class Sampler:
    """Looks at the sensors of this machine. One that was never started knows nothing and reports no fault.

    Args:
        inventory: what measures power, supply and batteries.
        board: heat, fans and clocks.
        telemetry: how often to look.
        power: what is too hot and too low.
        activity: answers given so far.
        on_change: called in the sampler's thread when strain, under-voltage or a failing sensor is news.
        clock: monotonic seconds.
        suspended: seconds that the machine has slept since its boot.
    """

    def __init__(
        self,
        inventory: Inventory,
        board: Sensor[BoardReading],
        telemetry: TelemetrySettings,
        power: PowerSettings,
        *,
        activity: Callable[[], int],
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        suspended: Callable[[], float] = suspended_seconds,
    ) -> None:
        self._clock = clock
        self._activity = activity
        self._on_change = on_change
        self._suspended = suspended
        self._interval_seconds = telemetry.interval_seconds
        self._stale_seconds = STALE_INTERVALS * telemetry.interval_seconds
        self._turn = Turn(clock)
        self._observer = Observer(inventory, board, telemetry, power, self._turn)
        self._log = get_logger()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._is_dozing = False
        self._is_stopping = False
        self._progress_seconds = clock()
        self._pressed: frozenset[Press] = frozenset()
        self._thread: Thread | None = None

    # Of whoever owns it

    def start(self) -> None:
        """Begins to look; the first look is at once."""
        self._observer.start_over()
        self._progress_seconds = self._clock()
        self._bell = SimpleQueue()
        self._thread = Thread(target=self._run, args=(self._bell,), name="sampler", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Ends; returns whether it did within the time. A sensor that hangs may keep it."""
        self._is_stopping = True
        self._bell.put(None)
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        return self._thread is None or not self._thread.is_alive()

    def tend(self, hang_seconds: float = HANG_SECONDS) -> bool:
        """Replaces the thread where a sensor has held it for so long; to be called every few seconds.

        Returns:
            Whether it was replaced. Health then hears of the sensor by ``on_change``.
        """
        name = None if self._is_stopping else self._turn.overtake(hang_seconds)
        if name is None:
            return False
        self._log.warning("sensor.hangs", sensor=name, seconds=round(self.progress_age_seconds, 1))
        self.start()
        return True

    # Of everybody

    def note_activity(self) -> None:
        """A request begins; for the worker. Takes no lock, and does nothing but when it ends a pause."""
        if self._is_dozing:
            self._is_dozing = False
            self._bell.put(None)

    @property
    def progress_age_seconds(self) -> float:
        """Since the last look ended; more than an interval and :data:`HANG_SECONDS` is not well."""
        return self._clock() - self._progress_seconds

    def snapshot(self) -> Snapshot:
        """What was seen last; its readings are unknown when it is older than three intervals."""
        snapshot = self._observer.snapshot
        is_stale = (
            snapshot.moment_seconds is not None
            and self._clock() - snapshot.moment_seconds > self._stale_seconds
        )
        return snapshot.faded() if is_stale else snapshot

    def reasons(self) -> tuple[str, ...]:
        """What ``health`` is to tell: what presses the board, what fails, and whether anybody still looks."""
        age = self.progress_age_seconds
        reasons = self._observer.snapshot.strain.reasons
        if age <= self._stale_seconds or self._thread is None:
            return reasons
        return (*reasons, f"sensors: none has been read for {age:.0f} s")

    @property
    def is_strained(self) -> bool:
        """Whether the daemon should ask less of the board."""
        return self._observer.snapshot.strain.is_strained

    @property
    def energy_mj(self) -> float | None:
        """What one answer took in the latest window, in millijoules, where that can be told."""
        power = self._observer.snapshot.power
        return None if power is None else power.per_answer.energy_mj

    def is_power_ok(self, began_seconds: float, ended_seconds: float) -> bool | None:
        """Whether work of this time was done without under-voltage, as far as is known now.

        Args:
            began_seconds: when it began, by the monotonic clock.
            ended_seconds: when it ended.

        Returns:
            None when nobody has looked within three intervals, or nothing tells of under-voltage.
        """
        latch = self._observer.snapshot.latch
        return latch.is_power_ok(began_seconds, ended_seconds, self._stale_seconds)

    # Its thread

    def _run(self, bell: SimpleQueue[None]) -> None:
        is_woken = False
        while not self._is_stopping:
            try:
                self._look(is_woken=is_woken)
            except Overtaken as overtaken:
                self._log.info("sensor.back", sensor=str(overtaken))
                return
            except Exception as error:  # a fault of ours: the next look may be well
                self._log.error("sampler.failed", error=type(error).__name__)
                is_woken = self._sleep(bell, self._interval_seconds)
            else:
                is_woken = self._sleep(bell, self._until_next())

    def _look(self, *, is_woken: bool) -> None:
        is_news = self._observer.observe(
            self._clock(), self._activity(), self._suspended(), is_woken=is_woken
        )
        self._progress_seconds = self._clock()
        if is_news:
            self._tell()
            self._on_change()

    def _tell(self) -> None:
        """Logs when something begins or ceases to press the board; sensors that fail are told elsewhere."""
        strain = self._observer.snapshot.strain
        before, self._pressed = self._pressed, strain.presses
        if strain.presses and strain.presses != before:
            self._log.warning("board.strained", reasons=[*strain.reasons])
        elif before and not strain.presses:
            self._log.info("board.well")

    def _until_next(self) -> float:
        now = self._clock()
        self._is_dozing = self._observer.minds_activity and not self._observer.is_busy(now)
        return min(max(0.0, self._observer.next_seconds(now) - now), self._interval_seconds)

    def _sleep(self, bell: SimpleQueue[None], seconds: float) -> bool:
        """Until the next look is due; returns whether a request began before."""
        try:
            bell.get(timeout=seconds)
        except Empty:
            return False
        finally:
            self._is_dozing = False
        return not self._is_stopping
