"""Judging a bundle with the code and the runtime that will serve it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.forge.data.examples import OUT_OF_SCOPE, Example
from edge_agent.inference.metrics import Outcome, summarize
from edge_agent.inference.model import Analysis, Model

_LENGTHS = (8, 16, 32, 64, 128)
_TIMED_RUNS = 30


def analyse(model: Model, examples: Sequence[Example]) -> list[Analysis]:
    """The model's answers, one an example."""
    return [model.analyse(example.text) for example in examples]


def label_logits(analyses: Iterable[Analysis]) -> NDArray[np.float32]:
    """Logits as one array, [sentences, labels]."""
    return np.stack([analysis.label_logits for analysis in analyses]).astype(np.float32)


def outcome(example: Example, analysis: Analysis) -> Outcome:
    """What was expected and what came, as the metrics take it."""
    in_scope = example.label != OUT_OF_SCOPE
    expected_slots = None
    if in_scope and example.spans is not None:
        expected_slots = [(span.name, example.text[span.start : span.end]) for span in example.spans]
    return Outcome(
        expected=example.label if in_scope else None,
        best=analysis.label,
        recognized=analysis.recognized,
        expected_slots=expected_slots,
        slots=[(slot.name, slot.value) for slot in analysis.slots],
    )


def figures(examples: Sequence[Example], analyses: Sequence[Analysis]) -> dict[str, Any]:
    """The figures of a set, whole, by language of the in-scope part, and by source of the rest."""
    outcomes = [outcome(example, analysis) for example, analysis in zip(examples, analyses, strict=True)]
    groups: dict[str, list[Outcome]] = {}
    for example, result in zip(examples, outcomes, strict=True):
        key = example.source if result.expected is None else example.lang
        groups.setdefault(key, []).append(result)
    return {
        "all": asdict(summarize(outcomes)),
        **{key: asdict(summarize(group)) for key, group in sorted(groups.items())},
    }


def worst_pairs(
    examples: Sequence[Example], analyses: Sequence[Analysis], most: int = 15
) -> list[tuple[str, str, int]]:
    """The most frequent confusions: expected, answered, how often."""
    pairs = Counter(
        (example.label, analysis.label)
        for example, analysis in zip(examples, analyses, strict=True)
        if example.label != analysis.label
    )
    return [(expected, answered, count) for (expected, answered), count in pairs.most_common(most)]


def latencies(model: Model, words: str = "light ") -> dict[str, float]:
    """Median milliseconds in the runtime by number of tokens, [CLS] and [SEP] counted."""
    table = {}
    for length in _LENGTHS:
        text = words * (length - 2)
        times = [model.analyse(text).invoke_ms for _ in range(_TIMED_RUNS)]
        table[str(length)] = round(median(times), 3)
    return table
