"""Judging a model with the code and the runtime that will serve it.

A model reads every sentence once (:func:`read_sentences`); what it would answer under a calibration follows
from the logits by the device's own decoding (:func:`decided`), and the figures follow from the answers.

A set's figures stand by **group**: ``all``, each language, each data set by its name, and ``set/language``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.forge.data.examples import OUT_OF_SCOPE, UNLABELLED, Example
from edge_agent.inference.decode import decide, decode_slots
from edge_agent.inference.intervals import share_interval
from edge_agent.inference.manifest import Calibration
from edge_agent.inference.metrics import (
    Outcome,
    SlotPair,
    macro_f1,
    share,
    slot_scores,
    summarize,
)
from edge_agent.inference.model import Model
from edge_agent.types import Slot


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model gives for the sentences of a set, before any threshold.

    Attributes:
        logits: uncalibrated label logits, float32 [sentences, labels].
        slots: those decoded of each sentence, whatever its confidence; None for a model without slots.
    """

    logits: NDArray[np.float32]
    slots: tuple[tuple[Slot, ...], ...] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of one sentence.

    Attributes:
        label: the best guess.
        recognized: whether threshold, margin and scope let it through.
        logits: label logits, float32 [labels].
        slots: those decoded, recognized or not; None for a model without slots.
    """

    label: str
    recognized: bool
    logits: NDArray[np.float32]
    slots: tuple[Slot, ...] | None


def labelled(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Those of the examples that have a label to be judged by."""
    return tuple(example for example in examples if example.label != UNLABELLED)


def read_sentences(model: Model, examples: Sequence[Example]) -> Reading:
    """One pass of the model over the sentences."""
    rows: list[NDArray[np.float32]] = []
    slots: list[tuple[Slot, ...]] = []
    tags = model.manifest.slot_tags
    for example in examples:
        analysis = model.analyse(example.text, top_k=0)
        rows.append(analysis.label_logits)
        if analysis.slot_logits is not None:
            slots.append(decode_slots(example.text, analysis.encoding, analysis.slot_logits, tags))
    logits = np.asarray(rows, np.float32).reshape(len(rows), len(model.manifest.labels))
    return Reading(logits, tuple(slots) if tags else None)


def decided(reading: Reading, labels: Sequence[str], calibration: Calibration) -> list[Answer]:
    """What the device would answer under a calibration, one a sentence."""
    outside = OUT_OF_SCOPE if OUT_OF_SCOPE in labels else None
    answers = []
    for index, logits in enumerate(reading.logits):
        decision = decide(logits, labels, calibration, out_of_scope=outside, top_k=0)
        slots = reading.slots[index] if reading.slots is not None else None
        answers.append(Answer(decision.best, decision.recognized, logits, slots))
    return answers


def figures(
    examples: Sequence[Example], answers: Sequence[Answer], labels: Sequence[str], *, macro: bool = False
) -> dict[str, dict[str, Any]]:
    """The figures of a set by group.

    Args:
        examples: the sentences, all labelled.
        answers: the model's, in the same order.
        labels: of the model, in the order of its logits.
        macro: also macro F1 over the classes.
    """
    pairs = list(zip(examples, answers, strict=True))
    return {
        name: _group_figures([pairs[index] for index in indices], labels, macro)
        for name, indices in groups(examples).items()
    }


def groups(examples: Sequence[Example]) -> dict[str, list[int]]:
    """Which sentences belong to which group, by index; none for no examples."""
    found: dict[str, list[int]] = {"all": list(range(len(examples)))} if examples else {}
    for key in (_language, _source, _source_and_language):
        part: dict[str, list[int]] = {}
        for index, example in enumerate(examples):
            part.setdefault(key(example), []).append(index)
        found.update((name, part[name]) for name in sorted(part))
    return found


def worst_pairs(
    examples: Sequence[Example], answers: Sequence[Answer], most: int = 15
) -> list[tuple[str, str, int]]:
    """The most frequent confusions: expected, answered, how often."""
    pairs = Counter(
        (example.label, answer.label)
        for example, answer in zip(examples, answers, strict=True)
        if example.label != answer.label
    )
    ordered = sorted(pairs.items(), key=lambda entry: (-entry[1], entry[0]))
    return [(expected, answered, count) for (expected, answered), count in ordered[:most]]


