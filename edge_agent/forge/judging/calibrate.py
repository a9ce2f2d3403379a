"""From dev logits to the numbers that a bundle decides by: temperature and threshold.

Temperature scaling (Guo et al. 2017) makes the confidence of the best label the chance that it is right.
The threshold is then the lowest that keeps the out-of-scope sentences of the dev sets out, as far as
the share of in-scope sentences that must pass allows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.inference.decode import softmax

_TEMPERATURES = np.geomspace(0.3, 5.0, 141)
_THRESHOLDS = np.linspace(0.2, 0.95, 76)
_BINS = 10


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What calibration found.

    Attributes:
        temperature: divides the logits.
        threshold: least confidence of an answer.
        error_before: expected calibration error on the dev sets with temperature 1.
        error_after: the same with the temperature found.
    """

    temperature: float
    threshold: float
    error_before: float
    error_after: float


def calibrate(
    logits: NDArray[np.float32],
    expected: NDArray[np.int64],
    *,
    sources: Sequence[str],
    out_of_scope: int | None,
    margin: float,
    accept_in_scope: float,
    accept_out_of_scope: float,
) -> Calibrated:
    """Finds temperature and threshold.

    Args:
        logits: dev logits, [sentences, labels].
        expected: label indices, [sentences].
        sources: the data set of each sentence.
        out_of_scope: index of that label, or None.
        margin: least distance between the two best.
        accept_in_scope: share of in-scope sentences that the threshold may not go below.
        accept_out_of_scope: share of out-of-scope sentences that is good enough, in the worst source.
    """
    losses = [_loss(logits, expected, temperature) for temperature in _TEMPERATURES]
    temperature = round(float(_TEMPERATURES[int(np.argmin(losses))]), 3)
    probabilities = softmax(logits, temperature)
    inside = expected != out_of_scope if out_of_scope is not None else np.ones(len(expected), bool)
    origin = np.asarray(sources)
    strangers = [~inside & (origin == source) for source in sorted(set(origin[~inside]))]
    chosen = float(_THRESHOLDS[0])
    for threshold in _THRESHOLDS if inside.any() else ():
        accepted = _accepted(probabilities, threshold, margin, out_of_scope)
        if accepted[inside].mean() < accept_in_scope:
            break
        chosen = float(threshold)
        if all(accepted[rows].mean() <= accept_out_of_scope for rows in strangers):
            break
    return Calibrated(
        temperature,
        round(chosen, 3),
        calibration_error(softmax(logits), expected),
        calibration_error(probabilities, expected),
    )


def calibration_error(probabilities: NDArray[np.float64], expected: NDArray[np.int64]) -> float:
    """Expected calibration error over ten bins of equal width (Naeini et al. 2015), 0..1."""
    return float(
        sum(
            share * abs(confidence - accuracy)
            for share, confidence, accuracy in reliability(probabilities, expected)
        )
    )


def reliability(
    probabilities: NDArray[np.float64], expected: NDArray[np.int64]
) -> list[tuple[float, float, float]]:
    """For each filled bin: share of sentences, mean confidence, accuracy."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == expected
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return [
        (float((bins == b).mean()), float(confidence[bins == b].mean()), float(right[bins == b].mean()))
        for b in range(_BINS)
        if (bins == b).any()
    ]


def _loss(logits: NDArray[np.float32], expected: NDArray[np.int64], temperature: float) -> float:
    probabilities = softmax(logits, float(temperature))
    return float(-np.log(probabilities[np.arange(len(expected)), expected] + 1e-12).mean())


def _accepted(
    probabilities: NDArray[np.float64], threshold: float, margin: float, out_of_scope: int | None
) -> NDArray[np.bool_]:
    best_two = np.sort(probabilities, axis=1)[:, -2:]
    accepted: NDArray[np.bool_] = (best_two[:, 1] >= threshold) & (best_two[:, 1] - best_two[:, 0] >= margin)
    if out_of_scope is not None:
        accepted &= probabilities.argmax(axis=1) != out_of_scope
    return accepted
