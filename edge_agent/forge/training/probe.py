"""A linear probe: multinomial logistic regression on the sentence vectors of an encoder nobody touched.

It is where the label head starts when there are few rows. A head of random numbers pulls the encoder's
features out of shape while it is still wrong itself, and few rows never mend them; one that begins with the
probe leaves them as they are (LP-FT: Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution"). How strongly the regression is held back is chosen by cross-validation
within the training rows: few labels and much noise want more of it than many clear ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_agent.forge.data.features import Features
from edge_agent.forge.encoders.family import Encoder
from edge_agent.forge.training.batches import Batch, collate

Vectors = NDArray[np.float32]
Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Inverse strengths of the L2 penalty (scikit-learn's C), for vectors of length 1 on average."""
_FOLDS = 5
_ROWS_FOR_THE_STRENGTH = 2_000
_ROUNDS = 1_000
_BATCH = 32
_NEVER = -20.0
"""Bias of a label that training never showed."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted probe, as a label head holds it.

    Attributes:
        weight: float32 [labels, hidden].
        bias: float32 [labels].
        strength: the C that was chosen, of :data:`STRENGTHS`.
    """

    weight: Vectors
    bias: Vectors
    strength: float


def sentence_vectors(encoder: Encoder, features: Sequence[Features]) -> Vectors:
    """What the label head reads of each sentence, float32 [sentences, hidden]; nothing is dropped out."""
    found = np.zeros((len(features), encoder.label_head.in_features), np.float32)
    with _asking(encoder):
        for rows, batch in _by_length(features):
            found[rows] = encoder.trace(batch.token_ids, batch.mask).pooled.float().numpy()
    return found


def share_right(encoder: Encoder, features: Sequence[Features]) -> float:
    """The share of sentences whose likeliest label is theirs, all labels competing; 0..1."""
    right = 0
    with _asking(encoder):
        for _, batch in _by_length(features):
            best = encoder(batch.token_ids, batch.mask)[0].argmax(dim=1)
            right += int((best == batch.labels).sum())
    return right / len(features)


def fit_probe(
    vectors: Vectors, targets: Indices, weights: Numbers, *, labels: int, seed: int
) -> Probe | None:
    """Fits the probe; the same numbers give the same probe. None of fewer than two labels.

    Args:
        vectors: of the training sentences, [sentences, hidden].
        targets: indices of their labels, [sentences].
        weights: of the sentences, 1 on average.
        labels: how many the head has.
        seed: of the folds.
    """
    if len(np.unique(targets)) < 2:
        return None
    # Centred and scaled as a whole: one penalty then suits every encoder, and both fold into the head.
    centre = vectors.mean(axis=0)
    scale = float(np.linalg.norm(vectors, axis=1).mean())
    inputs = (vectors - centre) / scale
    strength = _strength(inputs, targets, weights, seed)
    fitted = _regression(strength, inputs, targets, weights)
    rows, offsets = _one_row_a_label(fitted)
    weight = np.zeros((labels, vectors.shape[1]), np.float32)
    bias = np.full(labels, _NEVER, np.float32)
    weight[fitted.classes_] = rows / scale
    bias[fitted.classes_] = offsets - rows @ centre / scale
    return Probe(weight, bias, strength)


def start_head(encoder: Encoder, probe: Probe) -> None:
    """Puts the probe in the place of the label head."""
    with torch.no_grad():
        encoder.label_head.weight.copy_(torch.from_numpy(probe.weight))
        encoder.label_head.bias.copy_(torch.from_numpy(probe.bias))


def _strength(inputs: Vectors, targets: Indices, weights: Numbers, seed: int) -> float:
    """The strength whose held-out log loss is least, over folds that each hold every label's share."""
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.permutation(len(targets))[:_ROWS_FOR_THE_STRENGTH])
    inputs, targets, weights = inputs[chosen], targets[chosen], weights[chosen]
    fold = np.zeros(len(targets), np.int64)
    for label in np.unique(targets):
        own = generator.permutation(np.flatnonzero(targets == label))
        fold[own] = np.arange(len(own)) % _FOLDS
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for number in range(_FOLDS):
        kept, held = fold != number, fold == number
        held &= np.isin(targets, targets[kept])
        if len(np.unique(targets[kept])) < 2 or not held.any():
            continue
        for strength in STRENGTHS:
            fitted = _regression(strength, inputs[kept], targets[kept], weights[kept])
            logs = fitted.predict_log_proba(inputs[held])
            column = np.searchsorted(fitted.classes_, targets[held])
            losses[strength] -= float((logs[np.arange(len(column)), column] * weights[held]).sum())
    return min(STRENGTHS, key=lambda strength: losses[strength])


def _regression(strength: float, inputs: Vectors, targets: Indices, weights: Numbers) -> Any:
    from sklearn.linear_model import LogisticRegression  # slow to import, and only this needs it

    return LogisticRegression(C=strength, max_iter=_ROUNDS).fit(inputs, targets, sample_weight=weights)


def _one_row_a_label(fitted: Any) -> tuple[Numbers, Numbers]:
    """Of two labels, scikit-learn holds one row: the odds of the second against the first."""
    rows, offsets = np.asarray(fitted.coef_, np.float64), np.asarray(fitted.intercept_, np.float64)
    if len(fitted.classes_) > 2:
        return rows, offsets
    return np.concatenate([-rows, rows]) / 2, np.concatenate([-offsets, offsets]) / 2


@contextmanager
def _asking(encoder: Encoder) -> Iterator[None]:
    """Evaluation mode and no gradients for a while; then as it was."""
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        encoder.train(was_training)


def _by_length(features: Sequence[Features]) -> Iterator[tuple[list[int], Batch]]:
    """Sentences of like length together, with their places."""
    order = sorted(range(len(features)), key=lambda index: len(features[index].token_ids))
    for first in range(0, len(order), _BATCH):
        rows = order[first : first + _BATCH]
        yield rows, collate([features[index] for index in rows])
