"""Knowledge distillation: a student learns what its teacher says and how it gets there.

* the teacher's **label probabilities**, softened by a temperature (Hinton et al. 2015), and its slot tags;
* its **hidden states and attention scores**, layer by layer, through TinyBERT's uniform mapping; a narrower
  student reads them through a learned projection (Jiao et al. 2020);
* the **true labels** where there are any.

Sentences may be varied by word replacement first: teacher and student then read the same new words, and only
the teacher says what they mean. A sentence with a translation is read by the teacher in its own language:
label probabilities and sentence vectors must agree (Reimers and Gurevych 2020), token by token nothing is
compared.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.forge.encoders.family import Encoder, Trace
from edge_agent.forge.encoders.initialise import Indices, layer_map
from edge_agent.forge.recipe import DistillationSection
from edge_agent.forge.training.batches import Batch
from edge_agent.forge.training.finetune import label_loss, slot_loss
from edge_agent.forge.training.word_replacement import WordReplacer


class Distillation:
    """The objective of a student.

    Args:
        teacher: judged as it stands; never trained.
        student: with its initial weights; trained in place.
        section: weights of the parts.
        replacer: varies sentences; None leaves them as they are.
        kept: the teacher's coordinates that the student's are, where it is narrower.
        seed: of the word replacement.
    """

    def __init__(
        self,
        teacher: Encoder,
        student: Encoder,
        section: DistillationSection,
        *,
        replacer: WordReplacer | None = None,
        kept: Indices | None = None,
        seed: int = 0,
    ) -> None:
        self.student = student
        self._teacher = teacher.eval()
        self._section = section
        self._replacer = replacer
        self._seed = seed
        self._map = layer_map(_depth(student), _depth(teacher))
        parts: dict[str, nn.Module] = {"student": student}
        wide, narrow = _width(teacher), _width(student)
        self._projection = nn.Linear(narrow, wide, bias=False) if narrow != wide else None
        if self._projection is not None:
            parts["projection"] = self._projection
            if kept is not None:
                with torch.no_grad():
                    self._projection.weight.copy_(torch.eye(wide)[:, torch.from_numpy(kept)])
        self._parts = nn.ModuleDict(parts)

    @property
    def module(self) -> nn.Module:
        """Student and projection."""
        return self._parts

    def loss(self, batch: Batch, step: int) -> Tensor:
        """The weighted sum of the parts, a scalar."""
        section = self._section
        if self._replacer is not None and section.replace_share > 0:
            batch = self._replacer.vary(
                batch,
                np.random.default_rng([self._seed, step]),
                sentences=section.replace_share,
                words=section.replace_words,
            )
        with torch.no_grad():
            # Not registered with the module in training, so that no checkpoint holds it: it follows by hand.
            teacher = self._teacher.to(batch.token_ids.device).trace(batch.teacher_ids, batch.teacher_mask)
        student = self.student.trace(batch.token_ids, batch.mask)
        loss = section.hidden_weight * self._inner_loss(teacher, student, batch)
        if section.attention_weight > 0:
            loss = loss + section.attention_weight * self._attention_loss(teacher, student, batch)
        if student.label_logits.shape[-1]:  # a bare encoder has no labels
            loss = loss + section.soft_weight * _soft_loss(
                teacher.label_logits, student.label_logits, section.temperature
            )
            loss = loss + section.hard_weight * label_loss(student.label_logits, batch)
        if student.slot_logits is not None and teacher.slot_logits is not None:
            tokens = batch.mask & batch.aligned[:, None]
            if bool(tokens.any()):
                soft = _soft_loss(
                    teacher.slot_logits[tokens], student.slot_logits[tokens], section.temperature
                )
                loss = loss + section.slot_loss_weight * section.soft_weight * soft
            hard = slot_loss(student.slot_logits, batch)
            loss = loss + section.slot_loss_weight * section.hard_weight * hard
        return loss

    def _inner_loss(self, teacher: Trace, student: Trace, batch: Batch) -> Tensor:
        """Sentence vectors of all sentences, and the states of those that both read word by word."""
        loss = functional.mse_loss(self._widened(student.pooled), teacher.pooled.float())
        tokens = batch.mask & batch.aligned[:, None]
        if not bool(tokens.any()):
            return loss
        pairs = [(0, 0), *((number + 1, theirs) for number, theirs in enumerate(self._map))]
        states = sum(
            functional.mse_loss(
                self._widened(student.states[ours][tokens]), teacher.states[theirs][tokens].float()
            )
            for ours, theirs in pairs
        )
        return loss + states / len(pairs)

    def _attention_loss(self, teacher: Trace, student: Trace, batch: Batch) -> Tensor:
        """Scores between tokens that exist, in sentences that both read word by word."""
        pairs = batch.mask[:, :, None] & batch.mask[:, None, :] & batch.aligned[:, None, None]
        if not bool(pairs.any()):
            return student.pooled.sum() * 0.0
        total = torch.zeros((), device=pairs.device)
        for ours, theirs in enumerate(self._map):
            with torch.no_grad():
                meant = self._teacher.scores(theirs - 1, teacher.states).float()
            gap = self.student.scores(ours, student.states).float() - meant
            total = total + (gap.square() * pairs[:, None]).sum() / (pairs.sum() * gap.shape[1])
        return total / len(self._map)

    def _widened(self, states: Tensor) -> Tensor:
        """A student's states in the teacher's width."""
        return (states if self._projection is None else self._projection(states)).float()


def _width(encoder: Encoder) -> int:
    """Of the states that the heads read."""
    return encoder.label_head.in_features


def _depth(encoder: Encoder) -> int:
    layers = encoder.layers
    assert isinstance(layers, nn.ModuleList)
    return len(layers)


def _soft_loss(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence at a temperature, times its square (Hinton et al. 2015, §2); a scalar.

    Args:
        teacher: logits, [rows, classes].
        student: logits, [rows, classes].
        temperature: divides both.
    """
    divergence = functional.kl_div(
        functional.log_softmax(student.float() / temperature, dim=-1),
        functional.log_softmax(teacher.float() / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2
