"""Golden sentences: each difference that counts is found and named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.errors import BundleError, GoldenError
from edge_agent.inference.golden import GoldenSentence, SlotSpan, check_golden, cosine, parse_golden

SENTENCE = GoldenSentence(
    number=3,
    text="turn on the fan",
    lang="en",
    token_ids=(2, 5, 3),
    label_logits=(2.0, 1.0),
    label="HassTurnOn",
    recognized=True,
    slots=(SlotSpan("name", 12, 15),),
)


@dataclass(frozen=True)
class FakeAnswer:
    """A right answer to SENTENCE, but for what a test replaces."""

    token_ids: tuple[int, ...] = (2, 5, 3)
    label_logits: NDArray[np.float32] = field(default_factory=lambda: np.array([2.0, 1.0], np.float32))
    label: str = "HassTurnOn"
    recognized: bool = True
    slot_spans: tuple[SlotSpan, ...] = (SlotSpan("name", 12, 15),)


def test_the_same_answer_passes() -> None:
    check_golden((SENTENCE,), lambda _: FakeAnswer(), min_cosine=0.99)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_ids": (2, 6, 3)}, "golden sentence 3 expected 3 token ids, got 3, not the same ones"),
        ({"label": "HassTurnOff"}, "golden sentence 3 expected HassTurnOn, got HassTurnOff"),
        ({"recognized": False}, "golden sentence 3 expected HassTurnOn recognized, got it not recognized"),
        ({"slot_spans": ()}, "golden sentence 3 expected slots name 12-15, got none"),
        (
            {"slot_spans": (SlotSpan("name", 8, 15),)},
            "golden sentence 3 expected slots name 12-15, got name 8-15",
        ),
        (
            {"label_logits": np.array([2.0, -1.0], np.float32)},
            "golden sentence 3 expected logits within cosine 0.99 of the reference, got 0.600",
        ),
        (
            {"label_logits": np.array([np.nan, 1.0], np.float32)},
            "golden sentence 3 expected logits within cosine 0.99 of the reference, got 0.000",
        ),
    ],
)
def test_a_difference_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(GoldenError) as refusal:
        check_golden((SENTENCE,), lambda _: replace(FakeAnswer(), **change), min_cosine=0.99)
    assert str(refusal.value) == message


def test_the_first_sentence_that_differs_is_named() -> None:
    sentences = tuple(replace(SENTENCE, number=number, label=label) for number, label in enumerate("aXb", 1))
    with pytest.raises(GoldenError, match="golden sentence 2 expected X, got a"):
        check_golden(sentences, lambda _: replace(FakeAnswer(), label="a"), min_cosine=0)


def line(**changes: Any) -> bytes:
    values = {
        "text": "turn on the fan",
        "lang": "en",
        "token_ids": [2, 5, 3],
        "label_logits": [2, 1.0],
        "label": "HassTurnOn",
        "recognized": True,
        "slots": [{"name": "name", "value": "fan", "start": 12, "end": 15}],
    }
    return json.dumps({**values, **changes}).encode() + b"\n"


def test_a_golden_file_is_read() -> None:
    assert parse_golden("golden.jsonl", line() * 3)[2] == SENTENCE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has 0 sentences"),
        (line() * 1001, "has 1001 sentences"),
        (line() + b"\n", "line 2: not JSON"),
        (line() + b"[]\n", "line 2: not a JSON object"),
        (line(text=""), "line 1: text is not a non-empty string"),
        (line(token_ids=[1.5]), "line 1: token_ids is not a list of whole numbers"),
        (line(label_logits=["1"]), "line 1: label_logits is not a list of numbers"),
        (line(recognized=1), "line 1: recognized is neither true nor false"),
        (line(slots=[{"name": "name"}]), "line 1: slots[0]: value is missing"),
        (line(more=1), "line 1: unknown key 'more'"),
    ],
)
def test_a_wrong_golden_file_is_refused_by_line(content: bytes, reason: str) -> None:
    with pytest.raises(BundleError) as refusal:
        parse_golden("golden.jsonl", content)
    assert str(refusal.value).startswith("golden.jsonl: ")
    assert reason in str(refusal.value)


@given(
    st.lists(st.floats(0.5, 100, width=32) | st.floats(-100, -0.5, width=32), min_size=1), st.floats(0.125, 8)
)
def test_cosine_looks_at_the_direction_alone(values: list[float], factor: float) -> None:
    vector = np.asarray(values, np.float32)
    scaled = (vector * factor).astype(np.float32)
    assert cosine(vector, scaled) == pytest.approx(1.0)
    assert cosine(vector, -scaled) == pytest.approx(-1.0)


def test_cosine_of_nothing_is_zero() -> None:
    assert cosine(np.zeros(3, np.float32), np.ones(3, np.float32)) == 0.0
