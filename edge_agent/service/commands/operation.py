"""What an operation is to the desk, and running one in a thread of its own.

An operation may hang for ever in a library or a driver; the desk must not. So each runs in a thread that can
be abandoned. An operation that still hangs is not begun again, which bounds the threads by the operations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, Protocol

from edge_agent.errors import EdgeAgentError
from edge_agent.link.commands import MAX_STATE_BYTES
from edge_agent.link.envelope import encode_json
from edge_agent.log import get_logger
from edge_agent.service.commands.record import Record
from edge_agent.service.commands.states import Interruption


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended.

    Attributes:
        reason: why it failed, in words; None when it succeeded.
        result: what it found, fit for JSON, or None.
    """

    reason: str | None = None
    result: Mapping[str, Any] | None = None


class Operation(Protocol):
    """Something that the device can be told to do."""

    @property
    def deadline_seconds(self) -> float:
        """It is reported ``failed`` when it has not ended by then."""

    @property
    def interruption(self) -> Interruption:
        """What becomes of it when the process ends in the middle."""

    def run(self, arguments: Mapping[str, Any], stopping: Event) -> Outcome | None:
        """Does it.

        Args:
            arguments: of the requester, unchecked.
            stopping: set when the daemon is about to end.

        Returns:
            How it ended; None where the daemon's end came first: then it counts as interrupted.

        Raises:
            EdgeAgentError: it failed, and the message is the reason.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """An operation on its way.

    Attributes:
        record: of the command.
        deadline_seconds: how long it may take.
        overdue_at: when it is too late, monotonic seconds.
    """

    record: Record
    deadline_seconds: float
    overdue_at: float


class Runner:
    """Runs operations.

    Args:
        on_end: told how a run ended, in the run's thread.
        stopping: set when the daemon is about to end.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        on_end: Callable[[Run, Outcome | None], None],
        stopping: Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_end = on_end
        self._stopping = stopping
        self._clock = clock
        self._under_way: set[str] = set()

    def hangs(self, operation: str) -> bool:
        """Whether an earlier run of the operation has not ended."""
        return operation in self._under_way

    def start(self, record: Record, operation: Operation) -> Run:
        """Begins a run."""
        run = Run(record, operation.deadline_seconds, self._clock() + operation.deadline_seconds)
        name = f"command-{record.operation}"[:15]
        thread = Thread(target=self._run, args=(run, operation), name=name, daemon=True)
        self._under_way.add(record.operation)
        thread.start()
        return run

    def _run(self, run: Run, operation: Operation) -> None:
        try:
            outcome = self._outcome(run, operation)
        finally:
            self._under_way.discard(run.record.operation)
        self._on_end(run, outcome)

    def _outcome(self, run: Run, operation: Operation) -> Outcome | None:
        try:
            outcome = operation.run(run.record.arguments or {}, self._stopping)
            if outcome is not None and outcome.result is not None:
                # What JSON or the record cannot carry is to fail here and not in the desk.
                size = len(encode_json(outcome.result))
                if size > MAX_STATE_BYTES:
                    return Outcome(reason=f"the result has {size} bytes, more than {MAX_STATE_BYTES}")
        except EdgeAgentError as error:
            return Outcome(reason=str(error))
        except Exception as error:
            name = type(error).__name__
            get_logger().error(
                "command.internal", operation=run.record.operation, error=name, where=where_of(error)
            )
            return Outcome(reason=f"internal: {name}")
        return outcome


def where_of(error: Exception) -> str:
    """The line that raised, and never what was said: a foreign error may quote the user's text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
