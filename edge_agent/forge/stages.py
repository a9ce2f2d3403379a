"""The models of a run, one after the other: teacher, students, low-bit models; each finished once.

A stage leaves ``<name>.pt`` in the run folder, its weights, and beside it ``<name>.json``, what they were
made by. A run that is started again takes finished stages from there, resumes the one that was interrupted,
and refuses weights whose making the recipe or its data no longer describe.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge_agent import __version__
from edge_agent.errors import DataError
from edge_agent.files import write_atomic
from edge_agent.forge.data.corpus import Corpus
from edge_agent.forge.data.features import Featurizer
from edge_agent.forge.data.mixture import Mixture
from edge_agent.forge.data.vocabulary import Vocabulary
from edge_agent.forge.encoders.bert import JointEncoder
from edge_agent.forge.encoders.family import Encoder
from edge_agent.forge.encoders.initialise import StudentSize, cut_student
from edge_agent.forge.encoders.rebuild import encoder_of
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.judging.assemble import Candidate, Trained
from edge_agent.forge.recipe import TEACHER, LowBitSection, Recipe, Schedule, StudentSection
from edge_agent.forge.training.batches import Batch, batches
from edge_agent.forge.training.distil import Distillation
from edge_agent.forge.training.finetune import FineTuning
from edge_agent.forge.training.loop import Objective, Progress, steps_of, train
from edge_agent.forge.training.qat import QuantisationAware
from edge_agent.forge.training.word_replacement import WordReplacer
from edge_agent.inference.tokenizer import WordPiece

_BIT_SCHEMES = {4: Scheme.INT4_PER_CHANNEL, 8: Scheme.INT8_PER_CHANNEL}
_DISTILLATION_SEED = 1_000  # apart from the teacher's stream, so that a student meets other sentences


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
        training = self.recipe.training
        featurizer = Featurizer(
            WordPiece(self.vocabulary.tokens),
            self.corpus.labels,
            self.corpus.slot_tags,
            self.recipe.model.max_tokens,
        )

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
    def rows(self) -> int:
        """Training sentences, templates not counted."""
        return sum(len(entry.examples) for entry in self.corpus.training)


def run_stages(shop: Workshop, encoder: Encoder) -> list[Candidate]:
    """Teacher, students and low-bit models of a recipe.

    Args:
        shop: what the stages work with.
        encoder: pretrained, with fresh heads.

    Raises:
        DataError: a finished stage was made by another recipe or data; or a section cannot be.
    """
    recipe = shop.recipe
    teacher = _teacher(shop, encoder)
    models: dict[str, tuple[Encoder, str | None]] = {TEACHER: (teacher, None)}
    found = [shop.candidate(TEACHER, "teacher", teacher, Scheme.INT8_PER_CHANNEL, None)]
    for student in recipe.student:
        model = _student(shop, teacher, student)
        models[student.name] = (model, TEACHER)
        found.append(shop.candidate(student.name, "student", model, Scheme.INT8_PER_CHANNEL, TEACHER))
    for low in recipe.low_bit:
        model = _low_bit(shop, models[low.of][0], low)
        found.append(shop.candidate(low.name, "low-bit", model, _BIT_SCHEMES[low.bits], low.of))
    return found


def _teacher(shop: Workshop, encoder: Encoder) -> Encoder:
    training = shop.recipe.training
    if training.steps == 0 and training.epochs == 0 and shop.recipe.model.task == "embed":
        return encoder.eval()  # the pretrained sentence encoder is the teacher
    objective = FineTuning(
        encoder,
        slot_loss_weight=training.slot_loss_weight,
        label_smoothing=training.label_smoothing,
    )
    _finish(shop, TEACHER, encoder, objective, training, seed=training.seed)
    return encoder


def _student(shop: Workshop, teacher: Encoder, section: StudentSection) -> Encoder:
    if not isinstance(teacher, JointEncoder):
        raise DataError(
            f"student {section.name}: students are cut out of BERT-shaped teachers",
            hint="start from a BERT, MiniLM, TinyBERT or DistilBERT checkpoint, or leave [[student]] out",
        )
    weights = teacher.export_weights()
    size = StudentSize(
        section.layers,
        section.hidden or weights.hidden,
        section.intermediate or len(weights.layers[0].intermediate.bias),
    )
    try:
        cut, kept = cut_student(weights, size)
    except ValueError as error:
        raise DataError(f"student {section.name}: {error}") from error
    student = encoder_of(cut)
    objective = Distillation(
        teacher,
        student,
        section,
        replacer=WordReplacer(shop.vocabulary.tokens, weights.words),
        kept=kept,
        seed=shop.recipe.training.seed,
    )
    _finish(shop, section.name, student, objective, section, seed=_DISTILLATION_SEED + 1)
    return student


def _low_bit(shop: Workshop, original: Encoder, section: LowBitSection) -> Encoder:
    model = copy.deepcopy(original)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # rounding is noise enough
    aware = QuantisationAware(model, _BIT_SCHEMES[section.bits])
    objective = Distillation(
        original,
        model,
        section,
        replacer=WordReplacer(shop.vocabulary.tokens, original.export_weights().words),
        seed=shop.recipe.training.seed,
    )
    _finish(shop, section.name, model, objective, section, seed=_DISTILLATION_SEED + 2)
    return aware.finish().eval()


def _finish(
    shop: Workshop,
    name: str,
    model: Encoder,
    objective: Objective,
    schedule: Schedule,
    *,
    seed: int,
) -> None:
    """Trains a stage, or takes its weights from where an earlier start left them."""
    finished, record = shop.out / f"{name}.pt", shop.out / f"{name}.json"
    steps = steps_of(schedule, shop.rows)
    settings = schedule.model_dump(mode="json", exclude_defaults=True)
    made_by = {**settings, "steps": steps, "data": shop.data_digest, "edge_agent": __version__}
    _keep_to(record, made_by, name)
    if finished.exists():
        shop.stage(f"{name}: taking the finished weights of this folder")
        model.load_state_dict(torch.load(finished, weights_only=True))
        model.eval()
        return
    shop.stage(f"{name}: training {steps} steps")
    torch.manual_seed(seed)  # of dropout; a stage is the same whether those before it ran or were taken
    train(
        objective,
        shop.stream(schedule, steps, seed),
        schedule,
        name=name,
        steps=steps,
        checkpoint=shop.out / f"{name}.checkpoint.pt",
        report=shop.progress,
    )
    partial = finished.with_suffix(".partial")
    torch.save(model.state_dict(), partial)
    partial.replace(finished)


def _keep_to(record: Path, made_by: dict[str, Any], name: str) -> None:
    """Weights belong to the settings and the data that made them.

    Raises:
        DataError: they changed since the stage in this folder began.
    """
    content = (json.dumps(made_by, indent=1, sort_keys=True) + "\n").encode()
    if record.exists() and record.read_bytes() != content:
        raise DataError(
            f"{record.parent}: the recipe or its data changed since {name} was trained there",
            hint="give another --out, or remove the folder",
        )
    write_atomic(record, content)
