"""Drives a rollout over MQTT: hears, plans, writes down, acts.

The rules are :mod:`edge_agent.fleet.rollout.plan`'s.

It may be killed at any moment and started again. What it was about to do is in the state file, what it did
is at the broker, and a command has the same id whoever gives it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from secrets import token_hex
from time import gmtime, strftime
from typing import Final, Protocol

from edge_agent.errors import BrokerError, SettingsError
from edge_agent.fleet.rollout.devices import ID_PREFIX, Sightings
from edge_agent.fleet.rollout.operator_link import QUIET_SECONDS, OperatorLink
from edge_agent.fleet.rollout.plan import Action, Ask, Clear, Step, plan
from edge_agent.fleet.rollout.rollout_state import ROLLBACK, UPDATE, Member, Phase, Rollout, Standing
from edge_agent.fleet.rollout.state_file import StateFile
from edge_agent.link.address import BrokerAddress
from edge_agent.link.commands import Status
from edge_agent.link.envelope import encode_json

MOST_IN_FLIGHT: Final = 500
_TICK_SECONDS: Final = 0.25
_REST: Final = 4
"""Times that a step took, to the next step: ten thousand devices take a tenth of a second."""
FINAL: Final = frozenset({Phase.HALTED, Phase.COMPLETE, Phase.ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, for people and programs.

    Attributes:
        at: seconds since the epoch.
        kind: ``device``, ``wave``, ``soak``, ``phase`` or ``broker``.
        word: the new state.
        text: in words; empty where the word says all.
        device: whose it is, or None.
    """

    at: float
    kind: str
    word: str
    text: str = ""
    device: str | None = None


class Observer(Protocol):
    """Who shows how it goes."""

    def on_event(self, event: Event) -> None:
        """Something happened."""

    def on_tick(self, rollout: Rollout, now: float) -> None:
        """Comes a few times a second."""


class Quiet:
    """Nobody looks."""

    def on_event(self, event: Event) -> None:
        """Not told."""

    def on_tick(self, rollout: Rollout, now: float) -> None:
        """Not shown."""


def new_id(now: float) -> str:
    """An id for a rollout that begins now; ids sort by time."""
    return f"{ID_PREFIX}{strftime('%Y%m%dT%H%M%SZ', gmtime(now))}-{token_hex(4)}"


def halted(rollout: Rollout) -> Rollout:
    """The rollout, to be halted; what has not begun will be taken back, also from one that is complete."""
    if rollout.phase in (Phase.HALTING, Phase.HALTED, Phase.ROLLING_BACK, Phase.ROLLED_BACK):
        return rollout
    return replace(rollout, phase=Phase.HALTING, reason="by the operator")


def resumed(rollout: Rollout, *, without_proof: bool = False) -> Rollout:
    """The rollout, to go on."""
    phase = Phase.RUNNING if rollout.phase is Phase.PAUSED else rollout.phase
    reason = None if phase is Phase.RUNNING else rollout.reason
    return replace(rollout, phase=phase, reason=reason, without_proof=rollout.without_proof or without_proof)


def paused(rollout: Rollout) -> Rollout:
    """The rollout, to be taken up another time; one that halts or goes back stays so."""
    if rollout.phase is not Phase.RUNNING:
        return rollout
    return replace(rollout, phase=Phase.PAUSED, reason="by the operator", soak_from=None)


def sent_back(rollout: Rollout, waves: tuple[int, ...] | None) -> Rollout:
    """The rollout, whose devices are to go back to the version before; it ends with that.

    Args:
        rollout: in any phase.
        waves: numbers of the waves, from 0; None for all.

    Raises:
        SettingsError: a wave has no such number.
    """
    count = len(rollout.terms.sizes)
    if waves is not None and not all(0 <= wave < count for wave in waves):
        raise SettingsError("there is no such wave", hint=f"waves of this rollout: 1 to {count}")
    return replace(rollout, phase=Phase.ROLLING_BACK, reason="by the operator", back_waves=waves)


