"""The stream of training sentences: several sets in fixed shares, templates drawn afresh each time."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.forge.data.augment import ValuePools, add_noise
from edge_agent.forge.data.examples import OUT_OF_SCOPE, Example
from edge_agent.forge.data.templates import Grammar

_TEMPLATES_FOR_POOLS = 400


@dataclass(frozen=True, slots=True)
class WeightedSet:
    """Sentences, or a grammar that makes them, and their share of a batch."""

    weight: float
    examples: Sequence[Example] = ()
    grammar: Grammar | None = None


class Mixture:
    """Draws training sentences; the same seed draws the same ones.

    Args:
        sets: what to draw from.
        swap_share: chance that a slot's value is exchanged.
        noise_share: chance that a sentence gets noise.
        balance: within a set, a label is drawn by its count to this power: 1 by frequency, 0 each as often.
        seed: of the random generator.
    """

    def __init__(
        self,
        sets: Sequence[WeightedSet],
        *,
        swap_share: float,
        noise_share: float,
        seed: int,
        balance: float = 0.6,
    ) -> None:
        self._sets = [entry for entry in sets if entry.weight > 0]
        self._weights = [entry.weight for entry in self._sets]
        self._swap_share, self._noise_share = swap_share, noise_share
        self._generator = random.Random(seed)
        self._by_label = [_by_label(entry.examples, balance) for entry in self._sets]
        self._pools = ValuePools(self._pool_examples())

    def draw(self, count: int) -> list[Example]:
        """``count`` sentences."""
        return [self._one() for _ in range(count)]

    def _one(self) -> Example:
        generator = self._generator
        index = generator.choices(range(len(self._sets)), self._weights)[0]
        entry = self._sets[index]
        if entry.grammar is not None:
            example = self._from_grammar(entry.grammar)
        else:
            labels, shares, by_label = self._by_label[index]
            example = generator.choice(by_label[generator.choices(labels, shares)[0]])
            example = self._pools.swap(example, self._swap_share, generator)
        if generator.random() < self._noise_share:
            example = add_noise(example, generator)
        return example

    def _from_grammar(self, grammar: Grammar) -> Example:
        """A label by the root of its number of templates, so that no large intent drowns the small ones."""
        label = self._generator.choices(grammar.labels, grammar.label_shares)[0]
        return grammar.sample(label, 1, self._generator)[0]

    def _pool_examples(self) -> list[Example]:
        generator = random.Random(0)
        examples = [example for entry in self._sets for example in entry.examples]
        for entry in self._sets:
            if entry.grammar is not None:
                for label in entry.grammar.labels:
                    if label != OUT_OF_SCOPE:
                        examples += entry.grammar.sample(label, _TEMPLATES_FOR_POOLS, generator)
        return examples


def _by_label(
    examples: Sequence[Example], balance: float
) -> tuple[list[str], list[float], dict[str, list[Example]]]:
    """Labels, how often to draw each, and the sentences; those without a label count as one label."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_label[example.label].append(example)
    labels = list(by_label)
    return labels, [len(by_label[label]) ** balance for label in labels], by_label
