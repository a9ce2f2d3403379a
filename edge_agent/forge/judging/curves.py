"""The trade between answering what is meant for a model and turning away what is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.forge.data.examples import OUT_OF_SCOPE, Example
from edge_agent.inference.decode import softmax

_POINTS = 60


def out_of_scope_curve(
    examples: Sequence[Example], logits: NDArray[np.float32], labels: Sequence[str], temperature: float
) -> list[dict[str, float]]:
    """Recall of out of scope against acceptance of what is in scope, over all thresholds.

    Args:
        examples: of one split.
        logits: of them, [sentences, labels].
        labels: the model's.
        temperature: of the calibration.

    Returns:
        Points from the lowest threshold to the highest; none where the split has only one of the two
        kinds. The margin between the two best labels is left out of it.
    """
    outside = np.asarray([example.label == OUT_OF_SCOPE for example in examples], bool)
    if not outside.any() or outside.all():
        return []
    probabilities = softmax(logits, temperature)
    confidence = probabilities.max(axis=1)
    if OUT_OF_SCOPE in labels:
        confidence[probabilities.argmax(axis=1) == labels.index(OUT_OF_SCOPE)] = 0.0
    steps = (
        np.unique(np.quantile(confidence[confidence > 0], np.linspace(0, 1, _POINTS)))
        if (confidence > 0).any()
        else np.zeros(0)
    )
    thresholds = [*steps.tolist(), 1.0 + 1e-9]
    return [
        {
            "threshold": round(min(threshold, 1.0), 6),
            "in_scope_accepted": round(float((confidence[~outside] >= threshold).mean()), 6),
            "out_of_scope_recall": round(float((confidence[outside] < threshold).mean()), 6),
        }
        for threshold in thresholds
    ]
