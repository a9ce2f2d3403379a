"""Several texts at once: the answers are those that each gets alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ErrorCode, RequestError, RuntimeFailure
from edge_agent.inference.model import Model
from edge_agent.inference.runtime import Runner
from edge_agent.types import Prediction
from tests.tiny_bundle import SENTENCES, build_tiny_bundle

TEXTS = [marked.replace("[", "").replace("]", "") for _, marked, _ in SENTENCES]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(build_tiny_bundle(tmp_path_factory.mktemp("batches") / "tiny"))


def what(answer: Prediction | RequestError | RuntimeFailure) -> Any:
    if not isinstance(answer, Prediction):
        return answer.code if isinstance(answer, RequestError) else str(answer)
    assert answer.confidence is not None
    slots = tuple((slot.name, slot.start, slot.end) for slot in answer.slots)
    return answer.label, round(answer.confidence, 3), len(answer.alternatives), slots, answer.truncated


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(TEXTS), st.integers(0, 3)), min_size=1, max_size=9))
def test_many_answers_are_the_answers_of_each(model: Model, asked: list[tuple[str, int]]) -> None:
    many = model.predict_many([text for text, _ in asked], [top_k for _, top_k in asked])
    alone = [model.predict(text, top_k=top_k) for text, top_k in asked]
    assert [what(answer) for answer in many] == [what(answer) for answer in alone]


def test_an_empty_text_fails_alone(model: Model) -> None:
    many = model.predict_many([TEXTS[0], " ", TEXTS[0], TEXTS[0], TEXTS[0]], [3] * 5)
    assert what(many[1]) is ErrorCode.EMPTY_TEXT
    assert [isinstance(answer, Prediction) for answer in many] == [True, False, True, True, True]


def test_a_text_longer_than_the_model_is_read_as_the_bundle_says(model: Model) -> None:
    long = " ".join(TEXTS * 4)
    many = model.predict_many([long] * 4, [3] * 4)
    assert all(isinstance(answer, Prediction) and answer.truncated for answer in many)


def test_a_batch_that_fails_is_asked_one_by_one(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeFailure("no batches today")

    monkeypatch.setattr(Runner, "run_batch", fail)
    many = model.predict_many([TEXTS[0]] * 4, [3] * 4)
    assert [what(answer) for answer in many] == [what(model.predict(TEXTS[0]))] * 4


def test_a_runtime_that_computes_batches_wrongly_serves_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Runner.run_batch

    def wrong(self: Runner, batch: Any) -> Any:
        return {name: -values for name, values in right(self, batch).items()}

    monkeypatch.setattr(Runner, "run_batch", wrong)
    with Model.load(build_tiny_bundle(tmp_path / "tiny")) as served:
        assert served.batch_size == 1
        assert isinstance(served.predict_many([TEXTS[0]] * 4, [3] * 4)[0], Prediction)


def test_a_file_without_a_batch_graph_answers_many_too(tmp_path: Path) -> None:
    with Model.load(build_tiny_bundle(tmp_path / "tiny", batch=0)) as served:
        assert served.batch_size == 1
        assert [what(answer) for answer in served.predict_many(TEXTS[:5], [3] * 5)] == [
            what(served.predict(text)) for text in TEXTS[:5]
        ]
