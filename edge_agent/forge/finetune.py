"""Fine-tuning on labels: hard ones, or the soft ones of a bigger model, and slot tags."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.forge.batches import Batch
from edge_agent.forge.encoder import JointEncoder
from edge_agent.forge.features import IGNORED


class FineTuning:
    """Cross-entropy of the labels plus that of the slot tags.

    Args:
        model: with its initial weights; trained in place.
        slot_loss_weight: of the slot tags beside the labels.
        label_smoothing: share of a hard label's probability that the others get (Szegedy et al. 2016).
    """

    def __init__(
        self, model: JointEncoder, *, slot_loss_weight: float = 1.0, label_smoothing: float = 0.0
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
        label_logits, slot_logits = self.model(batch.token_ids, batch.mask)
        loss = label_loss(label_logits, batch, smoothing=self._label_smoothing)
        if slot_logits is not None:
            loss = loss + self._slot_loss_weight * slot_loss(slot_logits, batch)
        return loss


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
        losses = functional.cross_entropy(logits, batch.probabilities, reduction="none")
    else:
        losses = functional.cross_entropy(
            logits, batch.labels, ignore_index=IGNORED, label_smoothing=smoothing, reduction="none"
        )
    weights = batch.weights * known
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


def slot_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy with the tags over all tokens that have one; a scalar.

    Args:
        logits: [batch, length, tags].
        batch: its tags.
    """
    if not bool((batch.tags != IGNORED).any()):
        return logits.sum() * 0.0
    return functional.cross_entropy(
        logits.float().flatten(0, 1), batch.tags.flatten().to(torch.long), ignore_index=IGNORED
    )
