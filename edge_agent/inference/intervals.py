"""95 % intervals of shares and of F1: the percentile bootstrap over sentences, or Wilson's of few.

The bootstrap says 100 to 100 % of ten right answers of ten. So a share of few sentences, or one that is 0 or
1, has Wilson's score interval, which stays within 0 and 1 and keeps its level for few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEW_SENTENCES = 100
"""A share of fewer has Wilson's interval."""
_NORMAL_975 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Ends of a 95 % interval, as shares 0..1: a bootstrap's, or Wilson's of few sentences."""

    low: float
    high: float


def ratio_interval(
    numerators: Sequence[float] | np.ndarray,
    denominators: Sequence[float] | np.ndarray,
    *,
    level: float = 0.95,
    rounds: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of sum(numerators) / sum(denominators) over sentences.

    Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, section 13.3. Accuracy has hits over
    ones, F1 has 2·right over 2·right + wrong + missed. Sentences with the same pair of numbers are drawn
    together, which gives the same distribution and needs memory for the different pairs only.

    Raises:
        ValueError: no sentences, or lists of different length.
    """
    tops, bottoms = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if not len(tops) or tops.shape != bottoms.shape:
        raise ValueError("a bootstrap interval needs equally many numerators and denominators, at least one")
    kinds, counts = np.unique(np.stack([tops, bottoms], axis=1), axis=0, return_counts=True)
    draws = draws_of(counts.astype(np.float64), rounds, seed)
    sums = draws @ kinds[:, 1]
    ratios = np.divide(draws @ kinds[:, 0], sums, out=np.zeros(rounds), where=sums > 0)
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def wilson_interval(hits: int, count: int) -> Interval:
    """Wilson's score interval of a share, at 95 %: within 0 and 1, and honest of few.

    E. B. Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference". Ten of ten is
    72 to 100 %, where the bootstrap says 100 to 100 %.

    Args:
        hits: how many were right.
        count: of how many; at least one.

    Raises:
        ValueError: of nothing, or more hits than there are.
    """
    if not 0 <= hits <= count or count == 0:
        raise ValueError(f"a share of {hits} in {count} has no interval")
    square = _NORMAL_975**2
    centre = hits + square / 2
    reach = _NORMAL_975 * (hits * (count - hits) / count + square / 4) ** 0.5
    low, high = (centre - reach) / (count + square), (centre + reach) / (count + square)
    return Interval(low if hits else 0.0, high if hits < count else 1.0)


def share_interval(hits: Sequence[bool], *, seed: int = 0) -> Interval:
    """Of a share of sentences: Wilson's of few, and of all or none; else the bootstrap's.

    Raises:
        ValueError: no sentences.
    """
    right = sum(hits)
    if len(hits) < FEW_SENTENCES or right in (0, len(hits)):
        return wilson_interval(right, len(hits))
    return ratio_interval(hits, [1] * len(hits), seed=seed)


def f1_interval(right: int, wrong: int, missed: int, bootstrap: Interval) -> Interval:
    """Of a micro F1: the bootstrap's, unless all slots are right or none is.

    Then Wilson's of the share J of right slots among right, wrong and missed ones, since F1 = 2J / (1 + J).
    """
    count = right + wrong + missed
    if count == 0 or 0 < right < count:
        return bootstrap
    share = wilson_interval(right, count)
    return Interval(2 * share.low / (1 + share.low), 2 * share.high / (1 + share.high))


def draws_of(counts: NDArray[np.float64], rounds: int, seed: int) -> NDArray[np.float64]:
    """How often each kind of sentence is drawn when as many as there are are drawn again, [rounds, kinds]."""
    total = int(counts.sum())
    return np.random.default_rng(seed).multinomial(total, counts / total, size=rounds).astype(np.float64)
