"""One simulated device as a machine of states. Pure: messages and times in, a turn out.

    absent ──connected──► present ──power cut, lost link──► absent ──after a while──► it wishes to connect

Times are seconds of one monotonic clock; ``epoch`` is what makes them seconds since 1970.
"""

from __future__ import annotations

from math import inf
from typing import Any

from edge_agent.fleet.simulation.desk import INTERRUPTED, Command, Desk
from edge_agent.fleet.simulation.documents import (
    OPERATIONS,
    Identity,
    in_words,
    render_health,
    render_info,
    render_model,
    render_power,
)
from edge_agent.fleet.simulation.faults import Faults
from edge_agent.fleet.simulation.model import SimulatedModel
from edge_agent.fleet.simulation.turn import Message, Rhythm, Turn, Wish
from edge_agent.link.backoff import pause_seconds
from edge_agent.link.commands import address_of, command_topic, render_report
from edge_agent.link.topics import Topics
from edge_agent.update.refusal import Reason


class SimulatedDevice:
    """See the module.

    Args:
        topics: its own.
        identity: what is alike on all of them.
        version: that it serves at first.
        faults: what goes wrong.
        rhythm: how often and how long.
        now: when it is switched on.
        epoch: seconds from 1970 to the zero of the clock.

    Attributes:
        model: its model.
        due: when :meth:`wake` is to be called next.
        is_present: whether it is connected.
        is_leaving: it has said goodbye for good, or is about to.
    """

    __slots__ = (
        "_away_until",
        "_clean",
        "_connected_at",
        "_connections",
        "_desk",
        "_due",
        "_epoch",
        "_failures",
        "_faults",
        "_identity",
        "_resumed",
        "_rhythm",
        "_said",
        "_started",
        "_stay_off",
        "is_leaving",
        "is_present",
        "model",
        "topics",
    )

    def __init__(
        self,
        topics: Topics,
        identity: Identity,
        version: str,
        faults: Faults,
        rhythm: Rhythm,
        *,
        now: float,
        epoch: float,
    ) -> None:
        self.topics = topics
        self._identity, self._faults, self._rhythm = identity, faults, rhythm
        self._epoch, self._started = epoch, now
        self.model = SimulatedModel(topics.device, identity.model, version, faults, rhythm.update)
        self._desk = Desk(OPERATIONS)
        self._stay_off = faults.is_off(topics.device)
        self.is_present = self.is_leaving = self._clean = self._resumed = False
        self._connections = self._failures = 0
        self._connected_at = now
        self._away_until = now
        self._said: set[str] = set()
        self._due: dict[str, float] = {}

    # What the world asks of it

    @property
    def due(self) -> float:
        """When it is to be woken."""
        if not self.is_present:
            return self._away_until
        return min(self.model.ends_at, min(self._due.values(), default=inf))

    @property
    def is_off(self) -> bool:
        """Whether it is off on purpose, or by a power cut."""
        return not self.is_present and self._away_until > self._connected_at and self._failures == 0

    @property
    def version(self) -> str | None:
        """What it serves."""
        return self.model.version

    @property
    def answered(self) -> int:
        """Commands that have ended."""
        return sum(command.has_ended for command in self._desk.known.values())

    def connected(self, now: float, *, resumed: bool) -> Turn:
        """The broker let it in."""
        self.is_present, self._resumed, self._connected_at = True, resumed, now
        self._connections += 1
        self._failures = 0
        if self.is_leaving:
            return self.leave(clean=self._clean)
        self._set_clocks(now)
        messages = [Message(self.topics.status, b"online"), *self._tell_all(now)]
        if self._stay_off:
            self._stay_off = False
            self._go_away(now)
            return Turn((*messages, self._offline()), Wish.LEAVE)
        return Turn((*messages, *self._take_up(now)))

    def lost(self, now: float) -> Turn:
        """The link broke, or could not be made; it tries again after a pause."""
        if self.is_present or self._away_until <= now:
            chance = self._faults.draw(
                self.topics.device, "pause", str(self._failures), str(self._connections)
            )
            pause = pause_seconds(self._failures, base=1.0, cap=30.0, fraction=chance)
            self._failures += 1
            self._away_until = now + pause
        self.is_present = False
        return Turn()

    def hear(self, topic: str, payload: bytes, *, retained: bool, now: float) -> Turn:
        """A message arrived."""
        address = address_of(topic, self.topics.root)
        if address is None or self.is_leaving:
            return Turn()
        told = self._desk.hear(address, payload, retained=retained, wall=self._epoch + now)
        return Turn((*map(self._report, told), *self._begin_next(now)))

    def wake(self, now: float) -> Turn:
        """Its time has come."""
        if not self.is_present:
            return Turn(wish=Wish.CONNECT) if now >= self._away_until else Turn()
        messages: list[Message] = []
        while self.model.ends_at <= now:
            if self.model.loses_power():
                self._go_away(now)
                return Turn(tuple(messages), Wish.BREAK)
            messages += self._walk(now)
        messages += self._routine(now)
        return Turn(tuple(messages))

    def leave(self, *, clean: bool) -> Turn:
        """It is to say goodbye; one that is off comes back to do so where it is to clear its topics."""
        self.is_leaving, self._clean = True, clean
        self.model.ends_at = inf
        self._due.clear()
        if not self.is_present:
            self._away_until = 0.0 if clean and self._connections else inf
            return Turn(wish=Wish.CONNECT) if clean and self._connections else Turn()
        if not clean:
            return Turn((self._offline(),), Wish.LEAVE)
        kept = (self.topics.status, self.topics.health, self.topics.info, *sorted(self._said))
        return Turn((self._offline(), *(Message(topic, b"") for topic in kept)), Wish.FORGET)

    # What it says

    def _offline(self) -> Message:
        return Message(self.topics.status, b"offline")

    def _tell_all(self, now: float) -> list[Message]:
        info = render_info(self._identity, self.topics.device, self.model.record)
        return [Message(self.topics.info, info), self._tell_model(), self._tell_health(now)]

    def _tell_model(self) -> Message:
        topic = self.topics.model(self.model.record.name)
        self._said.add(topic)
        return Message(topic, render_model(self.model.record, self.model.latest))

    def _tell_health(self, now: float) -> Message:
        payload = render_health(
            self.model.record,
            wall=self._epoch + now,
            uptime=now - self._started,
            connected=now - self._connected_at,
            connections=self._connections,
            resumed=self._resumed,
        )
        return Message(self.topics.health, payload)

    def _report(self, command: Command) -> Message:
        address = command.address
        topic = command_topic(self.topics.root, address.operation, address.id or "")
        self._said.add(topic)
        return Message(topic, render_report(command.report))

    def _set_clocks(self, now: float) -> None:
        """Devices do not speak in step."""
        for what in ("health", "power", "canary"):
            seconds = getattr(self._rhythm, what)
            if seconds:
                self._due[what] = now + seconds * self._faults.draw(self.topics.device, what)

    def _routine(self, now: float) -> list[Message]:
        messages = []
        for what, at in self._due.items():
            if at <= now:
                self._due[what] = now + getattr(self._rhythm, what)
                messages.append(self._routine_message(what, now))
        return messages

    def _routine_message(self, what: str, now: float) -> Message:
        if what == "health":
            return self._tell_health(now)
        if what == "power":
            return Message(self.topics.power, render_power(self._epoch + now), qos=0, retain=False)
        return Message(self.topics.canary, b"0123456789abcdef", retain=False)

    # What it is told to do

    def _begin_next(self, now: float) -> list[Message]:
        messages: list[Message] = []
        while (command := self._desk.next(self._epoch + now)) is not None:
            messages.append(self._report(command))
            messages += self._execute(command, now)
        return messages

    def _execute(self, command: Command, now: float) -> list[Message]:
        name, version = command.arguments.get("name"), command.arguments.get("version")
        if name != self.model.record.name:
            return self._end(now, f"{Reason.UNKNOWN_TARGET.value}: there is no model of this name")
        if command.address.operation == "model-rollback":
            return self._roll_back(now)
        if not isinstance(version, str) or not version:
            return self._end(now, f"{Reason.NO_REPOSITORY.value}: a simulated device follows no channel")
        if version == self.version:
            return self._end(now)
        self.model.begin(version, now)
        return [self._tell_model()]

    def _roll_back(self, now: float) -> list[Message]:
        if not self.model.roll_back():
            return self._end(now, f"{Reason.NOTHING_OLDER.value}: there is no older version")
        return [*self._tell_all(now), *self._end(now)]

    def _end(self, now: float, reason: str | None = None) -> list[Message]:
        """The command in hand has ended; the next one begins by itself in :meth:`_begin_next`."""
        result: dict[str, Any] | None = None
        if reason is None:
            result = {"name": self.model.record.name, "version": self.version}
        command = self._desk.end(reason, result, self._epoch + now)
        return [] if command is None else [self._report(command)]

    def _walk(self, now: float) -> list[Message]:
        """From one state of the update to the next."""
        before = self.version
        reason = self.model.walk(now)
        messages = [self._tell_model()] if self.version == before else self._tell_all(now)
        if self.model.record.is_at_rest:
            messages += self._end(now, None if reason is None else in_words(self.model.record))
            messages += self._begin_next(now)
        return messages

    # Away, and back

    def _go_away(self, now: float) -> None:
        self.is_present = False
        self.model.ends_at = inf
        chance = self._faults.draw(self.topics.device, "away")
        self._away_until = now + self._rhythm.away * (0.5 + chance) if self._rhythm.away else inf

    def _take_up(self, now: float) -> list[Message]:
        """After a start: the record is recovered, and a command that was interrupted is executed again."""
        if self.model.ends_at < inf or (self.model.record.is_at_rest and self._desk.executing is None):
            return self._begin_next(now)
        self.model.recover()
        messages = [self._tell_model()]
        if self._desk.executing is not None:
            command = self._desk.take_up()
            if command is None:
                messages += self._end(now, INTERRUPTED)
            else:
                messages += [self._report(command), *self._execute(command, now)]
        return [*messages, *self._begin_next(now)]
