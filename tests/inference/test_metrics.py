from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from edge_agent.inference import intervals, metrics
from edge_agent.inference.metrics import Outcome

PAIRS = st.lists(
    st.tuples(st.sampled_from(["area", "name"]), st.sampled_from(["kitchen", "hall"])), max_size=4
)


def test_accuracy_looks_at_the_best_guess_accepted_or_not() -> None:
    summary = metrics.summarize(
        [Outcome("on", "on", True), Outcome("on", "on", False), Outcome("on", "off", True)]
    )
    assert summary.intent_accuracy == pytest.approx(2 / 3)
    assert summary.in_scope_accepted == pytest.approx(2 / 3)


def test_out_of_scope_sentences_count_only_where_they_are_accepted() -> None:
    summary = metrics.summarize(
        [Outcome(None, "on", True), Outcome(None, "oos", False), Outcome("on", "on", True)]
    )
    assert (summary.in_scope, summary.out_of_scope) == (1, 2)
    assert summary.intent_accuracy == 1.0
    assert summary.out_of_scope_accepted == 0.5


def test_a_share_over_nothing_is_unknown_and_not_zero() -> None:
    summary = metrics.summarize([])
    assert summary.intent_accuracy is None
    assert summary.intent_accuracy_interval is None
    assert summary.out_of_scope_accepted is None
    assert summary.slots is None


def test_slots_are_right_only_with_name_and_exact_slice() -> None:
    expected = [("area", "the kitchen"), ("name", "light")]
    assert metrics.slot_counts(expected, [("area", "kitchen"), ("name", "light")]) == (1, 1, 1)
    assert metrics.slot_counts(expected, [("name", "the kitchen")]) == (0, 1, 2)


def test_a_slot_that_stands_twice_counts_twice() -> None:
    assert metrics.slot_counts([("area", "hall")] * 2, [("area", "hall")]) == (1, 0, 1)


def test_slot_scores_are_micro_averages() -> None:
    scores = metrics.slot_scores(
        [
            ([("a", "1"), ("a", "2"), ("a", "3")], [("a", "1"), ("a", "2"), ("a", "3")]),
            ([("b", "1")], [("b", "2")]),
        ]
    )
    assert scores is not None
    assert (scores.precision, scores.recall, scores.f1) == (0.75, 0.75, 0.75)
    assert (scores.right, scores.wrong, scores.missed) == (3, 1, 1)


def test_sentences_without_slot_labels_say_nothing_about_slots() -> None:
    summary = metrics.summarize([Outcome("on", "on", True, None, [("area", "hall")])])
    assert summary.slots is None


def test_a_sentence_without_slots_that_gets_none_does_not_spoil_the_scores() -> None:
    scores = metrics.slot_scores([([], []), ([("a", "1")], [("a", "1")])])
    assert scores is not None
    assert (scores.f1, scores.f1_interval.high) == (1.0, 1.0)


@given(st.lists(st.tuples(PAIRS, PAIRS), min_size=1, max_size=20))
def test_f1_lies_between_precision_and_recall(
    pairs: list[tuple[list[tuple[str, str]], list[tuple[str, str]]]],
) -> None:
    scores = metrics.slot_scores(pairs)
    assert scores is not None
    low, high = sorted((scores.precision, scores.recall))
    assert low - 1e-9 <= scores.f1 <= high + 1e-9
    assert scores.right + scores.missed == sum(len(expected) for expected, _ in pairs)
    assert scores.right + scores.wrong == sum(len(answered) for _, answered in pairs)


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_the_interval_is_within_0_and_1_and_the_same_each_time(hits: list[bool]) -> None:
    ones = [1] * len(hits)
    interval = intervals.ratio_interval(hits, ones)
    assert 0.0 <= interval.low <= interval.high <= 1.0
    assert interval == intervals.ratio_interval(hits, ones)


def test_the_interval_of_a_share_is_that_of_the_normal_approximation() -> None:
    hits = [True] * 900 + [False] * 100
    interval = intervals.ratio_interval(hits, [1] * 1000, rounds=5000)
    assert interval.low == pytest.approx(0.9 - 1.96 * np.sqrt(0.09 / 1000), abs=0.002)
    assert interval.high == pytest.approx(0.9 + 1.96 * np.sqrt(0.09 / 1000), abs=0.002)


@pytest.mark.parametrize(("tops", "bottoms"), [([], []), ([1], [1, 1])])
def test_an_interval_of_nothing_is_an_error(tops: list[float], bottoms: list[float]) -> None:
    with pytest.raises(ValueError, match="bootstrap"):
        intervals.ratio_interval(tops, bottoms)


def test_the_interval_is_that_of_drawing_each_sentence_by_itself() -> None:
    generator = np.random.default_rng(5)
    bottoms = generator.integers(1, 9, size=300)
    tops = np.minimum(bottoms, generator.integers(0, 9, size=300))
    drawn = generator.integers(0, 300, size=(4000, 300))
    low, high = np.quantile(tops[drawn].sum(axis=1) / bottoms[drawn].sum(axis=1), [0.025, 0.975])
    interval = intervals.ratio_interval(tops, bottoms, rounds=4000)
    assert interval.low == pytest.approx(low, abs=0.004)
    assert interval.high == pytest.approx(high, abs=0.004)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=60))
def test_macro_f1_is_that_of_scikit_learn_over_the_expected_classes(pairs: list[tuple[str, str]]) -> None:
    expected, answered = zip(*pairs, strict=True)
    scores = metrics.macro_f1(pairs)
    assert scores is not None
    classes = sorted(set(expected))
    oracle = f1_score(expected, answered, labels=classes, average="macro", zero_division=0.0)
    assert scores.f1 == pytest.approx(oracle)
    assert sorted(scores.by_class) == classes
    assert 0.0 <= scores.f1_interval.low <= scores.f1_interval.high <= 1.0


def test_macro_f1_counts_a_small_class_as_much_as_a_large_one() -> None:
    scores = metrics.macro_f1([("good", "good")] * 98 + [("bad", "good")] * 2)
    assert scores is not None
    assert scores.f1 == pytest.approx((2 * 98 / (2 * 98 + 2)) / 2)
    assert scores.by_class["bad"] == 0.0


def test_macro_f1_of_nothing_is_unknown() -> None:
    assert metrics.macro_f1([]) is None


def test_latency_percentiles_are_those_of_the_values() -> None:
    summary = metrics.latency([float(value) for value in range(1, 102)])
    assert (summary.count, summary.p50_ms, summary.p90_ms, summary.p99_ms, summary.max_ms) == (
        101,
        51,
        91,
        100,
        101,
    )


def test_latency_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no latencies"):
        metrics.latency([])
