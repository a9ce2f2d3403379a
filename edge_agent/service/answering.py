"""Answers requests, a few together where a model gains from it: bytes → request → prediction → bytes.

Whatever a request contains, it ends in exactly one answer. The worker's thread comes here with what it took
from its queue; the network thread, with what it has no room for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_agent.errors import ErrorCode, RequestError, RuntimeFailure
from edge_agent.link.envelope import Limits, Timing, encode_result
from edge_agent.link.protocol import Answerer, Delivery
from edge_agent.link.routes import Router
from edge_agent.log import get_logger
from edge_agent.service.figures import Figures, Stages
from edge_agent.service.models import Catalogue, Servable
from edge_agent.service.poison import PoisonGuard, Verdict
from edge_agent.service.reading import Job, Reader
from edge_agent.service.updating.shadow import Shadow
from edge_agent.types import Prediction

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


class Answering:
    """Reads, asks the models, answers.

    Args:
        replies: where answers go.
        router: which topic is for which model.
        rules: limits and privacy.
        figures: where work is counted.
        clock_synced: whether a sender's clock can be compared with ours.
        guard: keeps requests that crash the runtime from coming back.
        power_ok: whether the supply held between two moments of the monotonic clock; None is unknown.
        shadow: notes sentences and their answers; None for nobody.

    Attributes:
        catalogue: what is served.
        faults: why models failed their last canary, by model.
    """

    def __init__(
        self,
        replies: Replies,
        router: Router,
        rules: Rules,
        figures: Figures,
        *,
        clock_synced: Callable[[], bool],
        guard: PoisonGuard,
        power_ok: Callable[[float, float], bool | None] = lambda *_: None,
        shadow: Shadow | None = None,
    ) -> None:
        self.catalogue: Catalogue = {}
        self.faults: dict[str, str] = {}
        self._replies = replies
        self._reader = Reader(router, rules.limits, clock_synced)
        self._rules = rules
        self._figures = figures
        self._guard = guard
        self._power_ok = power_ok
        self._shadow = shadow
        self._log = get_logger()

    def answer_all(self, group: list[Delivery]) -> None:
        """Answers some requests, in their order as far as they ask one model."""
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
            self.drop(delivery, "redelivered")
            return None
        job = self._reader.read(delivery, self._find, self.note_internal)
        if job is None:
            self.drop(delivery, "no_route")
        return job

    def drop(self, delivery: Delivery, reason: str) -> None:
        """Settles a message without an answer, and counts why."""
        self._figures.count_drop(reason)
        self._replies.settle(delivery)

    def _find(self, job: Job) -> Servable:
        entry = self.catalogue.get(job.model)
        if entry is None:
            raise RequestError(ErrorCode.UNKNOWN_MODEL, "there is no such model on this device")
        if entry.served is None or job.model in self.faults:
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
        job.done = now = time.monotonic()
        timing = Timing(
            queue_ms=(job.begun - job.delivery.received) * 1e3,
            total_ms=(now - job.delivery.received) * 1e3,
        )
        try:
            job.payload = encode_result(
                prediction,
                job.request,
                timing,
                echo_text=self._rules.echo_text,
                power_ok=self._power_ok(job.begun, now),
            )
        except Exception as error:  # a vector of a broken model is not a number: JSON has no word for it
            self._fail(job, error)
            return
        if self._shadow is not None:
            self._shadow.note(job.request.text, prediction)
        job.stages = Stages(timing.queue_ms, prediction.tokenize_ms, prediction.invoke_ms, timing.total_ms)

    def _fail(self, job: Job, error: Exception) -> None:
        """The peer's fault keeps its code; everything else is ours, and its message stays here."""
        if isinstance(error, RequestError):
            job.fail(error.code, str(error))
        else:
            self.note_internal(job.model, error)
            self._figures.count_failure(job.model)
            job.fail(ErrorCode.INTERNAL, "the model failed on this request")

    def _finish(self, job: Job) -> None:
        if job.code is not None:
            self._figures.count_error(job.code.value)
        self._send(job)
        if job.stages is not None:  # counted when it is on its way: whoever waits for it is spared that
            self._figures.count_result(job.model, job.stages, job.done)
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

    def refuse(self, delivery: Delivery, why: str) -> None:
        """Answers ``overloaded``; in the network thread."""
        if delivery.message.qos == 0 and self._replies.unconfirmed >= MOST_UNCONFIRMED:
            self.drop(delivery, "flood")
            return
        job = self._reader.read_unasked(delivery)
        if job is None:
            self.drop(delivery, "no_route")
            return
        job.fail(ErrorCode.OVERLOADED, why)
        self._figures.count_error(ErrorCode.OVERLOADED.value)
        self._send(job)

    def note_internal(self, model: str, error: Exception) -> None:
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
