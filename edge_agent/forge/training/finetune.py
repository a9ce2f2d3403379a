"""Fine-tuning on labels: hard ones, or the soft ones of a bigger model, and slot tags.

A sentence that comes with a translation, and mostly without a label, teaches a language: what the model says
of it must be what it says of the translation, which it reads better (Reimers and Gurevych 2020, with the
model itself as the teacher).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.forge.data.features import IGNORED
from edge_agent.forge.encoders.family import Encoder, Trace
from edge_agent.forge.training.batches import Batch


class FineTuning:
    """Cross-entropy of the labels plus that of the slot tags, plus the distance from translations.

    Args:
        model: with its initial weights; trained in place.
        slot_loss_weight: of the slot tags beside the labels.
        label_smoothing: share of a hard label's probability that the others get (Szegedy et al. 2016).
    """

    def __init__(
        self, model: Encoder, *, slot_loss_weight: float = 1.0, label_smoothing: float = 0.0
    ) -> None:
        self.model = model
        self._slot_loss_weight = slot_loss_weight
        self._label_smoothing = label_smoothing

    @property
    def module(self) -> nn.Module:
        """The model."""
        return self.model

    def loss(self, batch: Batch, step: int) -> Tensor:
        """Mean over the batch's weighted sentences."""
        del step
        if bool(batch.aligned.all()):
            label_logits, slot_logits = self.model(batch.token_ids, batch.mask)
            translations = label_logits.new_zeros(())
        else:
            found = self.model.trace(batch.token_ids, batch.mask)
            label_logits, slot_logits = found.label_logits, found.slot_logits
            translations = self._translation_loss(found, batch)
        loss: Tensor = label_loss(label_logits, batch, smoothing=self._label_smoothing) + translations
        if slot_logits is not None:
            loss = loss + self._slot_loss_weight * slot_loss(slot_logits, batch)
        return loss

    def _translation_loss(self, found: Trace, batch: Batch) -> Tensor:
        """Between a sentence and its translation: sentence vectors and label probabilities; a scalar."""
        rows = ~batch.aligned
        meant = self._meant(batch.teacher_ids[rows], batch.teacher_mask[rows])
        vectors = functional.mse_loss(found.pooled[rows].float(), meant.pooled.float())
        labels = functional.kl_div(
            functional.log_softmax(found.label_logits[rows].float(), dim=-1),
            functional.log_softmax(meant.label_logits.float(), dim=-1),
            reduction="batchmean",
            log_target=True,
        )
        return (vectors + labels) * rows.float().mean()

    @torch.no_grad()
    def _meant(self, token_ids: Tensor, mask: Tensor) -> Trace:
        """What the model itself says, without dropout: a target is not made noisy on purpose."""
        was_training = self.model.training
        self.model.eval()
        try:
            return self.model.trace(token_ids, mask)
        finally:
            self.model.train(was_training)


def label_loss(logits: Tensor, batch: Batch, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the hard labels, or with the soft ones where a sentence has them; a scalar.

    Args:
        logits: [batch, labels].
        batch: a sentence without a label counts for nothing.
        smoothing: of hard labels.
    """
    known = batch.labels != IGNORED
    if not bool(known.any()):
        return logits.sum() * 0.0
    logits = logits.float()
    if batch.probabilities is not None:
        losses = functional.cross_entropy(logits, _smoothed(batch, smoothing), reduction="none")
    else:
        losses = functional.cross_entropy(
            logits, batch.labels, ignore_index=IGNORED, label_smoothing=smoothing, reduction="none"
        )
    weights = batch.weights * known
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


def _smoothed(batch: Batch, smoothing: float) -> Tensor:
    """Soft labels as they are, and hard ones smoothed, [batch, labels]."""
    assert batch.probabilities is not None
    if smoothing == 0:
        return batch.probabilities
    hard = (batch.probabilities.amax(dim=1, keepdim=True) == 1.0) & (batch.labels != IGNORED)[:, None]
    spread = (1 - smoothing) * batch.probabilities + smoothing / batch.probabilities.shape[1]
    return torch.where(hard, spread, batch.probabilities)


def slot_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy with the tags over all tokens that have one, each weighted as its sentence; a scalar.

    Args:
        logits: [batch, length, tags].
        batch: its tags and weights.
    """
    tagged = batch.tags != IGNORED
    if not bool(tagged.any()):
        return logits.sum() * 0.0
    flat, tags = logits.float().flatten(0, 1), batch.tags.flatten().to(torch.long)
    if bool((batch.weights == 1).all()):
        return functional.cross_entropy(flat, tags, ignore_index=IGNORED)
    losses = functional.cross_entropy(flat, tags, ignore_index=IGNORED, reduction="none")
    weights = (batch.weights[:, None] * tagged).flatten()
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)
