"""What a labelled sentence is, and reading such sentences from JSONL and CSV.

Spans are offsets in Unicode code points, end exclusive, as everywhere in this package.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import DataError

OUT_OF_SCOPE = "out_of_scope"


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
    """

    text: str
    label: str
    lang: str
    spans: tuple[Span, ...] | None
    source: str


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
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file.

    Raises:
        DataError: unreadable, or a line that is not a JSON object; names the line.
    """
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: not a JSON object")
        yield row


def read_delimited(path: Path, *, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a CSV or TSV file with a header."""
    yield from csv.DictReader(io.StringIO(read_text(path)), delimiter=delimiter)
