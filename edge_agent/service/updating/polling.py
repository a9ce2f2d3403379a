"""Asks the repository now and then whether there is anything new, and says when the child should look.

The child looks

* once soon after the start, as soon as the repository answers;
* when the repository has changed since the child last looked with success;
* once a day all the same: whoever withholds updates is seen only when the trusted metadata have expired.

A look that failed is tried again after a period, then after two, four, eight, a day at most, and at once when
the repository has changed again. A repository that does not answer is asked again by full jitter, at most a
period later. How the repository was is not kept over a restart, since the child looks after a start anyhow.

:class:`PollPlan` decides and is pure; :class:`Poller` asks, in a thread that lives as long as one answer
takes, so that nobody waits for the network or for a folder on a stick that was pulled.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from enum import Enum
from threading import Lock, Thread
from typing import Final
from urllib.request import OpenerDirector

from edge_agent.link.backoff import pause_seconds
from edge_agent.log import get_logger
from edge_agent.update.poll import Poll, Tag, ask, base_of, next_wait, open_web

DAY_SECONDS: Final = 86_400.0
LONGEST_SECONDS: Final = 90.0
"""Whoever has not answered by then does not answer."""
_START_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 60.0
_FIRST_PAUSE_SECONDS: Final = 30.0
_LEAST_PAUSE_SECONDS: Final = 1.0
_TOLD_FAULTS: Final = 3


class Look(str, Enum):
    """Why the child should look."""

    STARTED = "the daemon has started"
    CHANGED = "the repository has changed"
    DAILY = "a day has passed"


class PollPlan:
    """When to ask, and whether an answer means that the child should look. Times by one monotonic clock.

    Args:
        period_seconds: between two askings, on average.
        now: the start, seconds.
        chance: evenly from 0 to 1.

    Attributes:
        due: when to ask next.
        seen: of the repository when the child last looked with success; what to ask with.
    """

    def __init__(self, period_seconds: float, now: float, chance: Callable[[], float]) -> None:
        self._period = period_seconds
        self._chance = chance
        self._looked = now  # a day after the start at the latest, answer or not
        self._has_looked = False
        self._offered: Tag | None = None
        self._tried: Tag | None = None
        self._failed: Tag | None = None
        self._failures = 0
        self._retry = now
        self._faults = 0
        self._words = ""
        self.seen: Tag | None = None
        self.due = now + chance() * min(period_seconds, _START_SECONDS)

    @property
    def fault(self) -> str | None:
        """What ``health`` is to tell: not of one answer that failed, which is the net's daily bread."""
        if self._faults < _TOLD_FAULTS:
            return None
        return f"updates: the repository does not answer: {self._words}; see updates.repository"

    def asking(self, now: float) -> None:
        """An asking begins; by :attr:`due` it is over."""
        self.due = now + LONGEST_SECONDS

    def held_back(self, now: float) -> None:
        """The child could not look now."""
        self.due = now + min(self._period, _AGAIN_SECONDS)

    def answered(self, poll: Poll, now: float) -> Look | None:
        """An asking ended.

        Returns:
            Why the child should look, or None. When it does, :meth:`looking` is to be told.
        """
        if poll.fault is None:
            self._faults = 0
            self.due = now + next_wait(self._period, self._chance)
            self._offered = poll.tag
        else:
            self._words = poll.fault
            pause = pause_seconds(
                self._faults, base=_FIRST_PAUSE_SECONDS, cap=self._period, fraction=self._chance()
            )
            self._faults += 1
            self.due = now + max(_LEAST_PAUSE_SECONDS, pause)
            self._offered = self.seen
        return self._why(poll, now)

    def _why(self, poll: Poll, now: float) -> Look | None:
        if poll.fault is None and not self._has_looked:
            return Look.STARTED
        if poll.is_new and (poll.tag != self._failed or now >= self._retry):
            return Look.CHANGED
        return Look.DAILY if now - self._looked >= DAY_SECONDS else None

    def looking(self, now: float) -> None:
        """The child is about to look at what the last answer offered."""
        self._looked, self._has_looked, self._tried = now, True, self._offered

    def looked(self, now: float, *, is_done: bool) -> None:
        """The child has looked.

        Args:
            now: when it ended.
            is_done: there is nothing to try again before the repository changes.
        """
        if is_done:
            self.seen, self._failed, self._failures = self._tried, None, 0
            return
        self.seen, self._failed = None, self._tried  # so the next answer is new to us, though not to _why
        self._retry = now + min(DAY_SECONDS, self._period * 2.0 ** min(self._failures, 32))
        self._failures += 1


