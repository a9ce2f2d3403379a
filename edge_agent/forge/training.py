"""Fine-tuning a joint encoder on a stream of sentences.

AdamW with a linear warm-up and decay (Devlin et al. 2019), an exponential moving average of the weights
as the result (Polyak averaging), bfloat16 where the processor multiplies it. The run can be stopped and
resumed: a checkpoint holds weights, average, optimiser and the step; the data stream is drawn again up to
that step, so a resumed run sees the sentences that an unbroken one would.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from edge_agent.forge.data.mixture import Mixture
from edge_agent.forge.encoder import JointEncoder
from edge_agent.forge.features import IGNORED, Features, Featurizer
from edge_agent.forge.recipe import TrainingSection

_CHECKPOINT_EVERY_SECONDS = 300
_SORTED_BATCHES = 16
_GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training run stands.

    Attributes:
        step: steps done.
        steps: steps in all.
        loss: running mean.
        seconds_left: at the pace since this start.
    """

    step: int
    steps: int
    loss: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class _Batch:
    token_ids: Tensor
    mask: Tensor
    labels: Tensor
    tags: Tensor


def pick_device() -> torch.device:
    """A GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    model: JointEncoder,
    mixture: Mixture,
    featurizer: Featurizer,
    settings: TrainingSection,
    *,
    checkpoint: Path,
    report: Callable[[Progress], None],
) -> JointEncoder:
    """Trains in place and returns the model with its averaged weights, on the processor.

    Args:
        model: with its initial weights.
        mixture: where sentences come from.
        featurizer: sentences → features.
        settings: the recipe's.
        checkpoint: written now and then; resumed from where it exists, and removed at the end.
        report: called after every step.
    """
    device = pick_device()
    model.to(device).train()
    run = _Run(model, settings)
    first = run.resume(checkpoint, device)
    started, saved, running = time.monotonic(), time.monotonic(), 0.0
    for step, batch in enumerate(_batches(mixture, featurizer, settings, first), start=first):
        loss = run.step(step, _to(batch, device), device)
        running = loss if step == first else 0.98 * running + 0.02 * loss
        pace = (time.monotonic() - started) / (step - first + 1)
        report(Progress(step + 1, settings.steps, running, pace * (settings.steps - step - 1)))
        if time.monotonic() - saved > _CHECKPOINT_EVERY_SECONDS:
            run.save(checkpoint, step + 1)
            saved = time.monotonic()
    model.load_state_dict(run.average)
    checkpoint.unlink(missing_ok=True)
    return model.cpu().eval()


class _Run:
    """The state that a checkpoint holds."""

    def __init__(self, model: JointEncoder, settings: TrainingSection) -> None:
        self._model, self._settings = model, settings
        heads = [p for name, p in model.named_parameters() if "_head" in name]
        body = [p for name, p in model.named_parameters() if "_head" not in name]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": body, "lr": settings.learning_rate},
                {"params": heads, "lr": settings.head_learning_rate},
            ],
            weight_decay=settings.weight_decay,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, self._rate)
        self.average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def resume(self, checkpoint: Path, device: torch.device) -> int:
        if not checkpoint.exists():
            return 0
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        self._model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self.average = state["average"]
        return int(state["step"])

    def save(self, checkpoint: Path, step: int) -> None:
        partial = checkpoint.with_suffix(".partial")
        content = {
            "model": self._model.state_dict(),
            "average": self.average,
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "step": step,
        }
        torch.save(content, partial)
        partial.replace(checkpoint)

    def step(self, step: int, batch: _Batch, device: torch.device) -> float:
        with _autocast(device):
            label_logits, slot_logits = self._model(batch.token_ids, batch.mask)
        loss = functional.cross_entropy(label_logits.float(), batch.labels)
        if slot_logits is not None and bool((batch.tags != IGNORED).any()):
            slot_loss = functional.cross_entropy(
                slot_logits.float().flatten(0, 1), batch.tags.flatten(), ignore_index=IGNORED
            )
            loss = loss + self._settings.slot_loss_weight * slot_loss
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), _GRADIENT_NORM)
        self._optimiser.step()
        self._schedule.step()
        self._update_average(step)
        return float(loss.detach())

    def _rate(self, step: int) -> float:
        warmup = max(1, round(self._settings.warmup_share * self._settings.steps))
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (self._settings.steps - step) / max(1, self._settings.steps - warmup))

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        decay = min(self._settings.average_decay, (step + 1) / (step + 10))
        names = list(self.average)
        current = self._model.state_dict()
        torch._foreach_lerp_([self.average[n] for n in names], [current[n] for n in names], 1 - decay)


def _batches(
    mixture: Mixture, featurizer: Featurizer, settings: TrainingSection, first: int
) -> Iterator[_Batch]:
    """Batches of sentences of like length, from a stream that does not depend on where it is resumed."""
    generator = random.Random(settings.seed)
    step = 0
    while step < settings.steps:
        features = sorted(
            map(featurizer, mixture.draw(settings.batch_size * _SORTED_BATCHES)),
            key=lambda f: len(f.token_ids),
        )
        groups = [features[i::1][: settings.batch_size] for i in range(0, len(features), settings.batch_size)]
        generator.shuffle(groups)
        for group in groups[: settings.steps - step]:
            if step >= first:
                yield _collate(group)
            step += 1


def _collate(group: list[Features]) -> _Batch:
    length = max(len(features.token_ids) for features in group)
    token_ids = torch.zeros(len(group), length, dtype=torch.long)
    mask = torch.zeros(len(group), length, dtype=torch.bool)
    tags = torch.full((len(group), length), IGNORED)
    for row, features in enumerate(group):
        size = len(features.token_ids)
        token_ids[row, :size] = torch.tensor(features.token_ids)
        mask[row, :size] = True
        tags[row, :size] = torch.tensor(features.tags)
    return _Batch(token_ids, mask, torch.tensor([features.label for features in group]), tags)


def _to(batch: _Batch, device: torch.device) -> _Batch:
    return _Batch(
        batch.token_ids.to(device), batch.mask.to(device), batch.labels.to(device), batch.tags.to(device)
    )


def _autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where matrix units multiply it; elsewhere it would be slower than float32."""
    if device.type == "cuda" or _has_bfloat16():
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def _has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return " avx512_bf16" in flags or " amx_bf16" in flags