class Driver:
    """Brings a rollout on until it ends or pauses. Whoever makes it holds the file's lock.

    Args:
        rollout: as it was read or begun; it must have been written.
        file: where its state goes.
        address: of the broker.
        observer: is told how it goes.
        only_look: do not wait for what devices of a rollout that has ended are still at.
        quiet_seconds: see :class:`~edge_agent.fleet.rollout.operator_link.OperatorLink`.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        rollout: Rollout,
        file: StateFile,
        address: BrokerAddress,
        observer: Observer,
        *,
        only_look: bool = False,
        quiet_seconds: float = QUIET_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rollout = rollout
        self._file = file
        self._address = address
        self._observer = observer
        self._only_look = only_look
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        terms = rollout.terms
        ids = {operation: rollout.command_id(operation) for operation in (UPDATE, ROLLBACK)}
        self._sightings = Sightings(terms.base_topic, terms.model, rollout.members, ids)
        self._in_flight: set[Action] = set()
        self._is_stopping = False
        self._connections = 0
        self._fault: str | None = None
        self._step_seconds = 0.0

    def stop(self) -> None:
        """Pauses soon; for signal handlers."""
        self._is_stopping = True

    def run(self) -> Rollout:
        """Works until the rollout has ended, halted or paused.

        Raises:
            BrokerError: the broker cannot be reached at the start.
            SettingsError: the state cannot be written; nothing was done that is not in it.
        """
        filters, quiet = self._sightings.filters, self._quiet_seconds
        with OperatorLink.connect(self._address, filters, quiet_seconds=quiet) as link:
            self._connections = link.connections
            if self.rollout.phase is Phase.RUNNING:
                self._say("wave", str(self.rollout.wave + 1), self._about_wave())
            else:
                self._say("phase", self.rollout.phase.value, self.rollout.reason or "")
            while True:
                self._hear(link)
                if self._is_stopping:
                    self._become(paused(self.rollout))
                    return self.rollout
                self._obey()
                if self._is_idle(self._step(link), link):
                    return self.rollout
                self._observer.on_tick(self.rollout, self._clock())

    def _hear(self, link: OperatorLink) -> None:
        end = time.monotonic() + max(_TICK_SECONDS, _REST * self._step_seconds)
        while (left := end - time.monotonic()) > 0 and not self._is_stopping:
            messages = link.hear(left)
            if link.connections != self._connections:
                self._connections = link.connections
                self._in_flight.clear()
                self._sightings.forget_commands()
                self._fault = None
                self._say("broker", "back")
            is_old, now = not link.is_settled, self._clock()
            for message in messages:
                self._sightings.hear(message.topic, message.payload, retained=is_old, now=now)
            self._take_confirmed(link)
        if link.fault is not None and self._fault is None:
            self._fault = link.fault
            self._say("broker", "away", link.fault)

    def _take_confirmed(self, link: OperatorLink) -> None:
        for token, fault in link.confirmed():
            if not isinstance(token, Ask | Clear):
                continue
            self._in_flight.discard(token)
            if fault is not None:
                self._sightings.note_refused(token.device, fault)
            else:
                self._sightings.note_sent(token.device, token.operation, token.id, self._payload(token))

    def _obey(self) -> None:
        wish = self._file.take_wish()
        if wish == "pause":
            self._become(paused(self.rollout))
        elif wish == "halt":
            self._become(halted(self.rollout))

    def _step(self, link: OperatorLink) -> Step:
        begun = time.monotonic()
        step = plan(
            self.rollout,
            self._sightings.facts,
            self._clock(),
            settled=link.is_settled,
            room=MOST_IN_FLIGHT - len(self._in_flight),
            in_flight=self._in_flight,
        )
        before = self.rollout
        if step.actions or step.moved or _head(step.rollout) != _head(before):
            self._file.write(step.rollout)
        self.rollout = step.rollout
        for action in step.actions:
            self._publish(link, action)
        self._tell(before, step)
        self._step_seconds = time.monotonic() - begun
        return step

    def _publish(self, link: OperatorLink, action: Action) -> None:
        topic = self._sightings.topic(action.device, action.operation, action.id)
        try:
            link.publish(topic, self._payload(action), action)
        except BrokerError:
            return  # the next connection shows what the broker has
        self._in_flight.add(action)

    def _payload(self, action: Action) -> bytes:
        if isinstance(action, Clear):
            return b""
        terms = self.rollout.terms
        asked = {"status": Status.INIT.value, "name": terms.model}
        return encode_json(asked | ({"version": terms.version} if action.operation == UPDATE else {}))

    def _is_idle(self, step: Step, link: OperatorLink) -> bool:
        """Whether nothing is left to do: it ended or paused, and the broker has all that it is to have."""
        if self.rollout.phase not in (*FINAL, Phase.PAUSED):
            return False
        if self.rollout.phase in FINAL and self.rollout.is_at_work and not self._only_look:
            return False
        return link.is_settled and not self._in_flight and not step.actions

    def _become(self, rollout: Rollout) -> None:
        before, self.rollout = self.rollout, rollout
        if rollout is not before:
            self._file.write(rollout)
            if rollout.phase is not before.phase:
                self._say("phase", rollout.phase.value, rollout.reason or "")

    def _tell(self, before: Rollout, step: Step) -> None:
        after = step.rollout
        for device in step.moved:
            member = after.members[device]
            self._say("device", member.standing.value, _about(member), device)
        if after.wave != before.wave:
            self._say("wave", str(after.wave + 1), self._about_wave())
        elif after.phase is Phase.RUNNING and before.soak_from is None and after.soak_from is not None:
            self._say("soak", f"{after.terms.soak_seconds:g}", f"of wave {after.wave + 1}")
        if after.phase is not before.phase:
            self._say("phase", after.phase.value, after.reason or "")

    def _about_wave(self) -> str:
        terms, wave = self.rollout.terms, self.rollout.wave
        size, all_waves = terms.sizes[wave], len(terms.sizes)
        return f"of {all_waves}: {size} of {terms.sizes[-1]} devices, {terms.allowed_failures(wave)} may fail"

    def _say(self, kind: str, word: str, text: str = "", device: str | None = None) -> None:
        self._observer.on_event(Event(self._clock(), kind, word, text, device))


def _head(rollout: Rollout) -> tuple[object, ...]:
    return rollout.phase, rollout.wave, rollout.soak_from, rollout.reason


def _about(member: Member) -> str:
    if member.standing is Standing.UNREACHABLE and member.since is not None:
        return f"since {strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(member.since))}: {member.reason}"
    return member.reason or ""
