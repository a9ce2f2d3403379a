"""Faults at the seams of the daemon: what a rate may refuse, what may not end a thread."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from edge_agent.link.envelope import Limits
from edge_agent.link.protocol import Delivery, Incoming
from edge_agent.link.routes import Router
from edge_agent.link.topics import Topics
from edge_agent.service.answering import Rules
from edge_agent.service.figures import Figures
from edge_agent.service.links import Links, router_of
from edge_agent.service.models import Entry
from edge_agent.service.premises import Premises
from edge_agent.service.subscribed import FILE_NAME, Subscribed
from edge_agent.service.worker import Worker
from edge_agent.settings import Settings, load_settings
from edge_agent.types import Prediction, Task
from tests.fakes.model import FakeModel, served
from tests.fakes.receiver import KeepingReceiver
from tests.fakes.replies import RecordingReplies


def delivery(text: str, *, dup: bool = False) -> Delivery:
    payload = json.dumps({"id": text, "text": text}).encode()
    message = Incoming("edge-agent/pi/in/home", payload, 1, False, 1, None, None, None, None, None, dup)
    return Delivery(message, 1, 1.0)


def worker_of(model: FakeModel, replies: RecordingReplies, rules: Rules) -> Worker:
    router = Router(Topics("edge-agent", "pi"))
    worker = Worker(replies, router, rules, Figures(), clock_synced=lambda: True)
    worker.swap({"home": Entry("home", served(model))})
    return worker


def test_what_comes_again_after_a_lost_link_was_counted_by_the_rate_already() -> None:
    replies = RecordingReplies()
    rules = Rules(Limits(100), queue_size=8, requests_per_second=0.001, burst=2)
    worker = worker_of(FakeModel(), replies, rules)
    for text in ("a", "b"):
        worker.accept(delivery(text), held_back=True)
    for text in ("a", "b"):
        worker.accept(delivery(text, dup=True), held_back=True)
    worker.accept(delivery("c"), held_back=True)
    worker.start()
    documents = [reply.document for reply in replies.wait_for(5)]
    worker.finish(10)
    assert [document["id"] for document in documents if "error" in document] == ["c"]


class _NotANumber(FakeModel):
    """Whose vector has no direction for one text."""

    def predict(self, text: str, *, top_k: int = 3) -> Prediction:
        good = super().predict(text, top_k=top_k)
        if text != "nothing":
            return good
        vector = (float("nan"), 0.0)
        return Prediction(self.name, "1.0.0", Task.EMBED, True, None, None, (), (), False, 0.1, 0.2, vector)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_answer_that_json_cannot_carry_is_an_internal_error_and_the_next_request_is_fine(
    batch_size: int,
) -> None:
    replies = RecordingReplies()
    worker = worker_of(_NotANumber(batch_size=batch_size), replies, Rules(Limits(100), queue_size=8))
    for text in ("before", "nothing", "after"):
        worker.accept(delivery(text), held_back=True)
    worker.start()
    documents = [reply.document for reply in replies.wait_for(3)]
    worker.finish(10)
    assert [document.get("error", {}).get("code") for document in documents] == [None, "internal", None]


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[..., Settings]:
    def make(state: Path) -> Settings:
        config = tmp_path / "config.toml"
        config.write_text(
            f'[device]\nid = "pi"\nstate_directory = "{state}"\nruntime_directory = "{tmp_path / "run"}"\n'
            '[[route]]\nsubscribe = "shop/+"\nmodel = "home"\npublish = "out/{1}"\nshare = "p"\n'
            'on_death = "take_over"\n'
        )
        return load_settings(config)

    return make


def test_drops_are_added_up_while_both_links_count_on(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = settings_of(tmp_path / "state")
    links = Links(settings, None, router_of(settings), KeepingReceiver())
    is_done, before = Event(), sys.getswitchinterval()

    def count() -> None:
        while not is_done.is_set():
            for number in range(20):
                links._main.dropped[f"reason {number}"] += 1
            links._main.dropped.clear()

    thread = Thread(target=count)
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for _ in range(20_000):
            assert all(links.dropped.values())
    finally:
        is_done.set()
        thread.join()
        sys.setswitchinterval(before)


def test_a_state_folder_that_cannot_be_made_takes_the_poison_guard_not_along(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    premises = Premises(settings_of(tmp_path / "file" / "state"), (), Figures())
    try:
        assert premises.guard.is_on, premises.faults
        assert len(premises.faults) == 1
    finally:
        premises.guard.close()


def test_a_filter_that_no_broker_knows_is_not_taken_back_on_every_connection(tmp_path: Path) -> None:
    bad = ["a/#/b", "\ud800", "$share/p", "x" * 70_000, "shop/+", "$share/pool/shop/+"]
    (tmp_path / FILE_NAME).write_text(json.dumps({"filters": bad}))
    assert Subscribed(tmp_path, ()).before == ("shop/+", "$share/pool/shop/+")


def test_filters_that_cannot_be_written_down_are_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    subscribed = Subscribed(tmp_path, ("shop/+",))
    assert subscribed.fault is not None
    (tmp_path / FILE_NAME).rmdir()
    subscribed.came_up()
    assert subscribed.fault is None
