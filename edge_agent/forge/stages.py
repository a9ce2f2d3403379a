"""The models of a run, one after the other: teacher, students, low-bit models.

How a stage is finished once and resumed is in :mod:`edge_agent.forge.workshop`.
"""

from __future__ import annotations

import copy

from torch import nn

from edge_agent.errors import DataError
from edge_agent.forge.encoders.bert import JointEncoder
from edge_agent.forge.encoders.family import Encoder
from edge_agent.forge.encoders.initialise import StudentSize, check_size, cut_student
from edge_agent.forge.encoders.rebuild import encoder_of
from edge_agent.forge.encoders.weights import EncoderWeights
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.head_start import HeadStart
from edge_agent.forge.judging.assemble import Candidate
from edge_agent.forge.recipe import TEACHER, LowBitSection, Recipe, StudentSection
from edge_agent.forge.training.distil import Distillation
from edge_agent.forge.training.finetune import FineTuning
from edge_agent.forge.training.qat import QuantisationAware
from edge_agent.forge.training.word_replacement import WordReplacer
from edge_agent.forge.workshop import Workshop, finish_stage, refuse_other_making

_BIT_SCHEMES = {4: Scheme.INT4_PER_CHANNEL, 8: Scheme.INT8_PER_CHANNEL}
_DISTILLATION_SEED = 1_000  # apart from the teacher's stream, so that a student meets other sentences


def check_stages(shop: Workshop, encoder: Encoder) -> None:
    """Sees, before hours of training, that every stage can be made; changes nothing.

    Args:
        shop: what the stages work with.
        encoder: of the size of the teacher.

    Raises:
        DataError: as :func:`run_stages`.
    """
    recipe = shop.recipe
    if not _is_untrained(recipe):
        refuse_other_making(shop, TEACHER, recipe.training)
    if recipe.student:
        weights = _bert_weights(encoder, recipe.student[0].name)
        for student in recipe.student:
            try:
                check_size(weights, _size_of(student, weights))
            except ValueError as error:
                raise DataError(f"student {student.name}: {error}") from error
    for student in recipe.student:
        refuse_other_making(shop, student.name, student)
    for low in recipe.low_bit:
        refuse_other_making(shop, low.name, low)


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
    if _is_untrained(shop.recipe):
        return encoder.eval()
    objective = FineTuning(
        encoder,
        slot_loss_weight=training.slot_loss_weight,
        label_smoothing=training.label_smoothing,
    )
    if training.head_from_probe and shop.recipe.model.task != "embed":
        start = HeadStart(shop, encoder)
        finish_stage(
            *(shop, TEACHER, encoder, objective, training),
            seed=training.seed,
            begin=start.begin,
            settle=start.settle,
        )
    else:
        finish_stage(shop, TEACHER, encoder, objective, training, seed=training.seed)
    return encoder


def _student(shop: Workshop, teacher: Encoder, section: StudentSection) -> Encoder:
    weights = _bert_weights(teacher, section.name)
    try:
        cut, kept = cut_student(weights, _size_of(section, weights))
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
    finish_stage(shop, section.name, student, objective, section, seed=_DISTILLATION_SEED + 1)
    return student


def _is_untrained(recipe: Recipe) -> bool:
    """Whether the pretrained sentence encoder is itself the teacher."""
    training = recipe.training
    return training.steps == 0 and training.epochs == 0 and recipe.model.task == "embed"


def _bert_weights(teacher: Encoder, student: str) -> EncoderWeights:
    if not isinstance(teacher, JointEncoder):
        raise DataError(
            f"student {student}: students are cut out of BERT-shaped teachers",
            hint="start from a BERT, MiniLM, TinyBERT or DistilBERT checkpoint, or leave [[student]] out",
        )
    return teacher.export_weights()


def _size_of(section: StudentSection, teacher: EncoderWeights) -> StudentSize:
    return StudentSize(
        section.layers,
        section.hidden or teacher.hidden,
        section.intermediate or len(teacher.layers[0].intermediate.bias),
    )


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
    finish_stage(shop, section.name, model, objective, section, seed=_DISTILLATION_SEED + 2)
    return aware.finish().eval()
