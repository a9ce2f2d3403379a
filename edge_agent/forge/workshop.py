"""Where the stages of a run are made: its data, its folder, and how a stage is finished once.

A stage leaves ``<name>.pt`` in the run folder, its weights, and beside it ``<name>.json``, what they were
made by. A run that is started again takes finished stages from there, resumes the one that was interrupted,
and refuses weights whose making the recipe or its data no longer describe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edge_agent import __version__
from edge_agent.errors import DataError
from edge_agent.files import write_atomic
from edge_agent.forge.data.corpus import Corpus
from edge_agent.forge.data.features import Featurizer
from edge_agent.forge.data.mixture import Mixture
from edge_agent.forge.data.vocabulary import Vocabulary
from edge_agent.forge.encoders.family import Encoder
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.judging.assemble import Candidate, Trained
from edge_agent.forge.recipe import Recipe, Schedule
from edge_agent.forge.training.batches import Batch, batches
from edge_agent.forge.training.loop import Objective, Progress, steps_of, train
from edge_agent.forge.training.saving import load_tensors, save_tensors
from edge_agent.inference.tokenizer import WordPiece


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every stage works with.

    Attributes:
        recipe: the recipe.
        corpus: its data.
        vocabulary: tokens of all models of the run.
        out: the run folder.
        data_digest: changes with what the training reads.
        stage: told the name of each stage.
        progress: told of each training step.
    """

    recipe: Recipe
    corpus: Corpus
    vocabulary: Vocabulary
    out: Path
    data_digest: str
    stage: Callable[[str], None]
    progress: Callable[[Progress], None]

    def candidate(
        self, name: str, role: str, model: Encoder, scheme: Scheme, teacher: str | None
    ) -> Candidate:
        """A finished model as evaluation takes it."""
        corpus = self.corpus
        trained = Trained(
            self.recipe,
            model.eval().export_weights(),
            self.vocabulary.tokens,
            corpus.labels,
            corpus.slot_tags,
        )
        return Candidate(name, role, trained, scheme, teacher)  # type: ignore[arg-type]

    def stream(self, schedule: Schedule, steps: int, seed: int) -> Callable[[int], Iterator[Batch]]:
        """First step → batches of the training sentences."""
        training, featurizer = self.recipe.training, self.featurizer

        def start(first: int) -> Iterator[Batch]:
            mixture = Mixture(
                self.corpus.training,
                swap_share=training.value_swap_share,
                noise_share=training.noise_share,
                balance=training.balance,
                seed=seed,
            )
            return batches(mixture, featurizer, size=schedule.batch_size, steps=steps, seed=seed, first=first)

        return start

    @property
    def featurizer(self) -> Featurizer:
        """Sentences as the run's models read them."""
        return Featurizer(
            WordPiece(self.vocabulary.tokens),
            self.corpus.labels,
            self.corpus.slot_tags,
            self.recipe.model.max_tokens,
        )

    def checkpoint(self, name: str) -> Path:
        """Where a stage that is not finished keeps its state."""
        return self.out / f"{name}.checkpoint.pt"

    @property
    def rows(self) -> int:
        """Training sentences, templates not counted."""
        return sum(len(entry.examples) for entry in self.corpus.training)


def finish_stage(
    shop: Workshop,
    name: str,
    model: Encoder,
    objective: Objective,
    schedule: Schedule,
    *,
    seed: int,
    begin: Callable[[], None] = lambda: None,
    settle: Callable[[], None] = lambda: None,
) -> None:
    """Trains a stage, or takes its weights from where an earlier start left them.

    Args:
        shop: what the stages work with.
        name: of the stage's model.
        model: with its initial weights; ends with the trained ones, in evaluation mode.
        objective: of the training.
        schedule: of the training.
        seed: of the sentences and of dropout.
        begin: called before the training, not where finished weights are taken; it may change the model's
            initial weights, to the same ones each time.
        settle: called after the training, before the weights are saved; it may change them.

    Raises:
        DataError: the weights in the folder are damaged, or were made otherwise.
        KeyboardInterrupt: see :func:`~edge_agent.forge.training.loop.train`.
    """
    finished, steps = shop.out / f"{name}.pt", steps_of(schedule, shop.rows)
    refuse_other_making(shop, name, schedule)
    write_atomic(shop.out / f"{name}.json", _making(shop, schedule))
    if finished.exists():
        shop.stage(f"{name}: taking the finished weights of this folder")
        _take(model, finished)
        shop.checkpoint(name).unlink(missing_ok=True)
        return
    begin()
    shop.stage(f"{name}: training {steps} steps")
    torch.manual_seed(seed)  # of dropout; a stage is the same whether those before it ran or were taken
    train(
        objective,
        shop.stream(schedule, steps, seed),
        schedule,
        name=name,
        steps=steps,
        checkpoint=shop.checkpoint(name),
        report=shop.progress,
    )
    settle()
    save_tensors(model.state_dict(), finished)
    shop.checkpoint(name).unlink(missing_ok=True)  # last: hours of training are on disk at any moment


def _take(model: Encoder, finished: Path) -> None:
    state = load_tensors(finished)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(
            f"{finished}: the weights of another model",
            hint="give another --out, or remove the file: the model is then trained anew",
        ) from error
    model.eval()


def _making(shop: Workshop, schedule: Schedule) -> bytes:
    """What a stage is made by, as its record has it."""
    settings = schedule.model_dump(mode="json", exclude_defaults=True)
    steps = steps_of(schedule, shop.rows)
    made_by = {**settings, "steps": steps, "data": shop.data_digest, "edge_agent": __version__}
    return (json.dumps(made_by, indent=1, sort_keys=True) + "\n").encode()


def refuse_other_making(shop: Workshop, name: str, schedule: Schedule) -> None:
    """Weights belong to the settings, data and version that made them; without weights, all may change.

    Raises:
        DataError: they changed since the stage in this folder began.
    """
    record = shop.out / f"{name}.json"
    content = _making(shop, schedule)
    begun = (shop.out / f"{name}.pt").exists() or shop.checkpoint(name).exists()
    if not begun or not record.exists() or record.read_bytes() == content:
        return
    was, now = _fields(record.read_bytes()), _fields(content)
    what = "the recipe or its data changed"
    if was.get("edge_agent") != __version__ and {**was, "edge_agent": __version__} == now:
        what = f"edge-agent changed from {was.get('edge_agent')} to {__version__}"
    raise DataError(
        f"{shop.out}: {what} since {name} was trained there",
        hint="give another --out, or remove the folder",
    )


def _fields(record: bytes) -> Mapping[str, Any]:
    """A record's content; nothing where it is damaged."""
    try:
        found = json.loads(record)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
