"""A recipe: the TOML file that says how a model is made.

It names the data (with sha256 and licence), the encoder to start from, the training, the calibration and
the gates. Paths of data are looked for in the folders of ``--data``; files that belong to the recipe
(templates, lexicon) stand beside it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import ceil
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_agent.errors import DataError
from edge_agent.forge.data.download import Progress, default_cache, download, is_allowed, sha256_of
from edge_agent.forge.data.examples import read_text
from edge_agent.forge.toml import parse_toml

TEACHER = "teacher"
"""Name of the model that the labels train."""

_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_FOUR_BIT_SHARE = 0.4


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """What the bundle says of itself."""

    name: str
    version: str
    task: Literal["intent", "classify", "embed"]
    languages: tuple[str, ...]
    licence: str
    beyond: Literal["truncate", "window"] = "truncate"
    max_tokens: int = Field(default=128, ge=8, le=512)
    batch: int = Field(default=0, ge=0, le=16)
    """Sentences of one length that the file can take at once; 0 leaves that graph out."""
    ship: str = "teacher"
    """Which of the run's models becomes the bundle: ``teacher``, or a student's or low-bit model's name."""


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

    @model_validator(mode="after")
    def _is_proven(self) -> DataSection:
        """An address comes with a sha256: what anyone may have put there is not trained on."""
        if self.address is not None:
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
    """A figure that the finished bundle must reach; the run fails otherwise."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None


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
        if self.model.ship not in names:
            raise ValueError(f"model.ship is {self.model.ship}, but the models are {', '.join(names)}")
        return self


@dataclass(frozen=True, slots=True)
class DataFolders:
    """Where a recipe's files are looked for.

    Attributes:
        recipe_folder: the folder of the recipe.
        data: the folders of ``--data``, first to last.
        cache: where downloads are kept; None: the user's cache folder.
        progress: told (file, bytes so far, bytes in all or None) while one is fetched.
    """

    recipe_folder: Path
    data: Sequence[Path] = field(default=())
    cache: Path | None = None
    progress: Progress = lambda *_: None

    def find(self, section: DataSection) -> Path:
        """The file of a data section: from a data folder, else the cache, else its address.

        What the address gives is kept as it came, so a file ``a.csv.xz`` whose address gives it plain stands
        in the cache as ``a.csv``; readers take both.

        Raises:
            DataError: absent everywhere, not the file that the recipe means, or it cannot be fetched.
        """
        folders = [self.recipe_folder] if section.beside_recipe else list(self.data)
        for folder in folders:
            path = folder / section.file
            if path.exists():
                _check_sha256(path, section)
                return path
        if section.address is None or section.fetched_sha256 is None:
            searched = (
                f" in {', '.join(map(str, folders))}" if folders else ", and no folder of data is given"
            )
            raise DataError(f"{section.file}: not found{searched}", hint=_where_from(section))
        return self._fetched(section, section.address, section.fetched_sha256)

    def _fetched(self, section: DataSection, address: str, sha256: str) -> Path:
        """From the cache, if it still is what it was when it came; else from its address."""
        cached = (self.cache or default_cache()) / fetched_name(section.file, address)
        if not cached.is_file() or sha256_of(cached) != sha256:
            download(address, cached, sha256=sha256, progress=self.progress)
        return cached


def fetched_name(file: str, address: str) -> str:
    """A file's name in the cache: compressed or not, as its address gives it."""
    plain = file.removesuffix(".xz")
    return f"{plain}.xz" if address.endswith(".xz") else plain


def _where_from(section: DataSection) -> str:
    if section.beside_recipe:
        return "it belongs beside the recipe"
    origin = f" (the set is from {section.origin})" if section.origin else ""
    return f"give the folder that holds {section.file} by --data DIR{origin}"


def with_student(
    recipe: Recipe, student: StudentSection, *, four_bits: bool = False, ship: bool = False
) -> Recipe:
    """The recipe with one student more, or in place of the one of that name.

    Args:
        recipe: a recipe.
        student: the student; of neither steps nor epochs, it learns as long as the teacher.
        four_bits: also a 4-bit form of it, ``<name>-int4``.
        ship: whether it, in 4 bits where that is asked for, becomes the bundle.

    Raises:
        DataError: a name that cannot be.
    """
    if not student.epochs and not student.steps:
        length = recipe.training.model_dump(include={"epochs", "steps"})
        student = student.model_copy(update=length)
    low_name = f"{student.name}-int4"
    tables = recipe.model_dump()
    tables["student"] = [s for s in tables["student"] if s["name"] != student.name]
    tables["student"].append(student.model_dump())
    tables["low_bit"] = [s for s in tables["low_bit"] if s["name"] != low_name]
    if four_bits:
        shorter = {
            "epochs": student.epochs * _FOUR_BIT_SHARE,
            "steps": ceil(student.steps * _FOUR_BIT_SHARE),
        }
        tables["low_bit"].append({"name": low_name, "of": student.name, "bits": 4, **shorter})
    if ship:
        tables["model"]["ship"] = low_name if four_bits else student.name
    return _validated(tables, "the student")


def read_recipe(path: Path) -> Recipe:
    """Reads and checks a recipe.

    Raises:
        DataError: not TOML, or an entry that is unknown or out of range; names it.
    """
    return _validated(parse_toml(read_text(path), str(path)), str(path))


def _validated(tables: Mapping[str, Any], name: str) -> Recipe:
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        # A misspelt key is also a missing one; the misspelling is what helps.
        errors = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        raise _refusal(errors[0], name) from error


def _refusal(found: Mapping[str, Any], name: str) -> DataError:
    """What is wrong with one entry, and for an unknown key the nearest that there is."""
    place = ".".join(map(str, found["loc"]))
    if found["type"] != "extra_forbidden":
        return DataError(": ".join(filter(None, (name, place, found["msg"]))))
    known = _keys_beside(found["loc"])
    near = get_close_matches(str(found["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return DataError(f"{name}: {place}: no such key", hint=hint)


def _keys_beside(place: Sequence[str | int]) -> list[str]:
    """The keys that a recipe may have where an unknown one stands."""
    section: Any = Recipe
    for step in place[:-1]:
        if isinstance(step, str):
            annotation = section.model_fields[step].annotation
            section = next((a for a in get_args(annotation) if isinstance(a, type)), annotation)
    return sorted(section.model_fields)


def _check_sha256(path: Path, section: DataSection) -> None:
    """Of a file, or of all files of the section's language in a folder, one after the other by name."""
    if section.sha256 is None:
        return
    files = sorted(path.glob(f"{section.lang}.*")) if path.is_dir() else [path]
    found = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if found != section.sha256:
        raise DataError(f"{path}: sha256 is {found}, the recipe means {section.sha256}")
