"""A recipe: the TOML file that says how a model is made; reading one, and adding a student to one.

It names the data (with sha256 and licence), the encoder to start from, the training, the calibration and
the gates. Paths of data are looked for in the folders of ``--data``; files that belong to the recipe
(templates, lexicon) stand beside it. The sections themselves are in :mod:`edge_agent.forge.sections`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from math import ceil
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from edge_agent.errors import DataError
from edge_agent.forge.data.examples import read_text
from edge_agent.forge.sections import (
    TEACHER,
    CalibrationSection,
    DataSection,
    DistillationSection,
    EncoderSection,
    GateSection,
    LowBitSection,
    Recipe,
    Schedule,
    StudentSection,
)
from edge_agent.forge.toml import parse_toml

__all__ = [
    "TEACHER",
    "CalibrationSection",
    "DataSection",
    "DistillationSection",
    "EncoderSection",
    "GateSection",
    "LowBitSection",
    "Recipe",
    "Schedule",
    "StudentSection",
    "read_recipe",
    "with_student",
]

_FOUR_BIT_SHARE = 0.4


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
