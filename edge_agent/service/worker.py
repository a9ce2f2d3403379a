"""The worker: takes requests from the queue and has them answered, a few together when several wait.

One thread, so that requests for one model are answered in order, and a swap of models or a canary falls
between two requests. What a request comes to is :mod:`~edge_agent.service.answering`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread

from edge_agent.link.protocol import Delivery
from edge_agent.link.routes import Router
from edge_agent.service.answering import Answering, Replies, Rules
from edge_agent.service.figures import Figures
from edge_agent.service.models import Catalogue, Entry, Servable
from edge_agent.service.poison import PoisonGuard
from edge_agent.service.rate import RateLimiter
from edge_agent.service.updating.shadow import Shadow

_LARGEST_GROUP = 4
"""Requests taken together: the batch of the shipped model, and no more, so that no answer waits for long."""


@dataclass(frozen=True, slots=True)
class _Swap:
    catalogue: Catalogue
    retired: tuple[Servable, ...]


@dataclass(frozen=True, slots=True)
class _Canary:
    number: int
    done: Event


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


class Worker:
    """Answers deliveries.

    Args:
        replies: where answers go.
        router: which topic is for which model.
        rules: limits and privacy.
        figures: where work is counted.
        clock_synced: whether a sender's clock can be compared with ours.
        guard: keeps requests that crash the runtime from coming back; None for no such guard.
        on_fault: called when a canary begins or ceases to fail; from the worker's thread.
        on_begin: called before requests are answered; cheap.
        power_ok: whether the supply held between two moments of the monotonic clock; None is unknown.
        shadow: notes sentences and their answers; None for nobody.
    """

    def __init__(  # noqa: PLR0913
        self,
        replies: Replies,
        router: Router,
        rules: Rules,
        figures: Figures,
        *,
        clock_synced: Callable[[], bool],
        guard: PoisonGuard | None = None,
        on_fault: Callable[[], None] = lambda: None,
        on_begin: Callable[[], None] = lambda: None,
        power_ok: Callable[[float, float], bool | None] = lambda *_: None,
        shadow: Shadow | None = None,
    ) -> None:
        self._replies = replies
        self._rules = rules
        self._figures = figures
        self._guard = guard or PoisonGuard()
        self._answering = Answering(
            replies,
            router,
            rules,
            figures,
            clock_synced=clock_synced,
            guard=self._guard,
            power_ok=power_ok,
            shadow=shadow,
        )
        self._limiter: RateLimiter | None = None
        self.limit(rules.requests_per_second)
        self._on_fault = on_fault
        self._on_begin = on_begin
        self._queue: SimpleQueue[Delivery | _Swap | _Canary | _Stop] = SimpleQueue()
        self._ordered = 0  # what is in the queue and no request: put by the main thread and by commands …
        self._obeyed = 0  # … taken by the worker
        self._ordering = Lock()
        self._busy_since: float | None = None
        self._thread = Thread(target=self._run, name="worker", daemon=True)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return max(0, self._queue.qsize() - (self._ordered - self._obeyed))

    @property
    def busy_seconds(self) -> float:
        """How long it has been at what it does now, some requests or a canary; 0 where it waits."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def faults(self) -> dict[str, str]:
        """Reasons why models failed their last canary, by model."""
        return dict(self._answering.faults)

    def limit(self, requests_per_second: float) -> None:
        """Lets one topic bring so many requests a second from now on; 0 for any number."""
        self._limiter = RateLimiter(requests_per_second, self._rules.burst) if requests_per_second else None

    def start(self) -> None:
        """Begins to work; what was accepted before is answered now."""
        self._thread.start()

    def accept(self, delivery: Delivery, *, held_back: bool) -> None:
        """Takes a delivery, or refuses it; in the network thread.

        Args:
            delivery: a request.
            held_back: the broker obeys Receive Maximum, so that the queue cannot overflow by it.
        """
        message = delivery.message
        if message.retain:
            self._figures.count_drop("retained")
            self._replies.settle(delivery)
        elif self._is_too_fast(delivery):
            self._answering.refuse(delivery, "too many requests on this topic; send slower")
        elif held_back or self._queue.qsize() < self._rules.queue_size:
            self._queue.put(delivery)
        else:
            self._answering.refuse(delivery, "the queue is full; send slower")

    def _is_too_fast(self, delivery: Delivery) -> bool:
        """Whether its topic brings too many. What the broker sends again was let in before, and stays in."""
        limiter = self._limiter
        if limiter is None or delivery.message.dup:
            return False
        return not limiter.allows(delivery.message.topic, delivery.received)

    def swap(self, catalogue: Catalogue, retired: tuple[Servable, ...] = ()) -> None:
        """Serves another catalogue from the next request on, and closes what retires after the last one.

        Before the start it counts for what was accepted already, too.
        """
        swap = _Swap(catalogue, retired)
        if self._thread.ident is None:
            self._exchange(swap)
        else:
            self._order(swap)

    def canary(self, number: int) -> Event:
        """Sends a known sentence through every model, in turn with the requests.

        Args:
            number: which of a model's sentences, modulo their count.

        Returns:
            Set when all models have been asked.
        """
        done = Event()
        self._order(_Canary(number, done))
        return done

    def finish(self, timeout_seconds: float) -> bool:
        """Answers what is in the queue, then ends; returns whether it did within the time."""
        self._order(_Stop())
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _order(self, order: _Swap | _Canary | _Stop) -> None:
        with self._ordering:
            self._ordered += 1
            self._queue.put(order)

    def _run(self) -> None:
        while True:
            self._busy_since = None
            item: Delivery | _Swap | _Canary | _Stop | None = self._queue.get()
            self._busy_since = time.monotonic()
            if type(item) is Delivery:
                item = self._handle(item)
                if item is None:
                    continue
            self._obeyed += 1
            if type(item) is _Canary:
                self._sing(item)
            elif type(item) is _Swap:
                self._exchange(item)
            else:
                return

    def _handle(self, first: Delivery) -> _Swap | _Canary | _Stop | None:
        """Answers a request, and with it a few that wait behind it, in the order of receipt.

        Returns:
            The order that stood behind them, to be obeyed now.
        """
        self._on_begin()
        if self._queue.empty():
            self._answering.answer_all([first])
            return None
        group: list[Delivery] = [first]
        while len(group) < _LARGEST_GROUP:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if type(item) is not Delivery:
                self._answering.answer_all(group)
                return item  # type: ignore[return-value]  # what is no delivery is an order
            group.append(item)
        self._answering.answer_all(group)
        return None

    def _exchange(self, swap: _Swap) -> None:
        answering = self._answering
        if answering.catalogue and swap.catalogue != answering.catalogue:
            self._guard.forgive()  # another model may take the suspects well; at the start it is the same one
        answering.catalogue, answering.faults = swap.catalogue, {}
        for model in swap.retired:
            model.close()

    def _sing(self, canary: _Canary) -> None:
        found = {
            name: fault
            for name, entry in self._answering.catalogue.items()
            if (fault := self._sung(entry, canary.number)) is not None
        }
        changed, self._answering.faults = found != self._answering.faults, found
        if changed:
            self._on_fault()
        canary.done.set()

    def _sung(self, entry: Entry, number: int) -> str | None:
        """Why a model failed its canary, or None."""
        served = entry.served
        if served is None:
            return None
        if not served.canaries:
            self._figures.note_ok(entry.name)
            return None
        expected = served.canaries[number % len(served.canaries)]
        try:
            prediction = served.model.predict(expected.text)
        except Exception as error:
            self._answering.note_internal(entry.name, error)
            return f"model {entry.name}: the canary failed: {type(error).__name__}"
        fault = expected.fault(prediction)
        if fault is not None:
            self._figures.note_error("canary.wrong")
            return f"model {entry.name}: the canary {fault}"
        self._figures.note_ok(entry.name)
        return None
