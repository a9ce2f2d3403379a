"""What a recipe may say: one class a section, each entry with its range and its default.

Names, numbers and files only; what a section's words do stands where they are done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_agent.forge.data.download import is_allowed
from edge_agent.inference.manifest import is_name, is_version

TEACHER = "teacher"
"""Name of the model that the labels train."""

_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_TAKEN_NAMES = frozenset({"run", "report", "began_with", "head_start"})
"""A run folder has files of these names of its own."""
_Text = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """What the bundle says of itself."""

    name: str
    version: str
    task: Literal["intent", "classify", "embed"]
    languages: tuple[_Text, ...] = Field(min_length=1)
    licence: _Text
    beyond: Literal["truncate", "window"] = "truncate"
    max_tokens: int = Field(default=128, ge=8, le=512)
    batch: int = Field(default=0, ge=0, le=16)
    """Sentences of one length that the file can take at once; 0 leaves that graph out."""
    ship: str = "teacher"
    """Which of the run's models becomes the bundle: ``teacher``, or a student's or low-bit model's name."""

    @model_validator(mode="after")
    def _is_a_bundle_s(self) -> ModelSection:
        """What a bundle would refuse is refused before a training, not after it."""
        if not is_name(self.name):
            raise ValueError(f"name is {self.name!r:.80}; lower case letters, digits, - and _ are allowed")
        if not is_version(self.version):
            raise ValueError(f"version is {self.version!r:.80}, not of the form 1.2.3")
        if len(set(self.languages)) != len(self.languages):
            raise ValueError("languages names one twice")
        return self


class CardSection(_Section):
    """The words of the model card."""

    summary: str = "A model made by edge-agent forge."
    intended_use: str = "Understanding short texts of the kind that it was trained on."
    limits: tuple[str, ...] = ("Texts unlike its training data.",)


class DataSection(_Section):
    """One data file and what its rows are for."""

    use: Literal["train", "dev", "test"]
    kind: Literal["home_assistant", "home_llm", "table", "clinc150", "goemotions", "parallel", "templates"]
    file: str
    lang: str
    licence: str
    sha256: str | None = None
    """Of the file as it lies in a data folder; a file of another content is refused."""
    address: str | None = None
    """Where the file can be fetched when no data folder has it."""
    address_sha256: str | None = None
    """Of what the address gives, where that is not byte for byte the file (compressed or not)."""
    origin: str | None = None
    """Where the set is published, for those who have to get and convert it themselves."""
    source: str | None = None
    """The set's name in reports; without, the first part of ``file``."""
    weight: float = Field(default=0.0, ge=0)
    """Share of a training batch, relative to the other sets."""
    text: str = "text"
    """Name of the column with the text."""
    label: str = "label"
    """Name of the column with the label; empty for rows without one."""
    slots: bool = False
    """Whether the rows' slots are annotated as ``[{"type", "start", "end"}, …]``; else they teach none."""
    where: Mapping[str, str | int | bool] = Field(default_factory=dict)
    """Column → value: only such rows are taken."""
    parts: tuple[str, ...] = ()
    """Parts of a file that holds several splits (clinc150: ``val``, ``oos_val`` …)."""
    hold_out: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows, chosen by a hash of their text, that this section leaves to a ``dev`` section."""
    hold_out_test: float = Field(default=0.0, ge=0, lt=1)
    """The like for a ``test`` section; all sections of one file give the same two shares."""
    only_held_out: bool = False
    """Take the rows that ``hold_out`` (``test``: ``hold_out_test``) leaves out, instead of the others."""
    stratified: bool = False
    """Hold out that share of each label, at least one row of a label with five."""
    limit: int = Field(default=0, ge=0)
    """Rows at most, drawn by seed; 0 takes all."""
    map: Mapping[str, str] = Field(default_factory=dict)
    """Label of the set → label of the model."""
    others: Literal["out_of_scope", "keep", "drop"] = "out_of_scope"
    """What becomes of labels that ``map`` does not name."""
    drop: tuple[str, ...] = ()
    """Labels of the set whose rows say nothing clear about ours."""
    drop_matching: str | None = None
    """Rows whose text matches this pattern are dropped."""
    beside_recipe: bool = False

    @field_validator("drop_matching")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _is_proven(self) -> DataSection:
        """An address comes with a sha256: what anyone may have put there is not trained on.

        What it gives goes into the cache under the file's name, which must not lead out of it.
        """
        if self.address is not None:
            if self.file.startswith("/") or ".." in self.file.split("/"):
                raise ValueError("file: with an address, it is a plain path below the data folder")
            if not is_allowed(self.address):
                raise ValueError("address: data is fetched by https only")
            if self.fetched_sha256 is None:
                raise ValueError("address needs sha256, or address_sha256, of what it gives")
        return self

    @property
    def fetched_sha256(self) -> str | None:
        """Of what the address gives."""
        return self.address_sha256 or self.sha256

    @property
    def name(self) -> str:
        """The set's name in reports."""
        return self.source or self.file.split("/")[0]


