"""Thousands of MQTT sessions in one thread: a selector (epoll), and a heap of who is to be woken when.

Sockets are opened by a few threads, since a handshake over a network waits for round trips, and no faster
than a broker bears.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import Final

from edge_agent.errors import BrokerError
from edge_agent.fleet.simulation.session import Place, Session
from edge_agent.fleet.simulation.turn import Turn, Wish
from edge_agent.link.paho_client import error_in_words

_OPENERS: Final = 16
_LOOK_SECONDS: Final = 5.0
_LONGEST_WAIT_SECONDS: Final = 1.0


class Sessions:
    """Drives sessions. :meth:`pump` again and again.

    Args:
        sessions: of all devices.
        per_second: connections that are opened at most.
        clock: monotonic seconds.

    Attributes:
        fault: why a session last broke, or was not made, in words; None while none did.
    """

    def __init__(
        self, sessions: Sequence[Session], per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._all = sessions
        self._pause = 1.0 / per_second
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[Session, int] = {}
        self._heap: list[tuple[float, int, Session]] = []
        self._planned: dict[Session, float] = {}
        self._to_open: deque[Session] = deque()
        self._opening = 0
        self._opened: deque[tuple[Session, str | None]] = deque()
        self._next_opening = 0.0
        self._next_look = clock() + _LOOK_SECONDS
        self._pool = ThreadPoolExecutor(_OPENERS, thread_name_prefix="opener")
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self.fault: str | None = None
        for session in sessions:
            self._plan(session)

    def __enter__(self) -> Sessions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        for session in self._all:
            session.close()
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()

    def pump(self) -> None:
        """Waits until something happens or is due, a second at most, and handles all of it."""
        self._open_some()
        for key, _ in self._selector.select(self._wait_seconds()):
            if key.data is None:
                with suppress(BlockingIOError):
                    self._wake_read.recv(4096)
            else:
                key.data.read(self._clock())
                self._finish(key.data)
        self._look()
        # Only now: a descriptor that was just closed may be that of a socket which was just opened.
        self._take_opened()
        self._wake_due()

    def leave(self, *, clean: bool) -> None:
        """Every device is to say goodbye."""
        while self._to_open:
            self._to_open.pop().place = Place.AWAY
        for session in self._all:
            self._carry_out(session, session.device.leave(clean=clean))
            self._finish(session)

    @property
    def open(self) -> int:
        """Connections that there are."""
        return len(self._sockets)

    @property
    def is_busy(self) -> bool:
        """Whether a connection is open, or is to be."""
        return bool(self._sockets or self._opening or self._to_open) or any(
            session.device.due < inf for session in self._all if not session.is_over
        )

    def _wait_seconds(self) -> float:
        now, due = self._clock(), self._next_look
        if self._heap:
            due = min(due, self._heap[0][0])
        if self._to_open and self._opening < _OPENERS:
            due = min(due, self._next_opening)
        return 0.0 if self._opened else max(0.0, min(_LONGEST_WAIT_SECONDS, due - now))

    # Opening

    def _open_some(self) -> None:
        now = self._clock()
        while self._to_open and self._opening < _OPENERS and now >= self._next_opening:
            session = self._to_open.popleft()
            # A pump that comes late catches up a little, not with a burst.
            self._next_opening = max(self._next_opening, now - 10 * self._pause) + self._pause
            self._opening += 1
            self._pool.submit(self._open, session)

    def _open(self, session: Session) -> None:
        """In a thread of the pool."""
        fault: str | None = None
        try:
            session.open()
        except BrokerError as error:
            fault = str(error)
        except (OSError, ValueError) as error:
            fault, _ = error_in_words(error)
        self._opened.append((session, fault))
        with suppress(OSError):
            self._wake_write.send(b"\0")

    def _take_opened(self) -> None:
        while self._opened:
            session, fault = self._opened.popleft()
            self._opening -= 1
            if fault is None:
                session.place = Place.OPEN
                self._sockets[session] = descriptor = session.opened()
                self._selector.register(descriptor, selectors.EVENT_READ, session)
            else:
                session.place, self.fault = Place.AWAY, fault
                session.was_lost(self._clock(), fault)
            self._finish(session)

    # What is due

    def _plan(self, session: Session) -> None:
        """Puts a session into the heap, where its next waking is another than was planned."""
        is_between = session.place is Place.QUEUED or (
            session.place is Place.OPEN and not session.device.is_present
        )
        due = session.device.due
        if session.is_over or is_between or due == self._planned.get(session):
            return
        self._planned[session] = due
        if due < inf:
            heapq.heappush(self._heap, (due, id(session), session))

    def _wake_due(self) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due, _, session = heapq.heappop(self._heap)
            if self._planned.get(session) != due:
                continue
            del self._planned[session]
            if not session.is_over:
                self._carry_out(session, session.device.wake(now))
                self._finish(session)

    def _look(self) -> None:
        """Keep-alive of all; a few seconds more or less are nothing to it."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        for session in list(self._sockets):
            session.look_at_the_clock()
            self._finish(session)

    def _carry_out(self, session: Session, turn: Turn) -> None:
        if turn.wish is Wish.CONNECT and session.place is Place.AWAY:
            session.place = Place.QUEUED
            self._to_open.append(session)
        session.carry_out(turn)

    def _finish(self, session: Session) -> None:
        """Writes what the session has to say, closes it where it is done, and plans its next waking."""
        if session.place is Place.OPEN:
            is_blocked = session.flush()
            if session.is_done:
                self._end(session)
            else:
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if is_blocked else 0)
                descriptor = self._sockets[session]
                if self._selector.get_key(descriptor).events != events:
                    self._selector.modify(descriptor, events, session)
        self._plan(session)

    def _end(self, session: Session) -> None:
        self._selector.unregister(self._sockets.pop(session))
        session.place = Place.AWAY
        session.close()
        if session.fault is not None:
            self.fault = session.fault
        session.was_lost(self._clock(), session.fault)
