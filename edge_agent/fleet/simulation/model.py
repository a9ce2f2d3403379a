"""The one model of a simulated device: its update, walked state by state as modelled times pass. Pure.

The states and what serves in each are those of a real device (:mod:`edge_agent.update.slots`); what becomes
of a version is its :class:`~edge_agent.fleet.simulation.faults.Fate`.
"""

from __future__ import annotations

from math import inf
from typing import Final

from edge_agent.fleet.simulation.documents import digest_of
from edge_agent.fleet.simulation.faults import Fate, Faults
from edge_agent.update.refusal import Reason
from edge_agent.update.slots import Event, Record, State, Version, begin, recover, step

_SHARES: Final = {
    State.DOWNLOADING: 0.4,
    State.VERIFYING: 0.1,
    State.TRYING: 0.2,
    State.SWITCHING: 0.0,
    State.WATCHING: 0.3,
}
"""Of the time that an update takes."""

_SLOW: Final = 10.0
_PROOF: Final = "golden sentence 3 expected HassTurnOn, got HassTurnOff"
_UNHEALTHY: Final = "errors rose to 12 % while it was watched"
_NEXT: Final = {
    State.DOWNLOADING: Event.ARRIVED,
    State.VERIFYING: Event.VERIFIED,
    State.TRYING: Event.PROVED,
    State.SWITCHING: Event.SWITCHED,
    State.WATCHING: Event.PROVED,
}


class SimulatedModel:
    """See the module; times in seconds of one clock.

    Args:
        device: its id.
        name: of the model.
        version: that serves at first.
        faults: what goes wrong.
        update_seconds: that an update takes on average.

    Attributes:
        record: how it stands.
        latest: the version that its latest update was about.
        ends_at: when the present state of its update ends; infinite at rest, and while the device is off.
    """

    __slots__ = ("_device", "_faults", "_seconds", "_vanished", "ends_at", "latest", "record")

    def __init__(self, device: str, name: str, version: str, faults: Faults, update_seconds: float) -> None:
        self._device = device
        self._faults = faults
        pace = (0.5 + faults.draw(device, "pace")) * (_SLOW if faults.is_slow(device) else 1.0)
        self._seconds = update_seconds * pace
        self._vanished: frozenset[str] = frozenset()
        self.record = Record(name, State.KEPT, Version(version, digest_of(name, version)))
        self.latest: str | None = None
        self.ends_at = inf

    @property
    def version(self) -> str | None:
        """What serves."""
        return self.record.serving.version if self.record.serving else None

    def begin(self, version: str, now: float) -> None:
        """An update begins."""
        self.record = begin(self.record, Version(version, digest_of(self.record.name, version)))
        self.latest = version
        self._stay(now)

    def walk(self, now: float) -> Reason | None:
        """From one state of the update to the next; why it failed, or None."""
        reason, detail = self._fault()
        event = _NEXT[self.record.state] if reason is None else Event.FAIL
        self.record = step(self.record, event, reason, detail)
        self._stay(now)
        return reason

    def roll_back(self) -> bool:
        """Back to the version before; False where there is none."""
        if self.record.fallback is None:
            return False
        self.record = step(self.record, Event.ROLL_BACK, Reason.ASKED)
        return True

    def loses_power(self) -> bool:
        """Whether the device goes down now: once for each version, while the candidate is in hand."""
        candidate = self.record.candidate
        if self.record.state is not State.VERIFYING or candidate is None:
            return False
        if candidate.version in self._vanished:
            return False
        self._vanished |= {candidate.version}
        return self._faults.vanishes(self._device, candidate.version)

    def recover(self) -> None:
        """After a power cut."""
        self.record = recover(self.record)

    def _stay(self, now: float) -> None:
        share = _SHARES.get(self.record.state)
        self.ends_at = inf if share is None else now + share * self._seconds

    def _fault(self) -> tuple[Reason | None, str | None]:
        if self.record.state not in (State.TRYING, State.WATCHING) or self.record.candidate is None:
            return None, None
        fate = self._faults.fate(self._device, self.record.candidate.version)
        if fate is Fate.FAILS_PROOF and self.record.state is State.TRYING:
            return Reason.PROOF, _PROOF
        if fate is Fate.UNHEALTHY and self.record.state is State.WATCHING:
            return Reason.UNHEALTHY, _UNHEALTHY
        return None, None
