"""A teacher of few rows starts from a linear probe, and never ends worse than it.

Which of the two became the teacher, the probe on the untouched encoder or the fine-tuned model, is written
beside its weights, and :func:`in_words` says it for the report.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from edge_agent.files import write_atomic
from edge_agent.forge.data.examples import Example
from edge_agent.forge.data.labelled import labelled_sentences
from edge_agent.forge.encoders.family import Encoder
from edge_agent.forge.judging.evaluate import labelled
from edge_agent.forge.recipe import Recipe
from edge_agent.forge.training.probe import (
    Numbers,
    Probe,
    fit_probe,
    sentence_vectors,
    share_right,
    start_head,
)
from edge_agent.forge.workshop import Workshop

RECORD = "head_start.json"
_MOST_SENTENCES = 20_000


class HeadStart:
    """Before and after the training of a teacher.

    Args:
        shop: what the stages work with.
        encoder: pretrained, with a fresh label head; changed in place.
    """

    def __init__(self, shop: Workshop, encoder: Encoder) -> None:
        self._shop, self._encoder = shop, encoder
        self._start: dict[str, torch.Tensor] | None = None
        self._probe_right: float | None = None

    def begin(self) -> None:
        """Fits the probe and puts it in the place of the label head; with one label, nothing is done."""
        self._shop.stage("teacher: fitting a linear probe for its label head to start from")
        probe = self._fit()
        if probe is None:
            return
        start_head(self._encoder, probe)
        self._start = {name: tensor.clone() for name, tensor in self._encoder.state_dict().items()}
        self._probe_right = self._share_right_of_dev()

    def settle(self) -> None:
        """Keeps what is better on dev, the fine-tuned model where neither is; and writes down which it was.

        A model with slots is kept as trained: the probe knows none.
        """
        if self._start is None:
            return
        tuned = self._share_right_of_dev()
        probe_wins = (
            self._encoder.slot_head is None
            and tuned is not None
            and self._probe_right is not None
            and self._probe_right > tuned
        )
        if probe_wins:
            self._encoder.load_state_dict(self._start)
        record = {
            "kept": "probe" if probe_wins else "fine-tuned",
            "probe_right_on_dev": self._probe_right,
            "fine_tuned_right_on_dev": tuned,
        }
        path = self._shop.out / RECORD
        write_atomic(path, (json.dumps(record, indent=1) + "\n").encode())
        self._shop.stage(f"teacher: {in_words(self._shop.recipe, self._shop.out)}")

    def _fit(self) -> Probe | None:
        recipe, corpus = self._shop.recipe, self._shop.corpus
        seed = recipe.training.seed
        examples, weights = labelled_sentences(corpus.training, most=_MOST_SENTENCES, seed=seed)
        if not examples:
            return None
        features = [self._shop.featurizer(example) for example in examples]
        targets = np.asarray([entry.label for entry in features], np.int64)
        weights = weights * _balance(examples, recipe.training.balance)
        vectors = sentence_vectors(self._encoder, features)
        return fit_probe(vectors, targets, weights / weights.mean(), labels=len(corpus.labels), seed=seed)

    def _share_right_of_dev(self) -> float | None:
        dev = labelled(self._shop.corpus.dev)
        return (
            share_right(self._encoder, [self._shop.featurizer(example) for example in dev]) if dev else None
        )


def in_words(recipe: Recipe, out: Path) -> str | None:
    """Which of the two became the teacher of a finished run; None where its recipe asks for no probe."""
    path = out / RECORD
    if not recipe.training.head_from_probe or not path.exists():
        return None
    record = json.loads(path.read_bytes())
    probe, tuned = record["probe_right_on_dev"], record["fine_tuned_right_on_dev"]
    kept = "fine-tuned from a linear probe"
    if record["kept"] == "probe":
        kept = "the linear probe alone, on the untouched encoder: fine-tuning did not better it"
    if probe is None or tuned is None:
        return kept
    return f"{kept} (right on dev: {tuned:.1%} fine-tuned, {probe:.1%} by the probe alone)"


def _balance(examples: Sequence[Example], power: float) -> Numbers:
    """How often fine-tuning draws a label in relation to its count, see ``training.balance``."""
    counts = Counter(example.label for example in examples)
    return np.asarray([counts[example.label] ** (power - 1) for example in examples], np.float64)
