"""The desk: takes commands, has one at a time executed, and tells how each ends.

One thread owns the record. It never waits for an operation, which runs in its own thread and may hang, so
that a message is written down and acknowledged at once: an acknowledgement held back would hold back those of
all requests behind it (MQTT 5.0 section 4.6). Every command that was taken ends within its operation's
deadline, and every one that was not is ``failed`` with the reason, unless it has been cleared.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread

from edge_agent.link.commands import MAX_STATE_BYTES, Cleared, Status, command_topic
from edge_agent.link.protocol import Delivery
from edge_agent.link.topics import Topics
from edge_agent.log import get_logger
from edge_agent.service.commands.intake import Arrival, sort
from edge_agent.service.commands.operation import Operation, Outcome, Run, Runner, where_of
from edge_agent.service.commands.policy import BUSY, Clocks, Policy
from edge_agent.service.commands.store import CommandStore
from edge_agent.service.commands.teller import Teller, Voice

MOST_IN_INBOX = 64
"""States that the broker retained, which come all together, may fill half of it: commands go first."""


@dataclass(frozen=True, slots=True)
class _Ended:
    run: Run
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


def new_id() -> str:
    """An id for a command that came without one."""
    return secrets.token_hex(8)


class CommandDesk:
    """Executes commands.

    Args:
        link: where states are told and messages acknowledged.
        topics: of this device.
        store: the record; the desk's thread alone uses it from :meth:`start` on.
        operations: what the device can be told to do, by name.
        clocks: what time it is.
        count_drop: counts messages that are neither executed nor reported, by reason.
        mint: makes ids for commands that come on ``request/<op>``.
        most_bytes: largest payload that the broker takes.
    """

    def __init__(
        self,
        link: Voice,
        topics: Topics,
        store: CommandStore,
        operations: Mapping[str, Operation],
        clocks: Clocks,
        *,
        count_drop: Callable[[str], None] = lambda _reason: None,
        mint: Callable[[], str] = new_id,
        most_bytes: Callable[[], int] = lambda: MAX_STATE_BYTES,
    ) -> None:
        self._link = link
        self._root = topics.root
        self._store = store
        self._names = tuple(sorted(operations))
        self._clocks = clocks
        self._count_drop = count_drop
        self._log = get_logger()
        self._inbox: SimpleQueue[Arrival | _Ended | _Stop] = SimpleQueue()
        self._stopping = Event()
        self._teller = Teller(link, most_bytes)
        runner = Runner(self._on_end, self._stopping, clocks.monotonic)
        self._policy = Policy(self._root, store, dict(operations), self._teller, runner, clocks, mint)
        self._thread = Thread(target=self._run, name="commands", daemon=True)

    @property
    def operations(self) -> tuple[str, ...]:
        """What the device can be told to do, for ``info``."""
        return self._names

    def start(self) -> None:
        """Reads the record, takes up what was interrupted, and begins to work."""
        self._thread.start()

    def takes(self, topic: str) -> bool:
        """Whether a topic is a command's."""
        return topic.startswith((f"{self._root}/cmd/", f"{self._root}/request/"))

    def on_delivery(self, delivery: Delivery) -> None:
        """Takes a message; in the network thread, never blocks."""
        arrival = sort(delivery, self._root, self._count_drop)
        if arrival is None:
            self._link.settle(delivery)
        elif self._inbox.qsize() < MOST_IN_INBOX // (2 if isinstance(arrival.content, Status) else 1):
            self._inbox.put(arrival)
        else:
            self._turn_away(arrival)

    def stop(self, timeout_seconds: float) -> bool:
        """Begins nothing more and lets the running operation end; else the next start takes it up.

        Returns:
            Whether all had ended within the time.
        """
        self._stopping.set()
        self._inbox.put(_Stop())
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _turn_away(self, arrival: Arrival) -> None:
        if isinstance(arrival.content, Status):
            pass
        elif isinstance(arrival.content, Cleared):
            assert arrival.address.id is not None
            self._teller.cleared(command_topic(self._root, arrival.address.operation, arrival.address.id))
        else:
            self._policy.turn_away(arrival, BUSY)
        self._count_drop("commands_busy")
        self._link.settle(arrival.delivery)

    def _on_end(self, run: Run, outcome: Outcome | None) -> None:
        self._inbox.put(_Ended(run, outcome))

    # The desk's thread

    def _run(self) -> None:
        self._store.load()
        self._guarded(self._policy.take_up)
        while True:
            self._guarded(self._policy.begin_next)
            item = self._next()
            if isinstance(item, _Stop):
                break
            self._guarded(partial(self._handle, item))
        while self._policy.running is not None:  # what arrives now stays the broker's
            last = self._inbox.get()
            if isinstance(last, _Ended):
                self._guarded(partial(self._policy.take_end, last.run, last.outcome, is_leaving=True))

    def _next(self) -> Arrival | _Ended | _Stop | None:
        """What comes next, or None when the running operation's time is over."""
        run = self._policy.running
        if run is None:
            return self._inbox.get()
        try:
            return self._inbox.get(timeout=max(0.0, run.overdue_at - self._clocks.monotonic()))
        except Empty:
            return None

    def _handle(self, item: Arrival | _Ended | None) -> None:
        if isinstance(item, Arrival):
            try:
                if not self._link.comes_again(item.delivery):
                    self._policy.take(item)
            finally:
                self._link.settle(item.delivery)
        elif isinstance(item, _Ended):
            self._policy.take_end(item.run, item.outcome, is_leaving=False)
        self._policy.give_up()

    def _guarded(self, step: Callable[[], None]) -> None:
        """A fault of our own ends one step and not the desk."""
        try:
            step()
        except Exception as error:
            self._log.error("commands.internal", error=type(error).__name__, where=where_of(error))
