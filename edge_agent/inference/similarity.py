"""How well vectors put pairs of texts in the order in which people put them. Pure.

Spearman's rank correlation of cosines with human scores is how sentence embeddings are compared since the
STS benchmark (Cer et al. 2017, SemEval task 1; Reimers et al. 2016 on why ranks and not Pearson).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def spearman(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Spearman's rank correlation, -1..1, equal values sharing their mean rank; None without any order.

    Raises:
        ValueError: the lists are not of one length.
    """
    if len(left) != len(right):
        raise ValueError("a correlation needs equally many values on both sides")
    if len(set(left)) < 2 or len(set(right)) < 2:
        return None
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks from 0, equal values with the mean of theirs."""
    _, places, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[np.float64] = (ends - (counts + 1) / 2)[places]
    return ranks
