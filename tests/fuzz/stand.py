"""The worker's whole preparation of an answer, with fake models, for any number of hostile messages."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from types import TracebackType
from typing import Any, NoReturn

from edge_agent.errors import ErrorCode, RequestError, RuntimeFailure
from edge_agent.link.envelope import Limits
from edge_agent.link.protocol import Delivery, Incoming
from edge_agent.link.routes import Route, Router
from edge_agent.link.topics import Topics, response_topic_fault
from edge_agent.log import configure_log
from edge_agent.service.answering import Rules
from edge_agent.service.figures import Figures
from edge_agent.service.models import Entry, Expected
from edge_agent.service.worker import Worker
from tests.fakes.model import FakeModel, served
from tests.fuzz.inputs import SECRET, Case

MAX_TEXT_BYTES = 256
TOPICS = Topics("edge-agent", "pi")
ROUTES = (
    Route("shop/+/reviews", "home", "shop/{1}/mood", text="$.body.text"),
    Route("plant/#", "failing", "answers/{1}/end"),
)
_PATIENCE_SECONDS = 300.0
_SONG = "sing"
_OURS = re.compile(r"edge-agent/pi/in/[^/]*|shop/[^/]*/reviews|plant(/.*)?", re.DOTALL)
_CODES = frozenset(code.value for code in ErrorCode)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a message came to: its topic and document, or neither when it was settled without."""

    topic: str | None
    document: dict[str, Any] | None


class StrictReplies:
    """A :class:`~edge_agent.service.worker.Replies` that reads each answer as strictly as JSON is meant."""

    def __init__(self) -> None:
        self.answers: dict[int, list[Answer]] = {}
        self.unconfirmed = 0

    def answer(
        self,
        delivery: Delivery,
        topic: str,
        payload: bytes,
        *,
        user: tuple[tuple[str, str], ...] = (),
        expiry_seconds: int | None = None,
    ) -> None:
        assert expiry_seconds is None or 1 <= expiry_seconds <= 2**32
        document = json.loads(payload.decode("utf-8"), parse_constant=_no_json)
        self.answers.setdefault(id(delivery), []).append(Answer(topic, document))

    def settle(self, delivery: Delivery) -> None:
        self.answers.setdefault(id(delivery), []).append(Answer(None, None))

    def comes_again(self, delivery: Delivery) -> bool:
        return False


def _no_json(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")


class Stand:
    """A started worker with a good model, one that refuses some texts and one that breaks on all."""

    def __init__(self) -> None:
        self._log = StringIO()
        configure_log("error", "json", stream=self._log)
        self._replies = StrictReplies()
        self._models = [FakeModel("home"), FakeModel("failing", _refuse_some), FakeModel("broken", _break)]
        self._worker = Worker(
            self._replies,
            Router(TOPICS, ROUTES),
            Rules(Limits(MAX_TEXT_BYTES), queue_size=64, echo_text=True),
            Figures(),
            clock_synced=lambda: True,
        )
        canary = Expected(_SONG, _SONG)
        self._worker.swap({m.name: Entry(m.name, served(m, canary=canary)) for m in self._models})

    def ask(self, cases: Sequence[Case]) -> Counter[str]:
        """Hands all over, waits until the worker is through, and judges each answer.

        Returns:
            How many came to which outcome: ``ok``, ``settled`` or an error's code.

        Raises:
            AssertionError: a message had no answer or two, or one that PROTOCOL §1 does not allow.
        """
        deliveries = [Delivery(case.message, 1, time.monotonic()) for case in cases]
        for case, delivery in zip(cases, deliveries, strict=True):
            self._worker.accept(delivery, held_back=case.is_held_back)
        assert self._worker.canary(0).wait(_PATIENCE_SECONDS), "the worker hangs or is dead"
        outcomes: Counter[str] = Counter()
        for case, delivery in zip(cases, deliveries, strict=True):
            answers = self._replies.answers.pop(id(delivery), [])
            assert len(answers) == 1, f"{len(answers)} answers: {case!r}"
            outcomes[_outcome(case, answers[0])] += 1
        assert not self._replies.answers, "an answer to nobody"
        assert SECRET not in self._log.getvalue(), "the log has a user's text"
        self._log.seek(0)
        self._log.truncate()
        for model in self._models:
            model.texts.clear()
            model.batches.clear()
        return outcomes

    def __enter__(self) -> Stand:
        self._worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.finish(10.0)


def _outcome(case: Case, answer: Answer) -> str:
    message, document = case.message, answer.document
    if document is None:
        assert message.retain or not _OURS.fullmatch(message.topic), f"not answered: {case!r}"
        return "settled"
    assert answer.topic is not None
    assert not set(answer.topic) & set("+#") or answer.topic in _usual_topics(message), f"aimed: {case!r}"
    assert answer.topic in {message.response_topic, *_usual_topics(message)}, f"astray: {case!r}"
    if answer.topic not in _usual_topics(message):
        assert response_topic_fault(answer.topic, TOPICS.base) is None, f"on a forbidden topic: {case!r}"
        assert answer.topic.count("/") < 200, f"a broker hangs up at that: {case!r}"
    error = document.get("error")
    if error is None:
        assert document["text"].strip(), f"understood nothing: {case!r}"
        assert len(document["text"].encode()) <= MAX_TEXT_BYTES, f"understood too much: {case!r}"
        return "ok"
    assert set(document) == {"id", "error"}
    assert error["code"] in _CODES, f"an unknown code: {case!r}"
    return str(error["code"])


def _usual_topics(message: Incoming) -> tuple[str, ...]:
    """Where the answer may go if the request names no topic."""
    levels = message.topic.split("/")
    if levels[0] == "shop":
        return f"shop/{levels[1]}/mood", TOPICS.result("home")
    if levels[0] == "plant":
        return "/".join(("answers", *levels[1:], "end")), TOPICS.result("failing")
    return (TOPICS.result(TOPICS.model_of(message.topic)),)


def _refuse_some(text: str) -> None:
    if text == _SONG:
        return
    if len(text) % 3 == 0:
        raise RequestError(ErrorCode.TOO_LARGE, "too many tokens")
    if len(text) % 3 == 1:
        raise RuntimeFailure("the runtime failed")


def _break(text: str) -> None:
    if text != _SONG:
        raise ZeroDivisionError(text)
