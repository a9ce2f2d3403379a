"""The training loop: any objective over a stream of batches, resumable, with averaged weights.

AdamW with a linear warm-up and decay (Devlin et al. 2019), an exponential moving average of the weights
as the result (Polyak averaging), bfloat16 where the processor multiplies it. What is minimised is an
:class:`Objective`: labels for the teacher, the teacher for a student.

A run can be stopped at any step and goes on to the very result of an unbroken one: a checkpoint holds
weights, average, optimiser, schedule, random state and the step, and the data stream is drawn again up to it.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from edge_agent.errors import DataError
from edge_agent.forge.recipe import Schedule
from edge_agent.forge.training.batches import Batch
from edge_agent.forge.training.saving import load_tensors, save_tensors

_CHECKPOINT_EVERY_SECONDS = 120
_GRADIENT_NORM = 1.0
_HEADS = ("label_head", "slot_head", "projection")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training run stands.

    Attributes:
        name: of the model in training.
        step: steps done.
        steps: steps in all.
        loss: running mean.
        seconds_left: at the pace since this start.
    """

    name: str
    step: int
    steps: int
    loss: float
    seconds_left: float


class Objective(Protocol):
    """A module that holds what is trained and says how wrong it is."""

    def loss(self, batch: Batch, step: int) -> Tensor:
        """The loss of one batch, a scalar; random choices depend on ``step`` and the torch generator."""
        ...

    @property
    def module(self) -> nn.Module:
        """The parameters in training."""
        ...


Stream = Callable[[int], Iterator[Batch]]
"""First step → the batches from there on."""


def steps_of(schedule: Schedule, rows: int) -> int:
    """How many steps a schedule takes over ``rows`` training sentences.

    Raises:
        DataError: the recipe names neither steps nor epochs.
    """
    steps = schedule.steps or ceil(schedule.epochs * rows / schedule.batch_size)
    if steps == 0:
        raise DataError("a training needs steps, or epochs over rows", hint="set one of them in the recipe")
    return steps


def pick_device() -> torch.device:
    """A GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    objective: Objective,
    stream: Stream,
    schedule: Schedule,
    *,
    name: str,
    steps: int,
    checkpoint: Path,
    report: Callable[[Progress], None],
) -> None:
    """Trains in place; the module ends on the processor, in evaluation mode, with its averaged weights.

    Args:
        objective: what to minimise.
        stream: the batches.
        schedule: rates and decays.
        name: of the model, for the report.
        steps: in all.
        checkpoint: written now and then and when interrupted; resumed from where it exists. The caller
            removes it, once the result is safe.
        report: called after every step.

    Raises:
        DataError: the checkpoint is damaged or another model's; or the loss is no number any more.
        KeyboardInterrupt: SIGINT or SIGTERM came; the step was finished and the checkpoint written.
    """
    device = pick_device()
    module = objective.module
    module.to(device).train()
    run = _Run(objective, schedule, steps)
    first = run.resume(checkpoint, device)
    started, saved, running = time.monotonic(), time.monotonic(), 0.0
    with _interruptible() as interrupted:
        for step, batch in enumerate(stream(first), start=first):
            loss = run.step(step, batch.to(device), device)
            running = loss if step == first else 0.98 * running + 0.02 * loss
            pace = (time.monotonic() - started) / (step - first + 1)
            if interrupted.is_set():
                run.save(checkpoint, step + 1)
                raise KeyboardInterrupt
            report(Progress(name, step + 1, steps, running, pace * (steps - step - 1)))
            if time.monotonic() - saved > _CHECKPOINT_EVERY_SECONDS:
                run.save(checkpoint, step + 1)
                saved = time.monotonic()
    module.load_state_dict(run.average)
    module.cpu().eval()


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event, so that no step is cut in the middle; a second one cuts."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Run:
    """The state that a checkpoint holds."""

    def __init__(self, objective: Objective, schedule: Schedule, steps: int) -> None:
        self._objective, self._schedule_settings, self._steps = objective, schedule, steps
        self._module = objective.module
        named = [(n, p) for n, p in self._module.named_parameters() if p.requires_grad]
        heads = [p for n, p in named if any(head in n for head in _HEADS)]
        body = [p for n, p in named if not any(head in n for head in _HEADS)]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": body, "lr": schedule.learning_rate},
                {"params": heads, "lr": schedule.head_learning_rate},
            ],
            weight_decay=schedule.weight_decay,
            fused=True,
        )
        self._rates = torch.optim.lr_scheduler.LambdaLR(self._optimiser, self._rate)
        self.average = {name: tensor.detach().clone() for name, tensor in self._module.state_dict().items()}

    def resume(self, checkpoint: Path, device: torch.device) -> int:
        if not checkpoint.exists():
            return 0
        state = load_tensors(checkpoint, device)
        try:
            self._module.load_state_dict(state["module"])
            self._optimiser.load_state_dict(state["optimiser"])
            self._rates.load_state_dict(state["rates"])
            self.average = state["average"]
            torch.set_rng_state(state["random"].cpu())
            if device.type == "cuda" and "random_of_gpu" in state:
                torch.cuda.set_rng_state(state["random_of_gpu"].cpu())
            return int(state["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{checkpoint}: the checkpoint of another model",
                hint="remove it and run the same command: this training then begins anew",
            ) from error

    def save(self, checkpoint: Path, step: int) -> None:
        content: dict[str, Any] = {
            "module": self._module.state_dict(),
            "average": self.average,
            "optimiser": self._optimiser.state_dict(),
            "rates": self._rates.state_dict(),
            "random": torch.get_rng_state(),
            "step": step,
        }
        if torch.cuda.is_available():
            content["random_of_gpu"] = torch.cuda.get_rng_state()
        save_tensors(content, checkpoint)

    def step(self, step: int, batch: Batch, device: torch.device) -> float:
        with autocast(device):
            loss = self._objective.loss(batch, step)
        value = float(loss.detach())
        if not isfinite(value):  # before it gets into the weights
            raise DataError(
                f"the training diverged: at step {step + 1} its loss is no number any more",
                hint="lower learning_rate and head_learning_rate in the recipe, and give another --out",
            )
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._module.parameters(), _GRADIENT_NORM)
        self._optimiser.step()
        self._rates.step()
        self._update_average(step)
        return value

    def _rate(self, step: int) -> float:
        warmup = max(1, round(self._schedule_settings.warmup_share * self._steps))
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (self._steps - step) / max(1, self._steps - warmup))

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        decay = min(self._schedule_settings.average_decay, (step + 1) / (step + 10))
        names = list(self.average)
        current = self._module.state_dict()
        torch._foreach_lerp_([self.average[n] for n in names], [current[n] for n in names], 1 - decay)


def autocast(device: torch.device) -> AbstractContextManager[object]:
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