class Poller:
    """Asks, by a plan. For the main thread, save where it is said.

    Args:
        source: address or folder of the repository.
        period_seconds: between two askings, on average.
        on_look: told why the child should look; from any thread, so it is only to hand that over.
        may_look: whether the child could begin now: no update runs, none waits. Where not, nobody is asked.
            From any thread.
        clock: monotonic seconds.
        chance: evenly from 0 to 1.
    """

    def __init__(
        self,
        source: str,
        period_seconds: float,
        *,
        on_look: Callable[[Look], None],
        may_look: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._base = base_of(source)
        self._plan = PollPlan(period_seconds, clock(), chance)
        self._on_look = on_look
        self._may_look = may_look
        self._clock = clock
        self._log = get_logger()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._opener: OpenerDirector | None = None
        self._turn = 0
        self._is_stopped = False

    @property
    def due(self) -> float:
        """When :meth:`step` next has something to do; earlier calls do nothing and cost nothing."""
        return self._plan.due

    @property
    def fault(self) -> str | None:
        """What ``health`` is to tell, or None; from any thread."""
        return self._plan.fault

    def step(self) -> None:
        """Begins to ask if it is time; every few seconds, or at :attr:`due`."""
        now = self._clock()
        if self._is_stopped or now < self._plan.due:
            return
        if self._thread is not None and self._thread.is_alive():
            self._conclude(self._turn, Poll(False, None, f"no answer within {LONGEST_SECONDS:.0f} s"))
        elif not self._may_look():
            self._plan.held_back(now)
        else:
            self._begin(now)

    def looked(self, *, is_done: bool) -> None:
        """The child that ``on_look`` asked for, and no other one, has ended; from any thread.

        Args:
            is_done: there is nothing to try again before the repository changes: it found nothing new, or
                installed it, or refused it for what it is. Not so where this machine or the network failed.
        """
        with self._lock:
            self._plan.looked(self._clock(), is_done=is_done)

    def stop(self, timeout_seconds: float) -> bool:
        """Nobody is told of anything from now on; returns whether no asking is under way any more."""
        self._is_stopped = True
        return self.wait(timeout_seconds)

    def wait(self, timeout_seconds: float) -> bool:
        """Waits for the answer to the asking that is under way; returns whether it has come."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        return self._thread is None or not self._thread.is_alive()

    def _begin(self, now: float) -> None:
        with self._lock:
            self._plan.asking(now)
            self._turn += 1
            arguments = (self._turn, self._plan.seen)
        thread = Thread(target=self._ask, args=arguments, name="update-poll", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread can be had now
            self._conclude(arguments[0], Poll(False, None, "no thread can be had"))
        else:
            self._thread = thread

    def _ask(self, turn: int, tag: Tag | None) -> None:
        """In its own thread."""
        try:
            if self._opener is None and not self._base.startswith("file:"):
                self._opener = open_web(self._base)
            poll = ask(self._base, tag, opener=self._opener)
        except Exception as error:  # a fault of ours is not to end polling
            self._log.error("update.poll_broke", error=type(error).__name__)
            poll = Poll(False, tag, f"internal: {type(error).__name__}")
        if poll.fault is not None:
            self._opener = None  # the system's certificates may have been renewed since
        self._conclude(turn, poll)

    def _conclude(self, turn: int, poll: Poll) -> None:
        may_look = self._may_look()
        with self._lock:
            if turn != self._turn or self._is_stopped:
                return  # it comes too late: that it did not come was told already
            now = self._clock()
            self._turn += 1
            was_well = self._plan.fault is None
            why = self._plan.answered(poll, now)
            is_well = self._plan.fault is None
            if why is not None and not may_look:
                self._plan.held_back(now)
                why = None
            elif why is not None:
                self._plan.looking(now)
        if was_well != is_well:
            self._log.info("update.poll", is_answered=is_well, reason=poll.fault)
        if why is not None:
            self._on_look(why)
