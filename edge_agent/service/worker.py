"""The worker: takes requests from the queue and answers them, a few together when several wait.

One thread, so that requests for one model are answered in order and a swap of models falls between two
requests. Whatever a request contains, it ends in exactly one answer, and the worker goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Protocol

from edge_agent.errors import ErrorCode, RequestError, RuntimeFailure
from edge_agent.link.envelope import Limits, Timing, encode_result
from edge_agent.link.protocol import Answerer, Delivery
from edge_agent.link.routes import Router
from edge_agent.log import get_logger
from edge_agent.service.figures import Figures
from edge_agent.service.models import Catalogue, Entry, Expected, Servable
from edge_agent.service.poison import PoisonGuard, Verdict
from edge_agent.service.rate import RateLimiter
from edge_agent.service.reading import Job, Reader
from edge_agent.types import Prediction

_LARGEST_GROUP = 4
"""Requests taken together: the batch of the shipped model, and no more, so that no answer waits for long."""

MOST_UNCONFIRMED = 4096
"""Beyond so many answers on their way a flood at QoS 0, which promises nothing, is not even refused."""


class Replies(Answerer, Protocol):
    """The part of the link that the worker speaks to."""

    @property
    def unconfirmed(self) -> int:
        """Answers that the broker has not confirmed."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What of the settings the worker obeys.

    Attributes:
        limits: what a request may cost.
        queue_size: requests that may wait here.
        requests_per_second: that one topic may bring, on average; 0 for any number.
        burst: that it may bring at once, where limited.
        echo_text: results carry the text.
        log_text: the log line of a request carries it.
        log_requests: there is such a line.
    """

    limits: Limits
    queue_size: int
    requests_per_second: float = 0.0
    burst: int = 20
    echo_text: bool = False
    log_text: bool = False
    log_requests: bool = False


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
    """

    def __init__(
        self,
        replies: Replies,
        router: Router,
        rules: Rules,
        figures: Figures,
        *,
        clock_synced: Callable[[], bool],
        guard: PoisonGuard | None = None,
        on_fault: Callable[[], None] = lambda: None,
    ) -> None:
        self._replies = replies
        self._reader = Reader(router, rules.limits, clock_synced)
        self._rules = rules
        self._figures = figures
        self._guard = guard or PoisonGuard()
        self._limiter = (
            RateLimiter(rules.requests_per_second, rules.burst) if rules.requests_per_second else None
        )
        self._on_fault = on_fault
        self._log = get_logger()
        self._queue: SimpleQueue[Delivery | _Swap | _Canary | _Stop] = SimpleQueue()
        self._catalogue: Catalogue = {}
        self._faults: dict[str, str] = {}
        self._ordered = 0  # what is in the queue and no request: put by the main thread and by commands …
        self._obeyed = 0  # … taken by the worker
        self._ordering = Lock()
        self._thread = Thread(target=self._run, name="worker", daemon=True)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return max(0, self._queue.qsize() - (self._ordered - self._obeyed))

    @property
    def faults(self) -> dict[str, str]:
        """Reasons why models failed their last canary, by model."""
        return dict(self._faults)

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
            self._refuse(delivery, "too many requests on this topic; send slower")
        elif held_back or self._queue.qsize() < self._rules.queue_size:
            self._queue.put(delivery)
        else:
            self._refuse(delivery, "the queue is full; send slower")

    def _is_too_fast(self, delivery: Delivery) -> bool:
        """Whether its topic brings too many. What the broker sends again was let in before, and stays in."""
        if self._limiter is None or delivery.message.dup:
            return False
        return not self._limiter.allows(delivery.message.topic, delivery.received)

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
            item: Delivery | _Swap | _Canary | _Stop | None = self._queue.get()
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
        if self._queue.empty():
            self._answer_all([first])
            return None
        group: list[Delivery] = [first]
        while len(group) < _LARGEST_GROUP:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if type(item) is not Delivery:
                self._answer_all(group)
                return item  # type: ignore[return-value]  # what is no delivery is an order
            group.append(item)
        self._answer_all(group)
        return None

    def _answer_all(self, group: list[Delivery]) -> None:
        jobs = [job for delivery in group if (job := self._prepare(delivery)) is not None]
        waiting = [job for job in jobs if job.served is not None]
        while waiting:
            served = waiting[0].served
            together = [job for job in waiting if job.served is served and not job.is_alone] or waiting[:1]
            waiting = [job for job in waiting if job not in together]
            assert served is not None
            if len(together) > 1 and served.batch_size > 1:
                self._predict_together(served, together)
            else:
                for job in together:
                    self._predict(served, job)
        for job in jobs:
            self._finish(job)

    def _prepare(self, delivery: Delivery) -> Job | None:
        """A job that has its model or its error; None where there is nothing to answer."""
        if self._replies.comes_again(delivery):
            self._drop(delivery, "redelivered")
            return None
        job = self._reader.read(delivery, self._find, self._note_internal)
        if job is None:
            self._drop(delivery, "no_route")
        return job

    def _drop(self, delivery: Delivery, reason: str) -> None:
        self._figures.count_drop(reason)
        self._replies.settle(delivery)

    def _find(self, job: Job) -> Servable:
        entry = self._catalogue.get(job.model)
        if entry is None:
            raise RequestError(ErrorCode.UNKNOWN_MODEL, "there is no such model on this device")
        if entry.served is None or job.model in self._faults:
            raise RequestError(ErrorCode.MODEL_UNAVAILABLE, "the model is not in service; health says why")
        message = job.delivery.message
        verdict = self._guard.verdict(message.topic, message.payload)
        if verdict is Verdict.POISON:
            self._figures.note_error("request.poison")
            raise RequestError(ErrorCode.INTERNAL, "this request has ended the process twice: it is not run")
        job.is_alone = verdict is Verdict.ALONE
        return entry.served.model

    def _predict(self, served: Servable, job: Job) -> None:
        assert job.request is not None
        message = job.delivery.message
        self._guard.hold([(message.topic, message.payload)])
        try:
            prediction = served.predict(job.request.text, top_k=job.request.top_k)
        except Exception as error:
            self._fail(job, error)
        else:
            self._succeed(job, prediction)
        finally:
            self._guard.release()

    def _predict_together(self, served: Servable, jobs: list[Job]) -> None:
        requests = [job.request for job in jobs if job.request is not None]
        messages = [job.delivery.message for job in jobs]
        self._guard.hold([(message.topic, message.payload) for message in messages])
        try:
            answers = served.predict_many([r.text for r in requests], [r.top_k for r in requests])
        except Exception:
            for job in jobs:  # one of them may be to blame: it is not to take the others along
                self._predict(served, job)
            return
        finally:
            self._guard.release()
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Exception):
                self._fail(job, answer)
            else:
                self._succeed(job, answer)

    def _succeed(self, job: Job, prediction: Prediction) -> None:
        assert job.request is not None
        now = time.monotonic()
        total_ms = (now - job.delivery.received) * 1e3
        timing = Timing(queue_ms=(job.begun - job.delivery.received) * 1e3, total_ms=total_ms)
        try:
            job.payload = encode_result(prediction, job.request, timing, echo_text=self._rules.echo_text)
        except Exception as error:  # a vector of a broken model is not a number: JSON has no word for it
            self._fail(job, error)
            return
        self._figures.count_result(job.model, total_ms, now)

    def _fail(self, job: Job, error: Exception) -> None:
        """The peer's fault keeps its code; everything else is ours, and its message stays here."""
        if isinstance(error, RequestError):
            job.fail(error.code, str(error))
        else:
            self._note_internal(job.model, error)
            job.fail(ErrorCode.INTERNAL, "the model failed on this request")

    def _finish(self, job: Job) -> None:
        if job.code is not None:
            self._figures.count_error(job.code.value)
        self._send(job)
        if self._rules.log_requests:
            self._log_request(job)

    def _send(self, job: Job) -> None:
        message = job.delivery.message
        user: tuple[tuple[str, str], ...] = ()
        if message.traceparent is not None:
            user = (("traceparent", message.traceparent),)
            if message.tracestate is not None:
                user += (("tracestate", message.tracestate),)
        expiry: int | None = None
        if message.expiry_seconds is not None:
            expiry = max(1, math.ceil(message.expiry_seconds - (time.monotonic() - job.delivery.received)))
        self._replies.answer(job.delivery, job.topic, job.payload, user=user, expiry_seconds=expiry)

    def _refuse(self, delivery: Delivery, why: str) -> None:
        """Answers ``overloaded``; in the network thread."""
        if delivery.message.qos == 0 and self._replies.unconfirmed >= MOST_UNCONFIRMED:
            self._drop(delivery, "flood")
            return
        job = self._reader.read_unasked(delivery)
        if job is None:
            self._drop(delivery, "no_route")
            return
        job.fail(ErrorCode.OVERLOADED, why)
        self._figures.count_error(ErrorCode.OVERLOADED.value)
        self._send(job)

    def _exchange(self, swap: _Swap) -> None:
        if self._catalogue and swap.catalogue != self._catalogue:
            self._guard.forgive()  # another model may take the suspects well; at the start it is the same one
        self._catalogue = swap.catalogue
        self._faults = {}
        for model in swap.retired:
            model.close()

    def _sing(self, canary: _Canary) -> None:
        before = dict(self._faults)
        for name, entry in self._catalogue.items():
            fault = self._sung(entry, canary.number)
            if fault is None:
                self._faults.pop(name, None)
            else:
                self._faults[name] = fault
        if self._faults != before:
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
        expected: Expected = served.canaries[number % len(served.canaries)]
        try:
            prediction = served.model.predict(expected.text)
        except Exception as error:
            self._note_internal(entry.name, error)
            return f"model {entry.name}: the canary failed: {type(error).__name__}"
        fault = expected.fault(prediction)
        if fault is not None:
            self._figures.note_error("canary.wrong")
            return f"model {entry.name}: the canary {fault}"
        self._figures.note_ok(entry.name)
        return None

    def _note_internal(self, model: str, error: Exception) -> None:
        """Logs where it broke and never what it said: a foreign error may quote the user's text."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
        reason = str(error) if isinstance(error, RuntimeFailure) else None
        self._figures.note_error("inference.failed")
        self._log.error(
            "inference.failed", model=model, error=type(error).__name__, where=where, reason=reason
        )

    def _log_request(self, job: Job) -> None:
        received = job.delivery.received
        fields: dict[str, object] = {
            "model": job.model if job.model.isprintable() else ascii(job.model),
            "code": job.code.value if job.code else "ok",
            "queue_ms": round((job.begun - received) * 1e3, 2),
            "total_ms": round((time.monotonic() - received) * 1e3, 2),
        }
        if self._rules.log_text:
            fields["payload"] = job.delivery.message.payload.decode("utf-8", "replace")
        self._log.debug("request.answered", **fields)