def agreement(first: Sequence[Answer], second: Sequence[Answer]) -> float | None:
    """Share of sentences with the same best guess; None of no sentences."""
    return share(a.label == b.label for a, b in zip(first, second, strict=True))


def _language(example: Example) -> str:
    return example.lang


def _source(example: Example) -> str:
    return example.source


def _source_and_language(example: Example) -> str:
    return f"{example.source}/{example.lang}"


def _group_figures(
    pairs: Sequence[tuple[Example, Answer]], labels: Sequence[str], macro: bool
) -> dict[str, Any]:
    outcomes = [_outcome(example, answer) for example, answer in pairs]
    found: dict[str, Any] = {"sentences": len(pairs), **asdict(summarize(outcomes))}
    slots = found.pop("slots")
    inside = [outcome for outcome in outcomes if outcome.expected is not None]
    outside = [answer for example, answer in pairs if example.label == OUT_OF_SCOPE]
    found["accepted_accuracy"] = share(o.recognized and o.best == o.expected for o in inside)
    found["out_of_scope_recall"], found["out_of_scope_recall_interval"] = _share_with_interval(
        [not answer.recognized for answer in outside]
    )
    found["out_of_scope_argmax_recall"] = share(answer.label == OUT_OF_SCOPE for answer in outside)
    if slots is not None:
        spans = slot_scores(
            (_expected_spans(example), _answered_spans(answer))
            for example, answer in pairs
            if _has_slots_to_find(example, answer)
        )
        assert spans is not None
        found |= _slot_figures("slot", slots) | _slot_figures("span", asdict(spans))
    if macro:
        found |= _macro_figures(pairs, labels)
    return found


def _outcome(example: Example, answer: Answer) -> Outcome:
    """What was expected and what came, as the metrics take it."""
    expected: list[SlotPair] | None = None
    if _has_slots_to_find(example, answer):
        expected = [(span.name, example.text[span.start : span.end]) for span in example.spans or ()]
    answered = answer.slots if answer.recognized and answer.slots is not None else ()
    return Outcome(
        expected=example.label if example.label != OUT_OF_SCOPE else None,
        best=answer.label,
        recognized=answer.recognized,
        expected_slots=expected,
        slots=[(slot.name, slot.value) for slot in answered],
    )


def _has_slots_to_find(example: Example, answer: Answer) -> bool:
    """Whether a sentence counts for slots: in scope, annotated, and asked of a model that has them."""
    return example.label != OUT_OF_SCOPE and example.spans is not None and answer.slots is not None


def _expected_spans(example: Example) -> list[SlotPair]:
    """Names and places, as seqeval and the CoNLL script compare them."""
    return [(span.name, f"{span.start}-{span.end}") for span in example.spans or ()]


def _answered_spans(answer: Answer) -> list[SlotPair]:
    return [(slot.name, f"{slot.start}-{slot.end}") for slot in answer.slots or ()]


def _slot_figures(prefix: str, scores: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_{name}": value for name, value in scores.items()}


def _macro_figures(pairs: Sequence[tuple[Example, Answer]], labels: Sequence[str]) -> dict[str, Any]:
    """Macro F1 over the classes present; also with the choice left among those classes alone.

    The second is the fair figure of a model with more classes than the set (three against two).
    """
    scores = macro_f1((example.label, answer.label) for example, answer in pairs)
    present = sorted({example.label for example, _ in pairs})
    columns = [labels.index(label) for label in present]
    best = np.stack([answer.logits[columns] for _, answer in pairs]).argmax(axis=1)
    among = macro_f1(
        (example.label, present[choice]) for (example, _), choice in zip(pairs, best, strict=True)
    )
    assert scores is not None
    assert among is not None
    return {
        "macro_f1": scores.f1,
        "macro_f1_interval": asdict(scores.f1_interval),
        "f1_by_class": dict(scores.by_class),
        "macro_f1_of_present": among.f1,
        "macro_f1_of_present_interval": asdict(among.f1_interval),
    }


def _share_with_interval(hits: Sequence[bool]) -> tuple[float | None, dict[str, float] | None]:
    if not hits:
        return None, None
    return share(hits), asdict(share_interval(hits))