class EncoderSection(_Section):
    """The pretrained encoder to start from: an installed package, or a folder, that holds a checkpoint."""

    package: str | None = None
    checkpoint: str | None = None
    """A Hugging Face checkpoint folder, beside the recipe or absolute."""
    origin: str
    licence: str


class VocabularySection(_Section):
    """Which tokens the models keep; teacher and students share them."""

    lexicons: tuple[str, ...] = ()
    """Files of words of other languages with their translation, beside the recipe."""
    largest: int = Field(default=20_000, ge=1_000)
    unseen_words: bool = True
    """Whether words of the lexicons that no training text has become tokens, too."""
    keep_commonest: int = Field(default=0, ge=0)
    """Of the encoder's tokens, the first so many are kept even where no training text has them."""


class Schedule(_Section):
    """Optimiser and length of one training; ``steps``, or ``epochs`` over the training rows."""

    steps: int = Field(default=0, ge=0)
    epochs: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    head_learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_share: float = Field(default=0.06, ge=0, lt=1)
    average_decay: float = Field(default=0.998, ge=0, lt=1)
    slot_loss_weight: float = Field(default=1.0, ge=0)


class TrainingSection(Schedule):
    """Fine-tuning of the encoder on the labels; its result is the teacher."""

    value_swap_share: float = Field(default=0.5, ge=0, le=1)
    noise_share: float = Field(default=0.15, ge=0, le=1)
    balance: float = Field(default=0.6, ge=0, le=1)
    """A label is drawn by its count to this power: 1 by frequency, 0 each as often."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    head_from_probe: bool = False
    """The label head starts as a logistic regression on the untouched encoder's sentence vectors, and what is
    better on dev, that or the fine-tuned model, becomes the teacher: for few rows."""
    seed: int = 1


class DistillationSection(Schedule):
    """How a student learns from its teacher (Hinton et al. 2015; Jiao et al. 2020, TinyBERT)."""

    temperature: float = Field(default=2.0, gt=0)
    """Softens both sides' label probabilities."""
    soft_weight: float = Field(default=1.0, ge=0)
    hard_weight: float = Field(default=0.2, ge=0)
    """Of the true labels, where a sentence has them."""
    hidden_weight: float = Field(default=1.0, ge=0)
    attention_weight: float = Field(default=0.5, ge=0)
    replace_share: float = Field(default=0.3, ge=0, le=1)
    """Chance that a sentence is varied by word replacement."""
    replace_words: float = Field(default=0.3, ge=0, le=1)
    """Chance that a word of such a sentence is replaced by a neighbour in the teacher's embedding."""


class StudentSection(DistillationSection):
    """A smaller encoder, initialised from the teacher's layers; 0 takes the teacher's size."""

    name: str
    layers: int = Field(ge=1)
    hidden: int = Field(default=0, ge=0)
    intermediate: int = Field(default=0, ge=0)


class LowBitSection(DistillationSection):
    """Quantisation-aware training of one of the run's models (Jacob et al. 2018)."""

    name: str
    of: str
    bits: Literal[4, 8] = 4


class CalibrationSection(_Section):
    """What the threshold must let through on the dev sets."""

    accept_in_scope: float = Field(default=0.975, gt=0, le=1)
    accept_out_of_scope: float = Field(default=0.02, ge=0, lt=1)
    margin: float = Field(default=0.05, ge=0, lt=1)


class GateSection(_Section):
    """A figure that the finished bundle must reach; the run fails otherwise.

    ``tried`` says in the report what was done for it, where it is missed.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    tried: str = ""


class Recipe(_Section):
    """A whole recipe; see ``models/recipes/home.toml``."""

    model: ModelSection
    card: CardSection = CardSection()
    encoder: EncoderSection
    data: tuple[DataSection, ...]
    vocabulary: VocabularySection = VocabularySection()
    training: TrainingSection
    student: tuple[StudentSection, ...] = ()
    low_bit: tuple[LowBitSection, ...] = ()
    calibration: CalibrationSection = CalibrationSection()
    gates: tuple[GateSection, ...] = ()
    """A run that misses one writes no bundle."""
    targets: tuple[GateSection, ...] = ()
    """What the recipe aims at: the report says of each whether it is met, or by how much it is missed."""

    @model_validator(mode="after")
    def _check_names(self) -> Recipe:
        names = [TEACHER]
        for student in self.student:
            names.append(student.name)
        for low in self.low_bit:
            if low.of not in names:
                raise ValueError(f"low_bit {low.name} is of {low.of}, but the models are {', '.join(names)}")
            names.append(low.name)
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two models are called {name}")
            if not _MODEL_NAME.fullmatch(name):
                raise ValueError(f"a model is called {name!r}; letters, digits, - and _ are allowed")
            if name in _TAKEN_NAMES:
                raise ValueError(f"a model cannot be called {name}: the run folder has a file of that name")
        if self.model.ship not in names:
            raise ValueError(f"model.ship is {self.model.ship}, but the models are {', '.join(names)}")
        return self
