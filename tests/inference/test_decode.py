"""Decoding: what holds for any logits and any text, and the rules case by case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.inference.decode import decide, decode_slots, softmax
from edge_agent.inference.manifest import Calibration
from edge_agent.inference.tokenizer import WordPiece

TAGS = ("O", "B-area", "I-area", "B-name", "I-name")
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
TOKENIZER = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{letter}" for letter in LETTERS)])

finite = st.floats(-1e4, 1e4, width=32)
logit_rows = st.lists(finite, min_size=2, max_size=50).map(lambda row: np.asarray(row, np.float32))
calibrations = st.builds(Calibration, st.floats(0.05, 20), st.floats(0, 1), st.floats(0, 1))


def tag_logits(tags: Sequence[str]) -> NDArray[np.float32]:
    return np.stack([np.where(np.arange(len(TAGS)) == TAGS.index(tag), 8.0, 0.0) for tag in tags]).astype(
        np.float32
    )


@given(logit_rows, st.floats(0.05, 20))
def test_probabilities_sum_to_one(logits: NDArray[np.float32], temperature: float) -> None:
    probabilities = softmax(logits, temperature)
    assert probabilities.sum() == pytest.approx(1.0)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@given(logit_rows, calibrations, st.integers(0, 60), st.booleans())
def test_the_ranking_is_sorted_and_leaves_the_answer_out(
    logits: NDArray[np.float32], calibration: Calibration, top_k: int, scoped: bool
) -> None:
    labels = [f"label{number}" for number in range(len(logits))]
    decision = decide(logits, labels, calibration, out_of_scope="label0" if scoped else None, top_k=top_k)
    confidences = [ranked.confidence for ranked in decision.alternatives]
    assert confidences == sorted(confidences, reverse=True)
    assert all(confidence <= decision.confidence for confidence in confidences)
    names = [ranked.label for ranked in decision.alternatives]
    assert len(set(names)) == len(names) <= top_k
    assert (decision.best in names) == (not decision.recognized and top_k > 0)
    assert len(names) == min(top_k, len(labels) - decision.recognized)
    if decision.recognized:
        assert decision.confidence >= calibration.threshold
        assert decision.best != ("label0" if scoped else None)


@pytest.mark.parametrize(
    ("logits", "recognized"),
    [
        ([4.0, 0.0, 0.0], True),
        ([0.4, 0.0, 0.0], False),  # under the threshold
        ([4.0, 3.9, -9.0], False),  # too close to the second
        ([0.0, 0.0, 4.0], False),  # out of scope
    ],
)
def test_threshold_margin_and_scope_decide(logits: list[float], recognized: bool) -> None:
    calibration = Calibration(temperature=1.0, threshold=0.5, margin=0.1)
    decision = decide(np.asarray(logits, np.float32), ("a", "b", "none"), calibration, out_of_scope="none")
    assert decision.recognized is recognized


def test_temperature_softens_the_confidence_and_keeps_the_order() -> None:
    logits = np.asarray([3.0, 1.0, 0.0], np.float32)
    sharp = decide(logits, "abc", Calibration(1.0, 0, 0), out_of_scope=None)
    soft = decide(logits, "abc", Calibration(4.0, 0, 0), out_of_scope=None)
    assert sharp.best == soft.best == "a"
    assert sharp.confidence > soft.confidence > 1 / 3


def test_a_single_label_is_certain() -> None:
    strict = Calibration(temperature=2.0, threshold=1.0, margin=1.0)
    decision = decide(np.array([-7.5], np.float32), ["tags"], strict, out_of_scope=None)
    assert (decision.best, decision.recognized, decision.confidence) == ("tags", True, 1.0)
    assert decision.alternatives == ()


def test_a_negative_top_k_means_no_alternatives() -> None:
    decision = decide(
        np.asarray([3.0, 1.0], np.float32), "ab", Calibration(1, 0, 0), out_of_scope=None, top_k=-2
    )
    assert decision.alternatives == ()


def test_words_of_one_slot_are_one_span() -> None:
    text = "fan in living room"
    encoding = TOKENIZER.encode(text)
    by_word = ["B-name", "O", "B-area", "I-area"]
    tags = ["O", *(by_word[word] for word in encoding.words[1:-1]), "O"]
    slots = decode_slots(text, encoding, tag_logits(tags), TAGS)
    assert [(slot.name, slot.value, slot.start, slot.end) for slot in slots] == [
        ("name", "fan", 0, 3),
        ("area", "living room", 7, 18),
    ]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["I-area", "I-area"], [("area", "a b")]),  # begins without a B-
        (["B-area", "B-area"], [("area", "a"), ("area", "b")]),
        (["B-area", "I-name"], [("area", "a"), ("name", "b")]),  # continues another slot
        (["O", "I-name"], [("name", "b")]),
        (["O", "O"], []),
    ],
)
def test_tags_become_spans(tags: list[str], expected: list[tuple[str, str]]) -> None:
    slots = decode_slots("a b", TOKENIZER.encode("a b"), tag_logits(["O", *tags, "O"]), TAGS)
    assert [(slot.name, slot.value) for slot in slots] == expected


def test_the_first_piece_of_a_word_tags_the_whole_word() -> None:
    encoding = TOKENIZER.encode("fan")
    slots = decode_slots("fan", encoding, tag_logits(["O", "B-name", "O", "B-area", "O"]), TAGS)
    assert [(slot.name, slot.value) for slot in slots] == [("name", "fan")]


def test_an_accent_written_as_a_combining_mark_stays_with_its_letter() -> None:
    text = "cafe\u0301 x"
    encoding = TOKENIZER.encode(text)
    tags = ["O", *("B-name" if word == 0 else "O" for word in encoding.words[1:-1]), "O"]
    (slot,) = decode_slots(text, encoding, tag_logits(tags), TAGS)
    assert slot.value == "cafe\u0301"


def test_tags_of_cls_and_sep_mean_nothing() -> None:
    assert decode_slots("a", TOKENIZER.encode("a"), tag_logits(["B-area", "O", "B-area"]), TAGS) == ()


@given(
    st.text(alphabet=st.one_of(st.sampled_from("ab c.é\u0301漢😀"), st.characters()), max_size=40), st.data()
)
def test_slots_are_exact_slices_in_order(text: str, data: st.DataObject) -> None:
    encoding = TOKENIZER.encode(text)
    rows = len(encoding.ids)
    values = data.draw(st.lists(finite, min_size=rows * len(TAGS), max_size=rows * len(TAGS)))
    logits = np.asarray(values, np.float32).reshape(rows, len(TAGS))
    last = 0
    for slot in decode_slots(text, encoding, logits, TAGS):
        assert 0 <= last <= slot.start < slot.end <= len(text)
        assert slot.value == text[slot.start : slot.end]
        assert slot.name in {"area", "name"}
        assert 0 < slot.confidence <= 1
        last = slot.end
