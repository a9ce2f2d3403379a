"""Which commands a simulated device takes: the rules of PROTOCOL §1, without its file. Pure.

As on a real one (``edge_agent.service.commands``): one at a time, an id that has ended is never executed
again, a state that the broker retained is compared with what is known, and a cleared command that has not
begun is not begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge_agent.link.commands import (
    Address,
    Ask,
    Cleared,
    CommandFault,
    Report,
    Status,
    parse_command,
    parse_wish,
    quoted,
    refusal_of,
)

MOST_ATTEMPTS: Final = 2
REPLAYED: Final = "this id has ended before and is never executed again; ask under a new id"
UNKNOWN: Final = "interrupted: the device has no record of this command any more"
INTERRUPTED: Final = "interrupted: the device stopped while it was executed"
_ENDED: Final = frozenset({Status.SUCCESSFUL, Status.FAILED})


@dataclass(slots=True)
class Command:
    """One command; times in seconds since the epoch.

    Attributes:
        address: its operation and id.
        arguments: what it was asked with.
        report: where it stands.
        attempts: how often it was begun.
        is_cleared: nothing is told of it any more.
    """

    address: Address
    arguments: Mapping[str, Any]
    report: Report
    attempts: int = 0
    is_cleared: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether its state is final."""
        return self.report.status in _ENDED


@dataclass(slots=True)
class Desk:
    """The commands of one device.

    Args:
        operations: that it knows.
    """

    operations: tuple[str, ...]
    known: dict[Address, Command] = field(default_factory=dict)
    waiting: list[Command] = field(default_factory=list)
    executing: Command | None = None
    minted: int = 0

    def hear(self, address: Address, payload: bytes, *, retained: bool, wall: float) -> list[Command]:
        """Takes a message on a command's topic.

        Args:
            address: of the topic.
            payload: of the message.
            retained: whether the broker had kept it.
            wall: seconds since the epoch.

        Returns:
            Commands whose report is to be told now.
        """
        if address.id is None:
            return [] if retained else self._ask(self._mint(address), parse_wish(payload), wall)
        try:
            content = parse_command(payload)
        except CommandFault as fault:
            return self._refuse(address, str(fault), wall)
        if isinstance(content, Cleared):
            self._clear(address)
            return []
        if isinstance(content, Status):
            return self._correct(address, content, wall) if retained else []
        return self._ask(address, content, wall)

    def next(self, wall: float) -> Command | None:
        """Begins what waits, unless something is being executed; what began is to be told."""
        if self.executing is not None or not self.waiting:
            return None
        command = self.waiting.pop(0)
        command.attempts = 1
        command.report = Report(Status.EXECUTING, started_at=wall)
        self.executing = command
        return command

    def end(self, reason: str | None, result: Mapping[str, Any] | None, wall: float) -> Command | None:
        """What was executed has ended; it is to be told unless it was cleared."""
        command, self.executing = self.executing, None
        assert command is not None
        status = Status.SUCCESSFUL if reason is None else Status.FAILED
        command.report = Report(status, reason, result, command.report.started_at, wall)
        return None if command.is_cleared else command

    def take_up(self) -> Command | None:
        """After a power cut: the command that is to be executed once more; None where there is none."""
        command = self.executing
        if command is None or command.attempts >= MOST_ATTEMPTS:
            return None
        command.attempts += 1
        return command

    def _ask(self, address: Address, ask: Ask, wall: float) -> list[Command]:
        known = self.known.get(address)
        if known is not None:
            if known.is_cleared and known.has_ended:
                return self._refuse(address, REPLAYED, wall)
            return [known] if known.report.status is not Status.INIT and not known.is_cleared else []
        if address.operation not in self.operations:
            names = ", ".join(self.operations)
            return self._refuse(
                address, f"unknown operation {quoted(address.operation)}; this device knows {names}", wall
            )
        late = refusal_of(ask, now=wall, waited_seconds=0.0, message_expiry_seconds=None, clock_synced=True)
        if late is not None:
            return self._refuse(address, late, wall)
        command = Command(address, ask.arguments, Report(Status.INIT))
        self.known[address] = command
        self.waiting.append(command)
        return []

    def _correct(self, address: Address, status: Status, wall: float) -> list[Command]:
        known = self.known.get(address)
        if known is None:
            return self._refuse(address, UNKNOWN, wall) if status is Status.EXECUTING else []
        is_wrong = known.report.status is not status and known.report.status is not Status.INIT
        return [known] if is_wrong and not known.is_cleared else []

    def _clear(self, address: Address) -> None:
        known = self.known.get(address)
        if known is None:
            return
        known.is_cleared = True
        if known in self.waiting:
            self.waiting.remove(known)
            del self.known[address]

    def _refuse(self, address: Address, reason: str, wall: float) -> list[Command]:
        """What was never taken is told and not remembered."""
        return [Command(address, {}, Report(Status.FAILED, reason, ended_at=wall))]

    def _mint(self, address: Address) -> Address:
        self.minted += 1
        return Address(address.operation, f"wish-{self.minted}")
