"""A student learns from its teacher: what is compared, what is not, and that it helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from edge_agent.forge.data.features import IGNORED
from edge_agent.forge.encoders.initialise import StudentSize, cut_student
from edge_agent.forge.encoders.rebuild import encoder_of
from edge_agent.forge.recipe import DistillationSection
from edge_agent.forge.training.batches import Batch, collate
from edge_agent.forge.training.distil import Distillation
from edge_agent.forge.training.word_replacement import WordReplacer
from tests.forge.small_encoder import TOKENS, random_batches, sentence, small_encoder

SOFT_ONLY = DistillationSection(steps=1, hard_weight=0.0, replace_share=0.0)


def test_a_copy_of_the_teacher_has_nothing_to_learn() -> None:
    teacher = small_encoder()
    objective = Distillation(teacher, encoder_of(teacher.export_weights()), SOFT_ONLY)
    assert objective.loss(next(random_batches()), 0).item() < 1e-6


def test_every_part_of_the_loss_notices_another_student() -> None:
    teacher, student = small_encoder(0), small_encoder(1)
    parts = {"soft_weight": 1.0, "hidden_weight": 1.0, "attention_weight": 1.0}
    batch = next(random_batches())
    for name in parts:
        only = {other: float(other == name) for other in parts}
        section = DistillationSection(steps=1, hard_weight=0.0, replace_share=0.0, **only)  # type: ignore[arg-type]
        assert Distillation(teacher, student, section).loss(batch, 0).item() > 1e-3, name


def test_a_narrow_shallow_student_comes_nearer_to_its_teacher() -> None:
    teacher = small_encoder()
    cut, kept = cut_student(teacher.export_weights(), StudentSize(2, 24, 48))
    student = encoder_of(cut)
    objective = Distillation(teacher, student, SOFT_ONLY, kept=kept)
    test = next(random_batches(99))
    optimiser = torch.optim.Adam(objective.module.parameters(), lr=3e-3)
    before = objective.loss(test, 0).item()
    for step, batch in zip(range(60), random_batches(1), strict=False):
        optimiser.zero_grad()
        objective.loss(batch, step).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert objective.loss(test, 0).item() < 0.6 * before


def test_the_teacher_is_not_trained_and_not_among_the_parameters() -> None:
    teacher, student = small_encoder(0), small_encoder(1)
    objective = Distillation(teacher, student, SOFT_ONLY)
    objective.loss(next(random_batches()), 0).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in teacher.parameters())
    trained = sum(p.numel() for p in objective.module.parameters())
    assert trained == sum(p.numel() for p in student.parameters())


def test_of_a_translation_only_meaning_is_compared() -> None:
    """The student reads other words than the teacher: its states may be what they like, token by token."""
    teacher = small_encoder()
    student = encoder_of(teacher.export_weights())
    spanish = replace(sentence([7, 8, 9]), teacher_ids=sentence([1, 2]).token_ids)
    batch = collate([spanish])
    assert not bool(batch.aligned.any())
    assert batch.token_ids.shape == batch.teacher_ids.shape
    inner = DistillationSection(
        steps=1, hard_weight=0.0, soft_weight=0.0, attention_weight=1.0, replace_share=0.0
    )
    with torch.no_grad():
        ours = student.trace(batch.token_ids, batch.mask).pooled
        theirs = teacher.trace(batch.teacher_ids, batch.teacher_mask).pooled
    expected = float((ours - theirs).square().mean())
    assert abs(Distillation(teacher, student, inner).loss(batch, 0).item() - expected) < 1e-5


def vary(batch: Batch, seed: int, *, sentences: float = 1.0, words: float = 1.0) -> Batch:
    rows = small_encoder().words.weight.detach().numpy()
    return WordReplacer(TOKENS, rows).vary(
        batch, np.random.default_rng(seed), sentences=sentences, words=words
    )


def test_replaced_words_are_whole_words_among_the_nearest_and_lose_their_labels() -> None:
    batch = collate([sentence([1, 2, 3], 1, [0, 1, 2]), sentence([4, 80, 6, 81, 7], 2, [0, 1, 2, 0, 1])])
    varied = vary(batch, 1)
    changed = varied.token_ids != batch.token_ids
    assert bool(changed[0, 1:4].all())
    assert not bool(changed[1, 1])  # its word goes on with ##ing, which is no word
    assert not bool(changed[1, 2])
    assert bool(changed[1, 5])
    assert not bool(changed[:, 0].any())  # [CLS]
    assert varied.labels.tolist() == [IGNORED, IGNORED]
    assert bool((varied.tags == IGNORED).all())
    assert torch.equal(varied.teacher_ids, varied.token_ids)
    assert batch.labels.tolist() == [1, 2]


def test_untouched_sentences_keep_their_labels_and_the_same_seed_varies_alike() -> None:
    batch = next(random_batches(size=32))
    varied, again = vary(batch, 5, sentences=0.5), vary(batch, 5, sentences=0.5)
    assert torch.equal(varied.token_ids, again.token_ids)
    same = (varied.token_ids == batch.token_ids).all(dim=1)
    assert 0 < int(same.sum()) < 32
    assert torch.equal(varied.labels[same], batch.labels[same])
    assert vary(batch, 5, sentences=0.0) is batch
