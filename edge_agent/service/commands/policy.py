"""What the desk decides: which commands are taken, refused, begun, taken up again, and what is told of them.

For one thread, which never waits here but for the record's file. What is refused before it begins is not
written down, so that a flood of nonsense writes nothing to flash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edge_agent.link.commands import Address, Ask, Cleared, CommandFault, Report, Status, command_topic
from edge_agent.log import get_logger
from edge_agent.service.commands.admission import Moment, address_fault, fresh_record, lateness, unknown
from edge_agent.service.commands.intake import Arrival
from edge_agent.service.commands.operation import Operation, Outcome, Run, Runner
from edge_agent.service.commands.record import Record
from edge_agent.service.commands.states import Interruption, Step
from edge_agent.service.commands.store import CommandStore, RecordError
from edge_agent.service.commands.teller import Teller

MOST_WAITING = 16
BUSY = "busy: too many commands wait already"
_MOST_ATTEMPTS = 2
_INTERRUPTED = "interrupted: the device stopped while it was executed"
_UNKNOWN_TO_US = "interrupted: the device has no record of this command any more"
_REPLAYED = "this id has ended before and is never executed again; ask under a new id"


@dataclass(frozen=True, slots=True)
class Clocks:
    """The wall clock (seconds since the epoch), whether it is synchronised, and the monotonic one."""

    is_synced: Callable[[], bool]
    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Policy:
    """Decides; see :class:`~edge_agent.service.commands.desk.CommandDesk` for the arguments."""

    def __init__(
        self,
        root: str,
        store: CommandStore,
        operations: Mapping[str, Operation],
        teller: Teller,
        runner: Runner,
        clocks: Clocks,
        mint: Callable[[], str],
    ) -> None:
        self._root = root
        self._store = store
        self._operations = operations
        self._teller = teller
        self._runner = runner
        self._clocks = clocks
        self._mint = mint
        self._log = get_logger()
        self.running: Run | None = None

    # What arrives

    def take(self, arrival: Arrival) -> None:
        """Acts on a message; afterwards it may be acknowledged."""
        content = arrival.content
        if isinstance(content, Cleared):
            self._clear(arrival.address)
        elif isinstance(content, Status):
            self._correct(arrival.address, content)
        else:
            self._ask(arrival, content)

    def turn_away(self, arrival: Arrival, reason: str) -> None:
        """Reports that a command is not taken; for any thread."""
        command_id = arrival.address.id or self._mint()
        self._refuse(command_topic(self._root, arrival.address.operation, command_id), reason)

    def _ask(self, arrival: Arrival, content: Ask | CommandFault) -> None:
        address, mark = arrival.address, arrival.mark
        if mark is not None and arrival.is_redelivery and self._store.marked(address.operation, mark):
            return
        command_id = address.id or self._mint()
        topic = command_topic(self._root, address.operation, command_id)
        known = self._store.find(address.operation, command_id)
        if known is not None:
            self._tell_again(topic, known)
            return
        refused = self._teller.told(topic)  # in this life, and never begun
        if refused is not None:
            self._teller.tell(topic, refused)
            return
        if isinstance(content, CommandFault):
            self._refuse(topic, str(content))
            return
        reason = self._refusal(arrival, content)
        if reason is not None:
            self._refuse(topic, reason)
            return
        self._accept(topic, fresh_record(address.operation, command_id, content, self._clocks.wall(), mark))

    def _refusal(self, arrival: Arrival, ask: Ask) -> str | None:
        """Why a command is not taken, or None."""
        moment = Moment(
            now=self._clocks.wall(),
            waited_seconds=self._clocks.monotonic() - arrival.delivery.received,
            clock_synced=self._clocks.is_synced(),
        )
        return (
            address_fault(arrival.address, self._operations)
            or lateness(
                ask,
                moment,
                arrival.delivery.message.expiry_seconds,
                forgotten_until=self._store.forgotten_until,
            )
            or (BUSY if len(self._store.waiting) >= MOST_WAITING else None)
        )

    def _accept(self, topic: str, record: Record) -> None:
        """Begins a command, or writes it down to wait for its turn."""
        if self.running is None and not self._store.waiting:
            self._begin(record)
            return
        try:
            self._store.put(record)
        except RecordError as error:
            self._refuse(topic, str(error))

    def _tell_again(self, topic: str, record: Record) -> None:
        """Answers to an ``init`` under a known id: it came again, or somebody replays it."""
        if record.is_cleared and record.has_ended:
            self._refuse(topic, _REPLAYED)
        elif record.status is not Status.INIT and not record.is_cleared:
            self._teller.tell(topic, record.report)

    def _correct(self, address: Address, status: Status) -> None:
        """Compares a state that the broker retained with the record."""
        assert address.id is not None
        topic = command_topic(self._root, address.operation, address.id)
        record = self._store.find(address.operation, address.id)
        if record is None:
            if status is Status.EXECUTING:
                self._refuse(topic, _UNKNOWN_TO_US)
        elif record.is_cleared:
            if record.has_ended and self._teller.told(topic) is None:
                self._teller.clear(topic)
        elif record.status is not status and record.status is not Status.INIT:
            self._teller.tell(topic, record.report)

    def _clear(self, address: Address) -> None:
        """The requester is not interested any more: what has not begun is not begun."""
        assert address.id is not None
        self._teller.cleared(command_topic(self._root, address.operation, address.id))
        record = self._store.find(address.operation, address.id)
        if record is None or record.is_cleared:
            return
        cleared = replace(record, is_cleared=True)
        try:
            if record.status is Status.INIT:
                self._store.forget(record)
            else:
                self._store.put(cleared)
        except RecordError as error:
            self._log.warning("command.not_recorded", reason=str(error))
            self._store.note(cleared)

    # Execution

    def take_up(self) -> None:
        """After a start: tells the newest end again, and goes on with what was interrupted."""
        for record in self._store.ended[-1:]:
            if not record.is_cleared:
                self._teller.tell(self._topic(record), record.report)
        record_in_hand = self._store.executing
        if record_in_hand is None:
            return
        operation = self._operations.get(record_in_hand.operation)
        way = Interruption.FAILED if operation is None else operation.interruption
        self._log.info("command.interrupted", operation=record_in_hand.operation, becomes=way.value)
        if way is Interruption.SUCCESSFUL:
            self._end(record_in_hand, Outcome())
        elif way is Interruption.RUN_AGAIN and record_in_hand.attempts < _MOST_ATTEMPTS:
            self._begin(record_in_hand)
        else:
            self._end(record_in_hand, Outcome(reason=_INTERRUPTED))

    def begin_next(self) -> None:
        """Begins what waits, unless something is being executed."""
        while self.running is None and (waiting := self._store.waiting):
            self._begin(waiting[0])

    def _begin(self, record: Record) -> None:
        reason = self._hindrance(record)
        if reason is None:
            begun = record.begun(self._clocks.wall())
            try:
                self._tidy(record)
                self._store.put(begun)
            except RecordError as error:
                reason = str(error)
            else:
                self._log.info("command.executing", operation=record.operation, attempt=begun.attempts)
                if not begun.is_cleared:
                    self._teller.tell(self._topic(begun), begun.report)
                self.running = self._runner.start(begun, self._operations[record.operation])
                return
        if record.status is Status.INIT:
            self._close(record.ended(Step.REFUSE, self._clocks.wall(), reason))
        else:
            self._end(record, Outcome(reason=reason))

    def _hindrance(self, record: Record) -> str | None:
        """Why a command cannot begin now, or None."""
        if record.operation not in self._operations:
            return unknown(record.operation, self._operations)
        if self._runner.hangs(record.operation):
            return f"an earlier {record.operation} has not ended yet"
        is_late = record.expires_at is not None and self._clocks.wall() >= record.expires_at
        if record.status is Status.INIT and is_late and self._clocks.is_synced():
            return "expired while it waited for its turn"
        return None

    def take_end(self, run: Run, outcome: Outcome | None, *, is_leaving: bool) -> None:
        """A run has ended; one that was given up before is nothing any more."""
        if run is not self.running:
            return
        self.running = None
        if outcome is None and is_leaving:
            return
        self._end(run.record, outcome or Outcome(reason="it ended without an outcome"))

    def give_up(self) -> None:
        """Reports the running operation as failed when its time is over."""
        run = self.running
        if run is not None and self._clocks.monotonic() >= run.overdue_at:
            self.running = None
            self._end(run.record, Outcome(reason=f"did not end within {run.deadline_seconds:g} s"))

    def _end(self, record: Record, outcome: Outcome) -> None:
        """Writes the end down, then tells it."""
        current = self._store.find(*record.key) or record  # it may have been cleared meanwhile
        step = Step.SUCCEED if outcome.reason is None else Step.FAIL
        self._close(current.ended(step, self._clocks.wall(), outcome.reason, outcome.result))

    def _close(self, ended: Record) -> None:
        try:
            self._store.put(ended)
        except RecordError as error:
            # What was done was done, and is told; the next record that can be written has it as well.
            self._log.error("command.not_recorded", reason=str(error))
            self._store.note(ended)
        self._log.info(
            "command.ended", operation=ended.operation, status=ended.status.value, reason=ended.reason
        )
        if not ended.is_cleared:
            self._teller.tell(self._topic(ended), ended.report)

    def _tidy(self, record: Record) -> None:
        """Nobody clears the report of a wish, say a button's: the next of its operation replaces it."""
        if record.mark is None:
            return
        for old in self._store.ended:
            if old.mark is not None and old.operation == record.operation and not old.is_cleared:
                self._teller.clear(self._topic(old))
                self._store.note(replace(old, is_cleared=True))

    def _refuse(self, topic: str, reason: str) -> None:
        self._log.info("command.refused", reason=reason)
        self._teller.tell(topic, Report(Status.FAILED, reason, ended_at=self._clocks.wall()))

    def _topic(self, record: Record) -> str:
        return command_topic(self._root, record.operation, record.id)
