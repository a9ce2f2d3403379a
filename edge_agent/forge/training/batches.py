"""The stream of training batches: sentences of like length together, the same from wherever it is resumed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from edge_agent.forge.data.features import IGNORED, Features, Featurizer
from edge_agent.forge.data.mixture import Mixture

_SORTED_BATCHES = 16


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step reads; padding is id 0, and IGNORED among labels and tags.

    Attributes:
        token_ids: int64 [batch, length].
        mask: bool [batch, length], True where a token is.
        labels: int64 [batch], IGNORED where a sentence has none.
        tags: int64 [batch, length], IGNORED where a token teaches none.
        weights: float32 [batch], of each sentence's loss.
        probabilities: float32 [batch, labels], soft labels, one-hot where a sentence has none; None where
            no sentence of the batch has any.
        teacher_ids: as ``token_ids``, in the language that the teacher reads.
        teacher_mask: of ``teacher_ids``.
        aligned: bool [batch], True where the teacher reads the very tokens of the student.
    """

    token_ids: Tensor
    mask: Tensor
    labels: Tensor
    tags: Tensor
    weights: Tensor
    probabilities: Tensor | None
    teacher_ids: Tensor
    teacher_mask: Tensor
    aligned: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        moved = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)


def batches(
    mixture: Mixture, featurizer: Featurizer, *, size: int, steps: int, seed: int, first: int = 0
) -> Iterator[Batch]:
    """The batches of the steps ``first`` to ``steps``; those before are drawn and thrown away.

    Args:
        mixture: fresh, so that what it draws depends on its seed alone.
        featurizer: sentences → features.
        size: sentences a batch.
        steps: of the whole training.
        seed: of the order of the batches.
        first: steps that are done.
    """
    generator = random.Random(seed)
    step = 0
    while step < steps:
        drawn = mixture.draw(size * _SORTED_BATCHES)
        needed = step + _SORTED_BATCHES > first
        features = [featurizer(example) for example in drawn] if needed else []
        features.sort(key=lambda f: max(len(f.token_ids), len(f.teacher_ids or ())))
        order = list(range(_SORTED_BATCHES))
        generator.shuffle(order)
        for number in order[: steps - step]:
            if step >= first:
                yield collate(features[number * size : (number + 1) * size])
            step += 1


def collate(group: Sequence[Features]) -> Batch:
    """Features → one padded batch; both sides of a translation are padded to one length."""
    length = max(max(len(f.token_ids), len(f.teacher_ids or ())) for f in group)
    ids, mask = _padded([f.token_ids for f in group], length)
    teacher_ids, teacher_mask = _padded([f.teacher_ids or f.token_ids for f in group], length)
    tags = torch.full((len(group), length), IGNORED)
    for row, features in enumerate(group):
        tags[row, : len(features.tags)] = torch.tensor(features.tags)
    return Batch(
        token_ids=ids,
        mask=mask,
        labels=torch.tensor([f.label for f in group]),
        tags=tags,
        weights=torch.tensor([f.weight for f in group], dtype=torch.float32),
        probabilities=_probabilities(group),
        teacher_ids=teacher_ids,
        teacher_mask=teacher_mask,
        aligned=torch.tensor([f.teacher_ids is None for f in group]),
    )


def _padded(rows: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = True
    return ids, mask


def _probabilities(group: Sequence[Features]) -> Tensor | None:
    width = max((len(f.probabilities) for f in group if f.probabilities is not None), default=0)
    if width == 0:
        return None
    rows = torch.zeros(len(group), width)
    for number, features in enumerate(group):
        if features.probabilities is not None:
            rows[number] = torch.tensor(features.probabilities)
        elif features.label != IGNORED:
            rows[number, features.label] = 1.0
    return rows
