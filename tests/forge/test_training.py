"""The training loop: it learns, and a run that was stopped ends as one that was not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from edge_agent.errors import DataError
from edge_agent.forge.data.features import IGNORED
from edge_agent.forge.encoders.bert import JointEncoder
from edge_agent.forge.recipe import Schedule
from edge_agent.forge.training.batches import Batch, collate
from edge_agent.forge.training.finetune import FineTuning, label_loss, slot_loss
from edge_agent.forge.training.loop import Progress, steps_of, train
from tests.forge.small_encoder import TAGS, random_batches, sentence, small_encoder

SCHEDULE = Schedule(steps=24, learning_rate=2e-3, head_learning_rate=5e-3, average_decay=0.8)


def stream(first: int) -> Iterator[Batch]:
    return islice(random_batches(), first, SCHEDULE.steps)


def run(model: JointEncoder, checkpoint: Path, stop_at: int | None = None) -> list[Progress]:
    seen: list[Progress] = []

    def report(progress: Progress) -> None:
        seen.append(progress)
        if progress.step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    objective = FineTuning(model)
    train(objective, stream, SCHEDULE, name="m", steps=SCHEDULE.steps, checkpoint=checkpoint, report=report)
    return seen


def test_the_loss_falls_and_the_model_ends_ready_to_answer(tmp_path: Path) -> None:
    model = small_encoder()
    batch = next(random_batches())
    before = FineTuning(model).loss(batch, 0).item()
    seen = run(model, tmp_path / "c.pt")
    assert FineTuning(model).loss(batch, 0).item() < before
    assert (seen[-1].step, seen[-1].seconds_left) == (24, 0)
    assert not model.training
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_run_resumes_to_the_result_of_an_unbroken_one(tmp_path: Path) -> None:
    torch.manual_seed(7)
    whole = small_encoder()
    torch.manual_seed(7)
    run(whole, tmp_path / "whole.pt")
    torch.manual_seed(7)
    broken = small_encoder()
    torch.manual_seed(7)
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path / "broken.pt", stop_at=10)
    resumed = small_encoder(5)  # another start: all that counts is in the checkpoint
    steps = run(resumed, tmp_path / "broken.pt")
    assert steps[0].step == 12  # the signal came after step 10, and step 11 was finished first
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_handlers_of_signals_are_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(small_encoder(), tmp_path / "c.pt")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_soft_labels_teach_in_place_of_hard_ones() -> None:
    batch = next(random_batches())
    logits = torch.zeros(8, 4)
    logits[:, 2] = 5.0
    soft = torch.zeros(8, 4)
    soft[:, 2] = 1.0
    agreeing = replace(batch, probabilities=soft)
    assert float(label_loss(logits, agreeing)) < 0.05 < float(label_loss(logits, batch))


def test_the_weight_of_a_sentence_is_its_share_of_the_loss() -> None:
    batch = next(random_batches())
    logits = torch.randn(8, 4)
    weights = torch.zeros(8)
    weights[3] = 2.0
    one = replace(batch, weights=weights)
    expected = torch.nn.functional.cross_entropy(logits[3:4], batch.labels[3:4])
    torch.testing.assert_close(label_loss(logits, one), expected)


def test_a_translation_teaches_by_what_the_model_says_of_the_original() -> None:
    """Without a label; it counts for nothing where both mean the same already."""
    english, spanish = sentence([1, 2]), sentence([7, 8, 9])
    other = collate([replace(spanish, teacher_ids=english.token_ids)])
    same = collate([replace(english, teacher_ids=english.token_ids)])
    assert FineTuning(small_encoder()).loss(other, 0).item() > 1e-3
    assert FineTuning(small_encoder()).loss(same, 0).item() < 1e-6


def test_steps_are_named_or_counted_from_epochs() -> None:
    assert steps_of(Schedule(steps=7, epochs=2), 100) == 7
    assert steps_of(Schedule(epochs=2, batch_size=32), 100) == 7
    with pytest.raises(DataError, match="steps, or epochs"):
        steps_of(Schedule(), 100)
    with pytest.raises(DataError, match="steps, or epochs"):
        steps_of(Schedule(epochs=2), 0)


def test_hard_labels_among_soft_ones_are_smoothed_as_they_are_alone() -> None:
    batch = next(random_batches())
    logits = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    alone = label_loss(logits, batch, smoothing=0.1)
    one_hot = torch.nn.functional.one_hot(batch.labels, 4).float()
    torch.testing.assert_close(
        label_loss(logits, replace(batch, probabilities=one_hot), smoothing=0.1), alone
    )
    soft = torch.full((8, 4), 0.25)
    beside = replace(batch, probabilities=soft)
    torch.testing.assert_close(label_loss(logits, beside, smoothing=0.1), label_loss(logits, beside))


def test_a_training_that_diverges_stops_before_its_weights_are_lost(tmp_path: Path) -> None:
    model = small_encoder()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def infinitely_heavy(first: int) -> Iterator[Batch]:
        for batch in stream(first):
            yield replace(batch, weights=torch.full((8,), torch.inf))

    with pytest.raises(DataError, match="at step 1 its loss is no number") as caught:
        train(
            FineTuning(model),
            infinitely_heavy,
            SCHEDULE,
            name="m",
            steps=SCHEDULE.steps,
            checkpoint=tmp_path / "c.pt",
            report=lambda _: None,
        )
    assert "learning_rate" in str(caught.value.hint)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert list(tmp_path.iterdir()) == []


def test_what_a_translation_is_held_to_comes_without_dropout() -> None:
    """After it the model is in training again; the target took no random numbers."""
    english, spanish = sentence([1, 2]), sentence([7, 8, 9])
    batch = collate([replace(spanish, teacher_ids=english.token_ids)])
    model = small_encoder()
    meant = model.trace(batch.teacher_ids, batch.teacher_mask)
    model.train()
    torch.manual_seed(3)
    read = model.trace(batch.token_ids, batch.mask)
    state = torch.get_rng_state()
    expected = torch.nn.functional.mse_loss(read.pooled, meant.pooled) + torch.nn.functional.kl_div(
        read.label_logits.log_softmax(dim=-1),
        meant.label_logits.log_softmax(dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    torch.manual_seed(3)
    torch.testing.assert_close(FineTuning(model).loss(batch, 0), expected)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_sentences_of_weight_one_have_the_very_slot_loss_of_a_plain_mean() -> None:
    batch = next(random_batches())
    logits = torch.randn(8, batch.tags.shape[1], TAGS, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.tags.flatten(), ignore_index=IGNORED
    )
    assert torch.equal(slot_loss(logits, batch), plain)


def test_the_weight_of_a_sentence_counts_for_its_slots_too() -> None:
    batch = next(random_batches())
    logits = torch.randn(8, batch.tags.shape[1], TAGS, generator=torch.Generator().manual_seed(0))
    alone = torch.zeros(8)
    alone[3] = 2.0
    expected = torch.nn.functional.cross_entropy(logits[3], batch.tags[3], ignore_index=IGNORED)
    torch.testing.assert_close(slot_loss(logits, replace(batch, weights=alone)), expected)
    twice = torch.ones(8)
    twice[3] = 3.0
    rows = torch.tensor([0, 1, 2, 3, 3, 3, 4, 5, 6, 7])
    repeated = torch.nn.functional.cross_entropy(
        logits[rows].flatten(0, 1), batch.tags[rows].flatten(), ignore_index=IGNORED
    )
    torch.testing.assert_close(slot_loss(logits, replace(batch, weights=twice)), repeated)
    none = slot_loss(logits, replace(batch, weights=torch.zeros(8)))
    assert float(none) == 0.0
