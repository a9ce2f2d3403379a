"""The fakes keep the contracts of what they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import BundleError
from edge_agent.link.protocol import Delivery, Incoming, Receiver
from edge_agent.service.answering import Replies
from edge_agent.service.models import Loader, Servable
from tests.fakes.model import FakeLoader, FakeModel
from tests.fakes.receiver import KeepingReceiver
from tests.fakes.replies import RecordingReplies


def delivery() -> Delivery:
    return Delivery(Incoming("t", b"{}", 1, False, 1, None, None, None, None, None), 1, 0.0)


def test_the_fake_model_answers_as_many_alternatives_as_asked_for_and_closes() -> None:
    model: Servable = FakeModel("m")
    prediction = model.predict("turn on", top_k=2)
    assert (prediction.model, prediction.label, len(prediction.alternatives)) == ("m", "turn", 2)
    model.close()
    with pytest.raises(AssertionError):
        model.predict("again")


def test_the_fake_loader_names_content_and_refuses_bad_bundles(tmp_path: Path) -> None:
    loader: Loader = FakeLoader()
    (tmp_path / "version").write_text("2.0.0")
    assert loader.load(tmp_path).digest == loader.digest(tmp_path)
    (tmp_path / "version").write_text("bad")
    with pytest.raises(BundleError, match="altered"):
        loader.load(tmp_path)
    with pytest.raises(BundleError, match="missing"):
        loader.digest(tmp_path / "absent")


def test_the_recording_replies_keep_order_and_kinds_apart() -> None:
    recording = RecordingReplies()
    replies: Replies = recording
    first, second = delivery(), delivery()
    replies.answer(first, "out", b'{"a": 1}')
    replies.settle(second)
    recording.stale.append(second)
    assert [reply.document for reply in recording.wait_for(1)] == [{"a": 1}]
    assert recording.settled == [second]
    assert replies.comes_again(second)
    assert not replies.comes_again(first)


def test_the_keeping_receiver_counts_what_it_is_told() -> None:
    keeping = KeepingReceiver()
    receiver: Receiver = keeping
    receiver.on_delivery(delivery())
    receiver.on_link_change()
    assert len(keeping.wait_for(1)) == 1
    keeping.wait_for_change(1)
