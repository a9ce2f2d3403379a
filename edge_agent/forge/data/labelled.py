"""The labelled sentences of a run as one list with weights, for classifiers that read all of them at once."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.forge.data.examples import UNLABELLED, Example
from edge_agent.forge.data.mixture import WeightedSet

_TEMPLATES_PER_SET = 5_000


def labelled_sentences(
    training: Sequence[WeightedSet], *, most: int, seed: int
) -> tuple[list[Example], NDArray[np.float64]]:
    """Labelled sentences of all sets, and each one's weight, 1 on average.

    A set counts by its weight in the mixture, as it does in the training of the encoder.

    Args:
        training: the sets; of templates, as many sentences are drawn as a large set has.
        most: sentences at most, drawn from all of them.
        seed: of what is drawn.
    """
    generator = random.Random(seed)
    used = [entry for entry in training if entry.weight > 0] or list(training)
    examples: list[Example] = []
    weights: list[float] = []
    for entry in used:
        own = _of_set(entry, generator)
        examples += own
        share = (entry.weight or 1.0) / max(1, len(own))
        weights += [share * example.weight for example in own]
    if len(examples) > most:
        chosen = sorted(generator.sample(range(len(examples)), most))
        examples, weights = [examples[i] for i in chosen], [weights[i] for i in chosen]
    array = np.asarray(weights, np.float64)
    return examples, array / array.mean() if len(array) else array


def _of_set(entry: WeightedSet, generator: random.Random) -> list[Example]:
    if entry.grammar is None:
        return [example for example in entry.examples if example.label != UNLABELLED]
    labels = generator.choices(entry.grammar.labels, entry.grammar.label_shares, k=_TEMPLATES_PER_SET)
    return [entry.grammar.sample(label, 1, generator)[0] for label in labels]
