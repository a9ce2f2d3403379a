"""95 % intervals where the bootstrap says too much: it gives 100 to 100 % for ten right answers of ten.

A share of few sentences, or one that is 0 or 1, has Wilson's score interval (E. B. Wilson 1927, "Probable
Inference, the Law of Succession, and Statistical Inference"), which stays within 0 and 1 and keeps its level
for few sentences; ten of ten is 72 to 100 %. Other figures keep the percentile bootstrap of
:func:`~edge_agent.inference.metrics.ratio_interval`.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.inference.metrics import Interval, ratio_interval

FEW_SENTENCES = 100
_NORMAL_975 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


def wilson_interval(hits: int, count: int) -> Interval:
    """Wilson's score interval of a share, at 95 %.

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


def share_interval(hits: Sequence[bool]) -> Interval:
    """Of a share of sentences: Wilson's of few, and of all or none; else the bootstrap's.

    Raises:
        ValueError: no sentences.
    """
    right = sum(hits)
    if len(hits) < FEW_SENTENCES or right in (0, len(hits)):
        return wilson_interval(right, len(hits))
    return ratio_interval(hits, [1] * len(hits))


def f1_interval(right: int, wrong: int, missed: int, bootstrap: Interval) -> Interval:
    """Of a micro F1: the bootstrap's, unless all slots are right or none is.

    Then Wilson's of the share J of right slots among right, wrong and missed ones, since F1 = 2J / (1 + J).
    """
    count = right + wrong + missed
    if count == 0 or 0 < right < count:
        return bootstrap
    share = wilson_interval(right, count)
    return Interval(2 * share.low / (1 + share.low), 2 * share.high / (1 + share.high))
