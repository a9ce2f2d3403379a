"""A linear probe starts the label head, and a teacher never ends worse than it."""

from __future__ import annotations

import json
import os
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_agent.forge.data.corpus import Corpus
from edge_agent.forge.data.examples import Example
from edge_agent.forge.data.features import Featurizer
from edge_agent.forge.data.mixture import WeightedSet
from edge_agent.forge.data.vocabulary import Vocabulary
from edge_agent.forge.encoders.bert import JointEncoder
from edge_agent.forge.head_start import RECORD, in_words
from edge_agent.forge.recipe import Recipe
from edge_agent.forge.sections import TrainingSection
from edge_agent.forge.stages import run_stages
from edge_agent.forge.training.loop import Progress
from edge_agent.forge.training.probe import Probe, fit_probe, sentence_vectors, share_right, start_head
from edge_agent.forge.training.saving import load_tensors
from edge_agent.forge.workshop import Workshop
from edge_agent.inference.tokenizer import WordPiece
from tests.forge.judged import recipe as toy
from tests.forge.small_encoder import TOKENS, small_encoder

LABELS = ("a", "b", "c", "d")


def rows(each: int, seed: int) -> tuple[Example, ...]:
    """Sentences of six words, four of them their label's own: a model need not know them, only see them."""
    generator = random.Random(seed)
    return tuple(
        Example(" ".join(TOKENS[5 + word] for word in words), label, "en", None, "toy")
        for number, label in enumerate(LABELS)
        for words in (
            [
                *generator.choices(range(20 * number, 20 * number + 20), k=4),
                *generator.choices(range(80), k=2),
            ]
            for _ in range(each)
        )
    )


def featurizer() -> Featurizer:
    return Featurizer(WordPiece(TOKENS), LABELS, (), 24)


def probe_of(encoder: JointEncoder, examples: tuple[Example, ...], **changes: Any) -> Probe | None:
    features = [featurizer()(example) for example in examples]
    targets = np.asarray([entry.label for entry in features])
    arguments = {"weights": np.ones(len(targets)), "labels": len(LABELS), "seed": 1, **changes}
    return fit_probe(sentence_vectors(encoder, features), targets, **arguments)


def test_a_started_head_answers_before_any_training_where_an_untrained_one_guesses() -> None:
    encoder = small_encoder(tags=0)
    dev = [featurizer()(example) for example in rows(25, seed=2)]
    untrained = share_right(encoder, dev)
    probe = probe_of(encoder, rows(10, seed=1))
    assert probe is not None
    start_head(encoder, probe)
    assert untrained < 0.4
    assert share_right(encoder, dev) > 0.7


def test_the_same_rows_give_the_very_same_probe_and_leave_the_encoder_as_it_was() -> None:
    encoder = small_encoder(tags=0).train()
    before, state = {n: t.clone() for n, t in encoder.state_dict().items()}, torch.get_rng_state()
    first, again = (probe_of(encoder, rows(8, seed=1)) for _ in range(2))
    assert first is not None
    assert again is not None
    assert np.array_equal(first.weight, again.weight)
    assert np.array_equal(first.bias, again.bias)
    assert encoder.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())


def test_two_labels_of_four_are_told_apart_and_the_others_are_never_answered() -> None:
    encoder = small_encoder(tags=0)
    probe = probe_of(encoder, rows(10, seed=1)[10:30])
    assert probe is not None
    start_head(encoder, probe)
    held = [featurizer()(example) for example in rows(25, seed=2)]
    assert share_right(encoder, held[25:75]) > 0.8
    assert share_right(encoder, [*held[:25], *held[75:]]) == 0.0


def test_one_label_has_no_probe() -> None:
    assert probe_of(small_encoder(tags=0), rows(10, seed=1)[:10]) is None


