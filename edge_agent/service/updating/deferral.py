"""Whether an update should wait for a better moment, and in words why. Pure.

A new model is loaded and tried at full load: that is not for a board that is fed too little, throttled, too
hot or at the end of its battery, nor, where the settings say so, for one that is busy. What is unknown is no
reason to wait: a board without sensors is updated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Final

from edge_agent.settings import Settings
from edge_agent.telemetry.snapshot import Snapshot
from edge_agent.telemetry.strain import Press

CALM_SECONDS: Final = 60.0
"""After the last reason an update waits for so long still: a supply that is too weak fails by the moment."""
RECOVERED_PERCENT: Final = 5.0
"""A battery that was low, and still is drawn from, must be so far above the limit."""
_RELIEVED_SHARE: Final = 0.8
"""A device that was busy must fall below this share of the limit."""
_RATE_SECONDS: Final = 60.0
_LEAST_RATE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class DeferralRules:
    """What of the settings decides.

    Attributes:
        when_strained: updates wait while the board is hard pressed.
        above_per_minute: they wait while more requests a minute are answered; 0: however many.
        low_battery_percent: what a low battery is.
    """

    when_strained: bool = True
    above_per_minute: float = 0.0
    low_battery_percent: float = 15.0

    @classmethod
    def of(cls, settings: Settings) -> DeferralRules:
        """Those of the settings."""
        updates = settings.updates
        return cls(
            updates.wait_when_strained, updates.wait_above_per_minute, settings.power.low_battery_percent
        )


def reason_to_wait(
    rules: DeferralRules, board: Snapshot, requests_per_minute: float | None, *, waits: bool = False
) -> str | None:
    """Why an update should not begin now, in words for ``health`` and ``model/<name>``, or None.

    Args:
        rules: of the settings.
        board: what its sensors said last; old readings are unknown there.
        requests_per_minute: answered lately; None is unknown.
        waits: an update waits already; then the battery must be clearly better, and the device clearly less
            busy, before it goes on. (A hot board has this from
            :data:`~edge_agent.telemetry.strain.COOLING_CELSIUS`.)
    """
    reasons = _of_board(rules, board, waits=waits) if rules.when_strained else []
    limit = rules.above_per_minute
    if limit and requests_per_minute is not None:
        threshold = limit * _RELIEVED_SHARE if waits else limit
        if requests_per_minute > threshold:
            reasons.append(f"more than {threshold:g} requests a minute are answered")
    return f"waits: {', '.join(reasons)}" if reasons else None


def _of_board(rules: DeferralRules, board: Snapshot, *, waits: bool) -> list[str]:
    """What presses the board, as far as there is a reading of now that says so.

    The words have no figure that changes from look to look, save the battery's: what is retained at the
    broker is not to be written again each time.
    """
    presses = board.strain.presses
    reasons = [words for press, words in _WORDS.items() if press in presses and _IS_SEEN[press](board)]
    limit = rules.low_battery_percent + (RECOVERED_PERCENT if waits else 0.0)
    charges = [
        reading.percent
        for reading in board.batteries.values()
        if reading.on_battery and reading.percent is not None and reading.percent <= limit
    ]
    return [*reasons, f"the battery is at {min(charges):.0f} %"] if charges else reasons


_WORDS: Final = {
    Press.UNDER_VOLTAGE: "the supply is too weak",
    Press.THROTTLED: "the processor is throttled",
    Press.FREQUENCY_CAPPED: "the processor's clock is capped",
    Press.SOFT_LIMIT: "the processor is slowed down for heat",
    Press.HOT: "the processor is too hot",
}
# Strain stays as it was where a sensor is silent; that is a memory, and no reason to wait for ever.
_IS_SEEN: Final[Mapping[Press, Callable[[Snapshot], bool]]] = {
    Press.UNDER_VOLTAGE: lambda board: bool(board.supply.under_voltage),
    Press.THROTTLED: lambda board: bool(board.supply.throttled),
    Press.FREQUENCY_CAPPED: lambda board: bool(board.supply.frequency_capped),
    Press.SOFT_LIMIT: lambda board: bool(board.supply.soft_temperature_limit),
    Press.HOT: lambda board: board.board.temperature_c is not None,
}


class Deferral:
    """The same with a memory, so that an update does not begin in a short pause of what is against it.

    From any thread.

    Args:
        rules: of the settings.
    """

    def __init__(self, rules: DeferralRules) -> None:
        self._rules = rules
        self._rate = AnswerRate()
        self._reason: str | None = None
        self._calm_since: float | None = None
        self._lock = Lock()

    def look(self, board: Snapshot, answered: int, now: float) -> str | None:
        """Why an update should wait now; to be asked every few seconds.

        Args:
            board: what its sensors said last.
            answered: requests so far.
            now: by the monotonic clock, seconds.
        """
        with self._lock:
            rate = self._rate.note(answered, now) if self._rules.above_per_minute else None
            reason = reason_to_wait(self._rules, board, rate, waits=self._reason is not None)
            if reason is not None:
                self._reason, self._calm_since = reason, None
            elif self._reason is not None:
                if self._calm_since is None:
                    self._calm_since = now
                if now - self._calm_since >= CALM_SECONDS:
                    self._reason = self._calm_since = None
            return self._reason


class AnswerRate:
    """Answers a minute over the latest minute; by a counter, so that no other reader's window is moved."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, answered: int, now: float) -> float | None:
        """The rate now; None until ten seconds were seen.

        Args:
            answered: requests so far.
            now: by the monotonic clock, seconds.
        """
        if not self._seen or now - self._seen[-1][0] >= 1.0:  # so it holds a minute's seconds and no more
            self._seen.append((now, answered))
        while len(self._seen) > 1 and now - self._seen[1][0] >= _RATE_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        elapsed = now - since
        return None if elapsed < _LEAST_RATE_SECONDS else (answered - before) * 60.0 / elapsed
