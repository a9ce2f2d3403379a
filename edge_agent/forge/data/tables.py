"""Tables of texts as people have them: CSV, TSV and JSON lines, each also compressed as ``.xz``.

Strict where a guess could spoil a training: a quote that is never closed, a ragged row or a foreign encoding
is refused with its line. Lenient where there is no doubt: UTF-8 and UTF-16 with a byte order mark, CSV whose
delimiter is a semicolon or a tab. In a TSV, quotes are marks like any other unless they all pair up as CSV
would have them.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import DataError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".jsonl": None, ".ndjson": None}
_SNIFFED_CHARACTERS = 65_536


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line on which it ends (from 1) and its values by column; strings, or JSON values."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows.

    Attributes:
        columns: the header's names, or every key of the JSON objects in the order of their appearance.
        rows: empty lines left out.
        notes: what had to be guessed, one sentence each.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """The rows of a file with a header (CSV, TSV) or of JSON objects (JSONL).

    Raises:
        DataError: absent, empty, of another kind or encoding, or damaged; with the line and the remedy.
    """
    kind = Path(path.name.removesuffix(".xz")).suffix.lower()
    if kind not in _SUFFIXES:
        raise DataError(
            f"{path}: a file of unknown kind ({kind or 'no suffix'})",
            hint="data comes as .csv, .tsv or .jsonl, each also compressed as .xz",
        )
    text = decode(read_bytes(path), path)
    if not text.strip():
        raise DataError(f"{path}: the file is empty", hint="it needs a header line and at least two labels")
    expected = _SUFFIXES[kind]
    if expected is None:
        return _json_table(text, path)
    delimiter = _delimiter(text) if expected == "," else expected
    table = _delimited_table(text, path, delimiter)
    if delimiter != expected:
        note = f"its columns are separated by {_DELIMITERS[delimiter]}, not by commas"
        return Table(table.columns, table.rows, (note,))
    return table


def is_json_lines(path: Path) -> bool:
    """Whether a file is JSON lines, by its name."""
    kind = Path(path.name.removesuffix(".xz")).suffix.lower()
    return kind in _SUFFIXES and _SUFFIXES[kind] is None


def read_bytes(path: Path) -> bytes:
    """A file's content, decompressed where it is ``.xz``.

    Raises:
        DataError: absent, unreadable or damaged.
    """
    try:
        content = path.read_bytes()
        return lzma.decompress(content) if path.suffix == ".xz" else content
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file", hint="check the name and the folder") from error
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def decode(content: bytes, path: Path) -> str:
    """Bytes → text with ``\\n`` at line ends; UTF-8, or UTF-16 with a byte order mark.

    Raises:
        DataError: another encoding; names the first byte that does not fit, and its line.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}",
            hint="save it as UTF-8; from Latin-1 or a Windows program: "
            f"iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}",
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{path}, line {line}: a NUL byte, which no text has",
            hint="if a program saved it as UTF-16, save it as UTF-8",
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _delimiter(text: str) -> str:
    """A CSV's real delimiter: what its header has most of, confirmed by :class:`csv.Sniffer`."""
    header = text.lstrip("\n").split("\n", 1)[0]
    if "," in header:
        return ","
    candidates = "".join(mark for mark in _DELIMITERS if mark in header)
    if not candidates:
        return ","
    try:
        return csv.Sniffer().sniff(text[:_SNIFFED_CHARACTERS], candidates).delimiter
    except csv.Error:
        return max(candidates, key=header.count)


def _delimited_table(text: str, path: Path, delimiter: str) -> Table:
    try:
        records = _records(text, delimiter, csv.QUOTE_MINIMAL)
    except csv.Error as error:
        if delimiter != "\t" or "field larger" in str(error):
            raise _damage(text, path, delimiter, error) from error
        records = _records(text, delimiter, csv.QUOTE_NONE)
    if delimiter == "\t" and any(len(values) != len(records[0][1]) for _, values in records):
        records = _records(text, delimiter, csv.QUOTE_NONE)
    columns = tuple(name.strip() for name in records[0][1])
    _check_header(columns, path)
    rows: list[Row] = []
    for line, values in records[1:]:
        if len(values) != len(columns):
            raise DataError(
                f"{path}, line {line}: {len(values)} columns, the header has {len(columns)}",
                hint='put a text that contains the delimiter into quotes: "well, yes",label',
            )
        rows.append(Row(line, dict(zip(columns, values, strict=True))))
    return Table(columns, tuple(rows))


def _records(text: str, delimiter: str, quoting: Any) -> list[tuple[int, list[str]]]:
    """(line, fields) of every line that is not empty."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, quoting=quoting, strict=True)
    return [(reader.line_num, values) for values in reader if values]


def _damage(text: str, path: Path, delimiter: str, error: csv.Error) -> DataError:
    """What is wrong with a delimited file, and in the row that begins on which line."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error:
        pass
    if "end of data" in str(error):
        return DataError(
            f"{path}, line {line}: a quote is opened and never closed",
            hint='close it, or write a quotation mark inside a text twice: "he said ""yes"""',
        )
    if "field larger" in str(error):
        return DataError(
            f"{path}, line {line}: a field of more than {csv.field_size_limit()} characters",
            hint="is a quote missing before it? Texts are sentences or short opinions, not books",
        )
    return DataError(
        f"{path}, line {line}: something stands between a closing quote and the delimiter",
        hint='write a quotation mark inside a text twice: "he said ""yes"""',
    )


def _check_header(columns: Sequence[str], path: Path) -> None:
    doubled = sorted({name for name in columns if columns.count(name) > 1})
    if doubled:
        names = ", ".join(map(repr, doubled))
        raise DataError(f"{path}: its header names a column twice: {names}")


def _json_table(text: str, path: Path) -> Table:
    columns: dict[str, None] = {}
    rows: list[Row] = []
    for line, values in _json_objects(text, path):
        columns.update(dict.fromkeys(values))
        rows.append(Row(line, values))
    return Table(tuple(columns), tuple(rows))


def _json_objects(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number}: not JSON: {getattr(error, 'msg', 'unreadable')}",
                hint='each line is one whole object: {"text": "…", "label": "…"}',
            ) from error
        if not isinstance(values, dict):
            raise DataError(f"{path}, line {number}: not a JSON object")
        yield number, values
