"""A recipe's data, read once: training sets with their shares, dev and test sets, labels, tags, texts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from edge_agent.errors import DataError
from edge_agent.forge.data.checks import Finding, find_problems
from edge_agent.forge.data.examples import OUT_OF_SCOPE, UNLABELLED, Example, read_jsonl
from edge_agent.forge.data.folders import DataFolders
from edge_agent.forge.data.home_assistant import missing_slots
from edge_agent.forge.data.mixture import WeightedSet
from edge_agent.forge.data.sources import read_section
from edge_agent.forge.data.splits import text_key, unique_texts
from edge_agent.forge.data.templates import read_grammar
from edge_agent.forge.recipe import DataSection, Recipe

_SAMPLES_FOR_TEXTS = 200
_SMOKE_ROWS = 200
_Read: TypeAlias = Sequence[tuple[DataSection, list[Example]]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a recipe's data sections hold.

    Attributes:
        training: sets to draw sentences from.
        dev: sentences to calibrate and choose by.
        test: sentences to report on once.
        labels: every label of training, dev and test, sorted, out of scope last.
        slot_tags: ``O``, then ``B-`` and ``I-`` of each slot name, sorted; empty without slots.
        texts: texts by language, for choosing a vocabulary.
        left_out: training sentences that also stand in dev or test and were therefore left out.
        slots_not_found: slot values annotated in dev that could not be found in the text.
        findings: what is wrong with the data, gravest first; never an error, which is raised.
    """

    training: tuple[WeightedSet, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...]
    slot_tags: tuple[str, ...]
    texts: dict[str, list[str]]
    left_out: int
    slots_not_found: int
    findings: tuple[Finding, ...] = ()


def read_corpus(recipe: Recipe, folders: DataFolders, *, smoke: bool = False) -> Corpus:
    """Reads every data section of a recipe.

    Args:
        recipe: the recipe.
        folders: where its files are.
        smoke: take only the first rows of each set, to try the pipeline.

    Raises:
        DataError: a set is absent, altered, empty or wrong in itself.
    """
    embeds = recipe.model.task == "embed"
    read = [(s, _read(s, folders, smoke, embeds)) for s in recipe.data if s.kind != "templates"]
    templates = _templates(recipe, folders)
    findings = find_problems(
        *(_of(read, use) for use in ("train", "dev", "test")),
        template_labels={label for entry in templates if entry.grammar for label in entry.grammar.labels},
    )
    _refuse_errors(findings)
    read = [(section, [e for e in examples if e.text.strip()]) for section, examples in read]
    held_out = (*_of(read, "dev"), *_of(read, "test"))
    training, left_out = _unseen(read, unique_texts(held_out))
    training += templates
    _check_that_there_is_something_to_draw(training)
    labels, slot_tags = _labels(training, held_out), _slot_tags(training, held_out)
    if len(labels) < 2 and not embeds:
        raise DataError("the data has fewer than two labels")
    if slot_tags and recipe.model.task != "intent":
        raise DataError(
            "the data has slots, which only models of the task intent find",
            hint='set model.task = "intent", or leave slots = true out of the data sections',
        )
    return Corpus(
        training=tuple(training),
        dev=_of(read, "dev"),
        test=_of(read, "test"),
        labels=labels,
        slot_tags=slot_tags,
        texts=_texts(training),
        left_out=left_out,
        slots_not_found=sum(_slots_not_found(recipe, folders)),
        findings=findings,
    )


def _templates(recipe: Recipe, folders: DataFolders) -> list[WeightedSet]:
    return [
        WeightedSet(section.weight, grammar=read_grammar(folders.find(section), section.lang))
        for section in recipe.data
        if section.kind == "templates"
    ]


def _refuse_errors(findings: Sequence[Finding]) -> None:
    errors = [finding.message for finding in findings if finding.severity == "error"]
    if errors:
        raise DataError("; ".join(errors), hint="correct these rows; a model would learn what they say")


def _unseen(read: _Read, forbidden: set[str]) -> tuple[list[WeightedSet], int]:
    """Training sets without the texts that stand in dev or test, and how many those were."""
    training: list[WeightedSet] = []
    left_out = 0
    for section, examples in read:
        if section.use == "train":
            kept = [example for example in examples if text_key(example.text) not in forbidden]
            left_out += len(examples) - len(kept)
            training.append(WeightedSet(section.weight, kept))
    return training, left_out


def _read(section: DataSection, folders: DataFolders, smoke: bool, embeds: bool) -> list[Example]:
    examples = read_section(section, folders.find(section), judge_unlabelled=embeds)
    if embeds:  # sentences are all that counts: such a model has neither labels nor slots
        examples = [replace(e, label=UNLABELLED, spans=None, probabilities=None) for e in examples]
    if smoke:
        random.Random(0).shuffle(examples)
        return examples[:_SMOKE_ROWS]
    return examples


def _check_that_there_is_something_to_draw(training: Sequence[WeightedSet]) -> None:
    drawn = [entry for entry in training if entry.weight > 0]
    if not drawn:
        raise DataError(
            "no training set has a weight, so none would be drawn from",
            hint='give a data section of use = "train" a weight: its share of each batch',
        )
    if any(entry.grammar is None and not entry.examples for entry in drawn):
        raise DataError(
            "a training set has no sentence left: all of them stand in dev or test, too",
            hint="train on one part of the rows and judge by another: hold_out and only_held_out",
        )


def _slots_not_found(recipe: Recipe, folders: DataFolders) -> Iterator[int]:
    for section in recipe.data:
        if section.kind == "home_assistant" and section.use == "dev":
            for row in read_jsonl(folders.find(section)):
                yield len(missing_slots(row["text"], row["slots"]))


def _of(read: _Read, use: str) -> tuple[Example, ...]:
    return tuple(e for section, examples in read if section.use == use for e in examples)


def _labels(training: Sequence[WeightedSet], held_out: Sequence[Example]) -> tuple[str, ...]:
    labels = {label for example in held_out for label in _labels_of(example)}
    for entry in training:
        if entry.grammar:
            labels.update(entry.grammar.labels)
        labels.update(label for example in entry.examples for label in _labels_of(example))
    ordered = sorted(labels - {OUT_OF_SCOPE, UNLABELLED})
    return (*ordered, OUT_OF_SCOPE) if OUT_OF_SCOPE in labels else tuple(ordered)


def _labels_of(example: Example) -> Iterator[str]:
    yield example.label
    yield from (label for label, _ in example.probabilities or ())


def _slot_tags(training: Sequence[WeightedSet], held_out: Sequence[Example]) -> tuple[str, ...]:
    names = {span.name for example in held_out for span in example.spans or ()}
    for entry in training:
        if entry.grammar:
            names |= entry.grammar.slots
        names.update(span.name for example in entry.examples for span in example.spans or ())
    return ("O", *(f"{prefix}-{name}" for name in sorted(names) for prefix in "BI")) if names else ()


def _texts(training: Sequence[WeightedSet]) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    generator = random.Random(0)
    for entry in training:
        if entry.grammar:
            own = texts.setdefault(entry.grammar.lang, [])
            own.extend(sorted(entry.grammar.words))
            for label in entry.grammar.labels:
                own.extend(e.text for e in entry.grammar.sample(label, _SAMPLES_FOR_TEXTS, generator))
        for example in entry.examples:
            texts.setdefault(example.lang, []).append(example.text)
    return texts
