"""Few sentences, or all of them right, have an interval that says so."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.forge.data.examples import Example, Span
from edge_agent.forge.judging.evaluate import Reading, decided, figures
from edge_agent.inference.intervals import (
    Interval,
    f1_interval,
    ratio_interval,
    share_interval,
    wilson_interval,
)
from edge_agent.inference.manifest import Calibration
from edge_agent.types import Slot


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        (10, 10, 0.7225, 1.0),
        (0, 10, 0.0, 0.2775),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_s_interval_is_that_of_the_published_tables(
    hits: int, count: int, low: float, high: float
) -> None:
    interval = wilson_interval(hits, count)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize(("hits", "count"), [(0, 0), (2, 1), (-1, 3)])
def test_a_share_of_nothing_has_none(hits: int, count: int) -> None:
    with pytest.raises(ValueError, match="has no interval"):
        wilson_interval(hits, count)


def test_many_sentences_have_the_bootstrap_s_interval_and_few_or_perfect_ones_wilson_s() -> None:
    many, few, all_right = [True] * 150 + [False] * 50, [True] * 50 + [False] * 49, [True] * 500
    assert share_interval(many) == ratio_interval(many, [1] * 200)
    assert share_interval(few) == wilson_interval(50, 99)
    assert share_interval(all_right) == wilson_interval(500, 500)
    assert share_interval(all_right).low < 1


def test_an_f1_of_one_is_not_certain_and_another_keeps_its_bootstrap() -> None:
    boot = Interval(0.4, 0.6)
    assert f1_interval(5, 5, 5, boot) == boot
    assert f1_interval(0, 0, 0, boot) == boot
    perfect = f1_interval(10, 0, 0, Interval(1.0, 1.0))
    assert perfect.high == 1.0
    assert perfect.low == pytest.approx(2 * 0.7225 / 1.7225, abs=1e-4)


def test_a_report_s_groups_have_them() -> None:
    slot = Slot("room", "hall", 0, 4, 1.0)
    examples = [Example("hall light", "a", "en", (Span("room", 0, 4),), "toy")] * 6
    examples += [Example("a song", "out_of_scope", "en", (), "toy")] * 3
    logits = np.asarray([[9.0, 0.0]] * 6 + [[0.0, 9.0]] * 3, np.float32)
    reading = Reading(logits, ((slot,),) * 6 + ((),) * 3)
    labels = ("a", "out_of_scope")
    group = figures(examples, decided(reading, labels, Calibration(1.0, 0.5, 0.0)), labels)["all"]
    assert group["intent_accuracy"] == group["span_f1"] == group["out_of_scope_recall"] == 1.0
    assert group["intent_accuracy_interval"]["low"] == pytest.approx(wilson_interval(6, 6).low)
    assert group["out_of_scope_recall_interval"]["low"] == pytest.approx(wilson_interval(3, 3).low)
    assert group["span_f1_interval"]["low"] < 1
    assert group["slot_f1_interval"]["low"] < 1
