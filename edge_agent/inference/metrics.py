"""The figures by which a model is judged: values in, values out.

Training's report and ``edge-agent model eval`` count with the same functions, so that two figures of one
name never mean two things:

* **intent accuracy** is over the sentences in scope and looks at the best guess, accepted or not;
* **accepted** is the share that the calibrated threshold lets through, in scope and out of scope apart;
* **slot scores** are micro-averaged over (name, exact slice) and count what the device would answer: a
  sentence that is not recognised answers no slots, so all of its slots are missed.

Nothing here knows a model, a file or a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.inference.intervals import Interval, draws_of, f1_interval, ratio_interval, share_interval

SlotPair = tuple[str, str]
"""A slot's name and the exact slice of the text that fills it."""


@dataclass(frozen=True, slots=True)
class SlotScores:
    """Micro-averaged slot figures, with the counts that they came from."""

    precision: float
    recall: float
    f1: float
    f1_interval: Interval
    right: int
    wrong: int
    missed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was expected of one sentence and what a model said.

    Attributes:
        expected: the intent, or None for a sentence that is out of scope.
        best: the model's best guess, whether it accepted it or not.
        recognized: whether the model accepted it.
        expected_slots: None where the data has no slots with slices.
        slots: the slots answered; empty when not recognized.
    """

    expected: str | None
    best: str | None
    recognized: bool
    expected_slots: Collection[SlotPair] | None = None
    slots: Collection[SlotPair] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one set of sentences; a share over no sentences is None."""

    in_scope: int
    intent_accuracy: float | None
    intent_accuracy_interval: Interval | None
    in_scope_accepted: float | None
    out_of_scope: int
    out_of_scope_accepted: float | None
    slots: SlotScores | None


@dataclass(frozen=True, slots=True)
class MacroF1:
    """The unweighted mean of the classes' F1, over the classes that were expected at least once.

    Attributes:
        f1: the mean, 0..1.
        f1_interval: 95 % bootstrap interval of it.
        by_class: each class's own F1.
    """

    f1: float
    f1_interval: Interval
    by_class: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency percentiles in milliseconds."""

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


def share(hits: Iterable[bool]) -> float | None:
    """The share of true values, 0..1; None of no values."""
    values = list(hits)
    return sum(values) / len(values) if values else None


def slot_counts(expected: Collection[SlotPair], answered: Collection[SlotPair]) -> tuple[int, int, int]:
    """Right, wrong and missed slots of one sentence; a slot that stands twice counts twice."""
    wanted, got = Counter(expected), Counter(answered)
    right = (wanted & got).total()
    return right, got.total() - right, wanted.total() - right


def slot_scores(
    pairs: Iterable[tuple[Collection[SlotPair], Collection[SlotPair]]], *, seed: int = 0
) -> SlotScores | None:
    """Micro precision, recall and F1 over (expected, answered) pairs; None of no sentences."""
    counts = np.array([slot_counts(expected, answered) for expected, answered in pairs], dtype=np.float64)
    if not len(counts):
        return None
    right, wrong, missed = (int(total) for total in counts.sum(axis=0))
    numerators = 2 * counts[:, 0]
    bootstrap = ratio_interval(numerators, numerators + counts[:, 1] + counts[:, 2], seed=seed)
    return SlotScores(
        precision=_ratio(right, right + wrong),
        recall=_ratio(right, right + missed),
        f1=_ratio(2 * right, 2 * right + wrong + missed),
        f1_interval=f1_interval(right, wrong, missed, bootstrap),
        right=right,
        wrong=wrong,
        missed=missed,
    )


def summarize(outcomes: Iterable[Outcome], *, seed: int = 0) -> Summary:
    """All figures of one set of sentences."""
    rows = list(outcomes)
    inside = [row for row in rows if row.expected is not None]
    outside = [row for row in rows if row.expected is None]
    hits = [row.best == row.expected for row in inside]
    return Summary(
        in_scope=len(inside),
        intent_accuracy=share(hits),
        intent_accuracy_interval=share_interval(hits, seed=seed) if hits else None,
        in_scope_accepted=share(row.recognized for row in inside),
        out_of_scope=len(outside),
        out_of_scope_accepted=share(row.recognized for row in outside),
        slots=slot_scores(
            [(row.expected_slots, row.slots) for row in inside if row.expected_slots is not None], seed=seed
        ),
    )


def macro_f1(pairs: Iterable[tuple[str, str]], *, seed: int = 0, rounds: int = 1000) -> MacroF1 | None:
    """Macro F1 over (expected class, answered class) pairs; None of no pairs.

    A class that was answered but never expected has no F1 of its own; it costs the recall of the others.
    The interval is a percentile bootstrap over sentences (see :func:`ratio_interval`); a class that a
    round has not drawn is left out of that round's mean.
    """
    cells = Counter(pairs)
    if not cells:
        return None
    kinds = sorted(cells)
    counts = np.asarray([cells[kind] for kind in kinds], np.float64)
    classes = sorted({expected for expected, _ in kinds})
    draws = np.vstack([counts[None, :], draws_of(counts, rounds, seed)])
    scores = np.stack([_class_f1(draws, kinds, name) for name in classes])
    means = np.nanmean(scores, axis=0)
    low, high = np.quantile(means[1:], [0.025, 0.975])
    by_class = {name: float(score) for name, score in zip(classes, scores[:, 0], strict=True)}
    return MacroF1(float(means[0]), Interval(float(low), float(high)), by_class)


def latency(milliseconds: Sequence[float]) -> Latency:
    """Percentiles of measured latencies.

    Raises:
        ValueError: no values.
    """
    if not milliseconds:
        raise ValueError("no latencies to summarize")
    values = np.asarray(milliseconds, np.float64)
    p50, p90, p99 = (float(value) for value in np.percentile(values, [50, 90, 99]))
    return Latency(len(values), float(values.mean()), p50, p90, p99, float(values.max()))


def _class_f1(draws: NDArray[np.float64], kinds: Sequence[tuple[str, str]], name: str) -> NDArray[np.float64]:
    """F1 of one class in each row of counts, [rows]; NaN where no sentence of the class was drawn."""
    expected = np.asarray([kind[0] == name for kind in kinds])
    answered = np.asarray([kind[1] == name for kind in kinds])
    right = draws[:, expected & answered].sum(axis=1)
    wanted = draws[:, expected].sum(axis=1)
    total = wanted + draws[:, answered].sum(axis=1)
    scores: NDArray[np.float64] = np.divide(
        2 * right, total, out=np.full(len(draws), np.nan), where=wanted > 0
    )
    return scores


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else 0.0