def test_a_row_of_more_weight_counts_for_more() -> None:
    """One text of two labels: what it means is what weighs more."""
    text = rows(1, seed=1)[0].text
    contradiction = tuple(Example(text, label, "en", None, "toy") for label in "ab" for _ in range(6))
    encoder, asked = small_encoder(tags=0), [featurizer()(contradiction[0])]
    answers = []
    for heavier in (slice(0, 6), slice(6, 12)):
        weights = np.full(12, 0.5)
        weights[heavier] = 1.5
        probe = probe_of(encoder, contradiction, weights=weights)
        assert probe is not None
        start_head(encoder, probe)
        answers.append(share_right(encoder, asked))
    assert answers == [1.0, 0.0]


def shop_of(out: Path, **training: Any) -> Workshop:
    own: Recipe = toy(
        "classify",
        student=[],
        low_bit=[],
        training={"steps": 6, "batch_size": 8, "head_from_probe": True, **training},
    )
    corpus = Corpus((WeightedSet(1.0, rows(10, seed=1)),), rows(25, seed=2), (), LABELS, (), {}, 0, 0)
    vocabulary = Vocabulary(TOKENS, np.zeros((0, 0), np.float32), 0)
    out.mkdir()
    return Workshop(own, corpus, vocabulary, out, "digest", lambda _: None, lambda _: None)


def test_a_training_that_spoils_the_encoder_leaves_the_probe_as_the_teacher(tmp_path: Path) -> None:
    """The words of the report say so, also where a later run takes the weights as they are."""
    shop = shop_of(tmp_path / "run", learning_rate=0.5, head_learning_rate=0.5)
    untouched = small_encoder(tags=0)
    run_stages(shop, small_encoder(tags=0))
    kept = load_tensors(shop.out / "teacher.pt")
    same = [name for name, tensor in untouched.state_dict().items() if torch.equal(kept[name], tensor)]
    assert set(kept) - set(same) == {"label_head.weight", "label_head.bias"}
    record = json.loads((shop.out / RECORD).read_bytes())
    assert record["kept"] == "probe"
    assert record["probe_right_on_dev"] > record["fine_tuned_right_on_dev"]
    words = in_words(shop.recipe, shop.out)
    assert words is not None
    assert "the linear probe alone" in words
    run_stages(shop, small_encoder(tags=0))
    assert in_words(shop.recipe, shop.out) == words


def test_a_training_that_does_no_harm_is_kept(tmp_path: Path) -> None:
    shop = shop_of(tmp_path / "run", learning_rate=1e-7, head_learning_rate=1e-7)
    run_stages(shop, small_encoder(tags=0))
    record = json.loads((shop.out / RECORD).read_bytes())
    assert record["kept"] == "fine-tuned"
    assert record["fine_tuned_right_on_dev"] == record["probe_right_on_dev"] > 0.7


def test_a_model_with_slots_starts_from_the_probe_and_is_kept_as_trained(tmp_path: Path) -> None:
    shop = shop_of(tmp_path / "run", learning_rate=0.5, head_learning_rate=0.5)
    run_stages(shop, small_encoder())
    assert json.loads((shop.out / RECORD).read_bytes())["kept"] == "fine-tuned"


def test_without_the_key_nothing_is_fitted_and_the_record_of_a_stage_is_as_it_was(tmp_path: Path) -> None:
    shop = shop_of(tmp_path / "run", head_from_probe=False)
    run_stages(shop, small_encoder(tags=0))
    assert not (shop.out / RECORD).exists()
    assert in_words(shop.recipe, shop.out) is None
    assert "head_from_probe" not in (shop.out / "teacher.json").read_text(encoding="utf-8")
    assert TrainingSection(steps=1).model_dump(exclude_defaults=True) == {"steps": 1}


def test_a_stopped_run_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    whole = shop_of(tmp_path / "whole")
    run_stages(whole, small_encoder(tags=0))

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    broken = shop_of(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        run_stages(replace(broken, progress=stop), small_encoder(tags=0))
    assert (broken.out / "teacher.checkpoint.pt").exists()
    run_stages(broken, small_encoder(tags=0))
    ours, theirs = (load_tensors(shop.out / "teacher.pt") for shop in (whole, broken))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (whole.out / RECORD).read_bytes() == (broken.out / RECORD).read_bytes()
