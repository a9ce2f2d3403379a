"""What a labelled sentence is, and reading such sentences from JSONL and CSV.

Spans are offsets in Unicode code points, end exclusive, as everywhere in this package.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.errors import DataError

OUT_OF_SCOPE = "out_of_scope"
UNLABELLED = ""
"""Label of a sentence without one: it teaches what a teacher says of it, and nothing else."""


@dataclass(frozen=True, slots=True)
class Span:
    """A slot's place in the text: ``text[start:end]`` fills slot ``name``."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled sentence.

    Attributes:
        text: as a user would send it.
        label: intent or class.
        lang: ``en``, ``es`` …
        spans: slots found in the text, in order, without overlap. None: the slots of this sentence are
            not annotated, so it teaches nothing about them.
        source: the data set it came from, for reports.
        weight: of this sentence's loss, beside the others'.
        probabilities: soft labels of a bigger model, (label, 0..1) pairs that sum to 1; they teach in place
            of ``label``, which is then the likeliest of them. None: the label is all that is known.
        teacher_text: the same sentence in the language that the teacher reads, for cross-lingual
            distillation; None: the teacher reads ``text``.
        line: where it stands in its file, from 1; 0: unknown. Two examples that differ in it alone are equal.
    """

    text: str
    label: str
    lang: str
    spans: tuple[Span, ...] | None
    source: str
    weight: float = 1.0
    probabilities: tuple[tuple[str, float], ...] | None = None
    teacher_text: str | None = None
    line: int = field(default=0, compare=False)


def read_text(path: Path) -> str:
    """A UTF-8 file, plain or ``.xz``.

    Raises:
        DataError: absent, damaged or not UTF-8.
    """
    try:
        if path.suffix == ".xz":
            with lzma.open(path, "rt", encoding="utf-8") as file:
                return file.read()
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file", hint="check the name and the folder") from error
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file.

    Raises:
        DataError: unreadable, or a line that is not a JSON object; names the line.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number}: not JSON: {getattr(error, 'msg', 'unreadable')}"
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: not a JSON object")
        yield row


def read_delimited(path: Path, *, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a CSV or TSV file with a header."""
    yield from csv.DictReader(io.StringIO(read_text(path)), delimiter=delimiter)
