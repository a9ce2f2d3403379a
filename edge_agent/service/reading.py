"""A delivery read: which model it asks, what for, and where its answer goes; or the error that it is.

Whatever a message contains, reading it ends in a :class:`Job`, never in an exception: strangers wrote it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.errors import ErrorCode, RequestError
from edge_agent.link.envelope import Limits, PayloadError, Request, encode_json, parse_request, render_error
from edge_agent.link.envelope import request_id_of as id_of_request
from edge_agent.link.expiry import is_expired
from edge_agent.link.protocol import Delivery, Incoming
from edge_agent.link.routed import parse_routed, routed_id_of
from edge_agent.link.routes import Router, Target
from edge_agent.service.figures import Stages
from edge_agent.service.models import Servable

ForeignError = Callable[[str, Exception], None]
"""Is told the model and an error of our own, which the requester must not see."""


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way to its answer.

    Attributes:
        delivery: as it arrived.
        model: the name that it asks.
        topic: where the answer goes.
        begun: when its turn came, monotonic.
        request: what it asks, once read.
        served: who answers it; None where it has an error.
        is_alone: it was in hand at a crash, so it goes into the runtime by itself.
        request_id: its id, as far as it could be read.
        code: of its error.
        payload: the answer.
        stages: where its time went, once it has a result.
        done: when it had one, monotonic.
    """

    delivery: Delivery
    model: str
    topic: str
    begun: float
    request: Request | None = None
    served: Servable | None = None
    is_alone: bool = False
    request_id: str | None = None
    code: ErrorCode | None = None
    payload: bytes = b""
    stages: Stages | None = None
    done: float = 0.0

    def fail(self, code: ErrorCode, message: str) -> None:
        """Ends in an error."""
        self.served, self.code = None, code
        self.payload = encode_json(render_error(code, message, self.request_id))


class Reader:
    """Reads deliveries.

    Args:
        router: which topic is for which model.
        limits: of what a request may cost.
        clock_synced: whether a sender's clock can be compared with ours.
    """

    def __init__(self, router: Router, limits: Limits, clock_synced: Callable[[], bool]) -> None:
        self._router = router
        self._limits = limits
        self._clock_synced = clock_synced

    def read(
        self, delivery: Delivery, find: Callable[[Job], Servable], on_internal: ForeignError
    ) -> Job | None:
        """A job that knows its model, or has its error; None for a topic of an earlier subscription.

        Args:
            delivery: a request.
            find: the model that is to answer it; may raise a :class:`RequestError`.
            on_internal: hears of what is our own fault.
        """
        message = delivery.message
        target = self._router.resolve(message.topic)
        if target is None:
            return None
        job = Job(delivery, target.model, target.answer_topic, time.monotonic())
        try:
            job.topic = self._answer_topic(job, message, target)
            if target.text_path is None:
                request = parse_request(message.payload, self._limits)
            else:
                request = parse_routed(message.payload, target.text_path, self._limits)
            job.request, job.request_id = request, request.id
            job.served = find(job)
            self._refuse_expired(job, request)
        except RequestError as error:
            if isinstance(error, PayloadError):
                job.request_id = error.request_id
            job.fail(error.code, str(error))
        except Exception as error:
            on_internal(job.model, error)
            job.fail(ErrorCode.INTERNAL, "the model failed on this request")
        return job

    def read_unasked(self, delivery: Delivery) -> Job | None:
        """A job of which only the id and the topic of its answer are known, to be refused as it is."""
        message = delivery.message
        target = self._router.resolve(message.topic)
        if target is None:
            return None
        job = Job(delivery, target.model, target.answer_topic, time.monotonic())
        response = message.response_topic
        if response and target.response_allowed and self._router.response_topic_fault(response) is None:
            job.topic = response
        job.request_id = self._id_of(message, target)
        return job

    def _answer_topic(self, job: Job, message: Incoming, target: Target) -> str:
        fault, response = target.fault, message.response_topic
        if fault is None and response is not None and target.response_allowed:
            fault = self._router.response_topic_fault(response)
            if fault is None:
                return response
        if fault is not None:
            job.request_id = self._id_of(message, target)
            raise RequestError(ErrorCode.BAD_PAYLOAD, fault)
        return target.answer_topic

    def _id_of(self, message: Incoming, target: Target) -> str | None:
        if target.text_path is None:
            return id_of_request(message.payload, self._limits)
        return routed_id_of(message.payload, target.text_path, self._limits)

    def _refuse_expired(self, job: Job, request: Request) -> None:
        expiry = job.delivery.message.expiry_seconds
        if request.ttl_seconds is None and expiry is None:
            return
        if is_expired(
            request,
            now=time.time(),
            waited_seconds=job.begun - job.delivery.received,
            message_expiry_seconds=expiry,
            clock_synced=request.sent_at is not None and self._clock_synced(),
        ):
            raise RequestError(ErrorCode.EXPIRED, "the request expired before its turn")
