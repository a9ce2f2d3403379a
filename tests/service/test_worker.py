"""The worker on fakes: what no real model and broker can be made to do at will."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from threading import Event

import pytest

from edge_agent.errors import RuntimeFailure
from edge_agent.link.envelope import Limits
from edge_agent.link.protocol import Delivery, Incoming
from edge_agent.link.routes import Router
from edge_agent.link.topics import Topics
from edge_agent.log import configure_log
from edge_agent.service.answering import MOST_UNCONFIRMED, Rules
from edge_agent.service.figures import Figures
from edge_agent.service.models import Entry, Expected
from edge_agent.service.worker import Worker
from tests.fakes.model import FakeModel, served
from tests.fakes.replies import RecordingReplies


def delivery(
    payload: bytes,
    *,
    model: str = "home",
    qos: int = 1,
    retain: bool = False,
    response_topic: str | None = None,
    expiry_seconds: int | None = None,
    waited_seconds: float = 0.0,
    traceparent: str | None = None,
) -> Delivery:
    message = Incoming(
        f"edge-agent/pi/in/{model}",
        payload,
        qos,
        retain,
        1,
        response_topic,
        None,
        expiry_seconds,
        traceparent,
        None,
    )
    return Delivery(message, 1, time.monotonic() - waited_seconds)


class Bench:
    """A worker with one fake model, not started yet."""

    def __init__(self, rules: Rules | None = None, before: Callable[[str], None] = lambda _: None) -> None:
        self.replies = RecordingReplies()
        self.figures = Figures()
        self.model = FakeModel(before=before)
        self.faults_changed = Event()
        self.synced = True
        self.worker = Worker(
            self.replies,
            Router(Topics("edge-agent", "pi")),
            rules or Rules(Limits(100), queue_size=4),
            self.figures,
            clock_synced=lambda: self.synced,
            on_fault=self.faults_changed.set,
        )
        self.worker.swap({"home": Entry("home", served(self.model)), "broken": Entry("broken", None, "bad")})

    def ask(self, *deliveries: Delivery) -> list[dict[str, object]]:
        for one in deliveries:
            self.worker.accept(one, held_back=True)
        return [reply.document for reply in self.replies.wait_for(len(deliveries))]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.worker.start()
    yield made
    made.worker.finish(10)


def code_of(document: dict[str, object]) -> object:
    error = document["error"]
    assert isinstance(error, dict)
    return error["code"]


def test_a_request_that_waited_too_long_is_expired_and_never_run(bench: Bench) -> None:
    late = bench.ask(delivery(b'{"text": "turn", "ttl_s": 1, "id": "7"}', waited_seconds=2))[0]
    assert (late["id"], code_of(late)) == ("7", "expired")
    assert code_of(bench.ask(delivery(b"turn", expiry_seconds=1, waited_seconds=1))[0]) == "expired"
    assert bench.model.texts == []


def test_sent_at_counts_only_with_a_synchronised_clock(bench: Bench) -> None:
    old = b'{"text": "turn", "ttl_s": 10, "sent_at": "2001-01-01T00:00:00Z"}'
    assert code_of(bench.ask(delivery(old))[0]) == "expired"
    bench.synced = False
    assert bench.ask(delivery(old), delivery(old))[1]["intent"] == "turn"


def test_a_model_that_is_broken_is_unavailable(bench: Bench) -> None:
    assert code_of(bench.ask(delivery(b"turn", model="broken"))[0]) == "model_unavailable"


def test_a_failing_runtime_is_an_internal_error_and_the_next_request_is_fine() -> None:
    def fail(text: str) -> None:
        if text == "fail":
            raise RuntimeFailure("the runtime is out of memory")

    bench = Bench(before=fail)
    bench.worker.start()
    first, second = bench.ask(delivery(b'{"text": "fail", "id": "1"}'), delivery(b"turn"))
    assert (first["id"], code_of(first)) == ("1", "internal")
    assert second["intent"] == "turn"
    assert bench.figures.snapshot().errors == {"internal": 1}
    bench.worker.finish(10)


def test_an_error_that_quotes_the_text_reaches_neither_answer_nor_log() -> None:
    def fail(text: str) -> None:
        raise KeyError(text)

    log = io.StringIO()
    configure_log("debug", "json", log)
    bench = Bench(Rules(Limits(100), queue_size=4, log_requests=True), before=fail)
    bench.worker.start()
    answer = bench.ask(delivery(b"sapphire"))[0]
    bench.worker.finish(10)
    assert code_of(answer) == "internal"
    assert "sapphire" not in str(answer)
    assert "KeyError" in log.getvalue()
    assert "request.answered" in log.getvalue()
    assert "sapphire" not in log.getvalue()


def test_the_text_is_logged_and_echoed_when_the_owner_says_so() -> None:
    log = io.StringIO()
    configure_log("debug", "json", log)
    rules = Rules(Limits(100), queue_size=4, log_requests=True, log_text=True, echo_text=True)
    bench = Bench(rules)
    bench.worker.start()
    assert bench.ask(delivery(b"sapphire"))[0]["text"] == "sapphire"
    bench.worker.finish(10)
    assert "sapphire" in log.getvalue()


def test_a_retained_request_is_settled_and_counted_not_answered(bench: Bench) -> None:
    stale = delivery(b"turn", retain=True)
    bench.worker.accept(stale, held_back=True)
    assert bench.replies.settled == [stale]
    assert bench.figures.snapshot().dropped == {"retained": 1}
    assert bench.model.texts == []


def test_a_request_that_comes_again_is_not_worked_on_twice(bench: Bench) -> None:
    stale, fresh = delivery(b"stale"), delivery(b"fresh")
    bench.replies.stale.append(stale)
    bench.worker.accept(stale, held_back=True)
    bench.ask(fresh)
    assert bench.model.texts == ["fresh"]
    assert bench.replies.settled == [stale]


def test_beyond_the_queue_only_what_nobody_holds_back_is_refused() -> None:
    bench = Bench()
    accepted = [delivery(f"turn {number}".encode()) for number in range(4)]
    for one in accepted:
        bench.worker.accept(one, held_back=False)
    bench.worker.accept(delivery(b'{"text": "over", "id": "9"}', qos=0), held_back=False)
    assert [reply.document["id"] for reply in bench.replies.wait_for(1)] == ["9"]
    assert code_of(bench.replies.replies[0].document) == "overloaded"
    bench.worker.accept(delivery(b"held back"), held_back=True)
    bench.worker.start()
    bench.replies.wait_for(6)
    assert bench.worker.finish(10)
    assert bench.model.texts == ["turn 0", "turn 1", "turn 2", "turn 3", "held back"]


def test_an_overloaded_error_goes_to_the_response_topic_unless_that_is_forbidden() -> None:
    bench = Bench(Rules(Limits(100), queue_size=1))
    bench.worker.accept(delivery(b"fills the queue"), held_back=True)
    for topic in ("replies/me", "edge-agent/pi/status"):
        bench.worker.accept(delivery(b"a", qos=0, response_topic=topic), held_back=False)
    assert [reply.topic for reply in bench.replies.wait_for(2)] == ["replies/me", "edge-agent/pi/out/home"]


def test_a_flood_at_qos_0_that_outruns_the_broker_is_counted_and_no_longer_refused() -> None:
    bench = Bench(Rules(Limits(100), queue_size=1))
    bench.worker.accept(delivery(b"fills the queue"), held_back=True)
    bench.replies.unconfirmed = MOST_UNCONFIRMED
    bench.worker.accept(delivery(b"a", qos=0), held_back=False)
    bench.worker.accept(delivery(b"b", qos=1), held_back=False)
    assert [reply.delivery.message.payload for reply in bench.replies.replies] == [b"b"]
    assert bench.figures.snapshot().dropped == {"flood": 1}


def test_a_swap_falls_between_two_requests_and_closes_what_retires_after_the_last(bench: Bench) -> None:
    held, go_on = Event(), Event()

    def hold(_: str) -> None:
        held.set()
        assert go_on.wait(10)

    bench.model.before = hold
    other = FakeModel()
    bench.worker.accept(delivery(b"first"), held_back=True)
    assert held.wait(10)
    bench.worker.swap({"home": Entry("home", served(other))}, (bench.model,))
    bench.worker.accept(delivery(b"second"), held_back=True)
    assert not bench.model.is_closed
    go_on.set()
    bench.replies.wait_for(2)
    assert (bench.model.texts, other.texts) == (["first"], ["second"])
    assert bench.model.is_closed


def test_a_canary_that_comes_out_wrong_takes_its_model_out_until_it_comes_out_right(bench: Bench) -> None:
    wrong = served(bench.model, canary=Expected("sing", "other"))
    bench.worker.swap({"home": Entry("home", wrong)})
    assert bench.worker.canary(0).wait(10)
    assert bench.faults_changed.is_set()
    assert bench.worker.faults == {"home": "model home: the canary expected other, got sing"}
    assert code_of(bench.ask(delivery(b"turn"))[0]) == "model_unavailable"
    bench.worker.swap({"home": Entry("home", served(bench.model))})
    assert bench.worker.canary(0).wait(10)
    assert bench.worker.faults == {}
    assert bench.ask(delivery(b"x"), delivery(b"turn"))[1]["intent"] == "x"


def test_canaries_are_proof_of_life_and_no_requests(bench: Bench) -> None:
    assert bench.worker.canary(3).wait(10)
    snapshot = bench.figures.snapshot()
    assert snapshot.answered == 0
    assert snapshot.last_ok_age_seconds["home"] < 10
    assert bench.worker.waiting == 0


def test_what_is_in_the_queue_is_answered_before_the_end() -> None:
    bench = Bench(Rules(Limits(100), queue_size=100))
    for number in range(50):
        bench.worker.accept(delivery(f"turn {number}".encode()), held_back=True)
    assert bench.worker.waiting == 50
    bench.worker.start()
    assert bench.worker.finish(10)
    assert len(bench.replies.replies) == 50


def test_trace_and_expiry_go_along_with_the_answer(bench: Bench) -> None:
    bench.ask(delivery(b"turn", expiry_seconds=60, waited_seconds=10, traceparent="00-a"))
    reply = bench.replies.replies[0]
    assert reply.user == (("traceparent", "00-a"),)
    assert reply.expiry_seconds is not None
    assert 48 <= reply.expiry_seconds <= 50


def group_bench(before: Callable[[str], None] = lambda _: None) -> Bench:
    """A worker whose model gains from batches, with the queue filled before it starts."""
    bench = Bench(Rules(Limits(100), queue_size=64), before)
    bench.model.batch_size = 4
    return bench


def numbered(count: int) -> list[Delivery]:
    return [delivery(b'{"text": "word%d", "id": "%d"}' % (number, number)) for number in range(count)]


def answers_of(bench: Bench, deliveries: list[Delivery]) -> list[dict[str, object]]:
    for one in deliveries:
        bench.worker.accept(one, held_back=True)
    bench.worker.start()
    answers = [reply.document for reply in bench.replies.wait_for(len(deliveries))]
    assert bench.worker.finish(10)
    return answers


def test_requests_that_wait_are_asked_together_and_answered_in_order() -> None:
    bench = group_bench()
    answers = answers_of(bench, numbered(10))
    assert [answer["id"] for answer in answers] == [str(number) for number in range(10)]
    assert all(len(batch) <= 4 for batch in bench.model.batches)
    assert any(len(batch) == 4 for batch in bench.model.batches)


def test_an_error_in_a_group_is_its_own_requests_alone() -> None:
    bench = group_bench()
    deliveries = numbered(8)
    deliveries[5] = delivery(b'{"text": "", "id": "5"}')
    deliveries[6] = delivery(b'{"text": "x", "id": "6"}', model="nobody")
    answers = answers_of(bench, deliveries)
    assert [answer["id"] for answer in answers] == [str(number) for number in range(8)]
    assert [code_of(answers[number]) for number in (5, 6)] == ["empty_text", "unknown_model"]
    assert [answers[number]["intent"] for number in (4, 7)] == ["word4", "word7"]


def test_one_request_that_breaks_a_batch_does_not_take_the_others_along() -> None:
    def fail(text: str) -> None:
        if text == "word2":
            raise MemoryError

    bench = group_bench(fail)
    answers = answers_of(bench, numbered(4))
    assert code_of(answers[2]) == "internal"
    assert [answers[number]["intent"] for number in (0, 1, 3)] == ["word0", "word1", "word3"]


def test_an_order_is_obeyed_between_the_requests_that_it_stands_between() -> None:
    held, go_on = Event(), Event()

    def hold(_: str) -> None:
        held.set()
        assert go_on.wait(10)

    bench = group_bench(hold)
    bench.worker.start()
    bench.worker.accept(delivery(b"occupies the worker"), held_back=True)
    assert held.wait(10)
    first, second = numbered(2), numbered(3)
    for one in first:
        bench.worker.accept(one, held_back=True)
    bench.worker.swap({"home": Entry("home", served(FakeModel("second")))})
    for one in second:
        bench.worker.accept(one, held_back=True)
    go_on.set()
    answers = [reply.document for reply in bench.replies.wait_for(6)[1:]]
    assert [answer["model"] for answer in answers] == ["home", "home", "second", "second", "second"]
    assert bench.worker.finish(10)


def test_what_was_accepted_before_the_models_were_loaded_finds_them() -> None:
    bench = Bench()
    unborn = Worker(
        bench.replies,
        Router(Topics("edge-agent", "pi")),
        Rules(Limits(100), queue_size=4),
        bench.figures,
        clock_synced=lambda: True,
    )
    unborn.accept(delivery(b"turn on the light"), held_back=True)
    unborn.swap({"home": Entry("home", served(bench.model))})
    unborn.start()
    assert bench.replies.wait_for(1)[0].document["intent"] == "turn"
    unborn.finish(10)
