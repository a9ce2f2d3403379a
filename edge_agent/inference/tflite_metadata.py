"""TFLite metadata: what a ``.tflite`` file says of its own inputs and outputs. Bytes in, values out.

The metadata is a second flatbuffer (identifier ``M001``) in that buffer of the model which the model's list
of metadata calls ``TFLITE_METADATA``; the files that it names, vocabularies and labels, lie in a zip that is
appended to the whole. Both are read here and neither is believed: every offset may lie, so whatever the
reader stumbles over is one refusal, and nothing is read further than its bound.

The schemas are ``schema.fbs`` of tensorflow/tensorflow (version 3) and
``tensorflow_lite_support/metadata/metadata_schema.fbs`` of tensorflow/tflite-support (1.5.0), both
Apache-2.0. Their fields are numbered from 0 in the order of the text, a union counting twice; a field is here
by that number. A dozen numbers do not need the 2,000 generated lines, whose package (``tflite-support``) has
no wheel past Python 3.11.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from flatbuffers import number_types
from flatbuffers.table import Table

from edge_agent.errors import BundleError
from edge_agent.inference.archive import ZIP_ERRORS, checked_members, read_member

BUFFER_NAME: Final = b"TFLITE_METADATA"
AXIS_LABELS: Final = 2
"""``AssociatedFileType.TENSOR_AXIS_LABELS``."""

BERT_TOKENIZER: Final = "BertTokenizerOptions"
REGEX_TOKENIZER: Final = "RegexTokenizerOptions"
_UNITS: Final = (
    "NONE",
    "NormalizationOptions",
    "ScoreCalibrationOptions",
    "ScoreThresholdingOptions",
    BERT_TOKENIZER,
    "SentencePieceTokenizerOptions",
    REGEX_TOKENIZER,
)
"""The union ``ProcessUnitOptions``, by its number."""

_MOST_ITEMS: Final = 16
"""In a vector. Vectors stand in vectors and may share their items, so the bound counts to the third power."""
_MOST_TEXT_BYTES: Final = 1 << 13
_MOST_METADATA_BYTES: Final = 1 << 20
_MOST_FILE_BYTES: Final = 1 << 24
_READ_ERRORS: Final = (struct.error, IndexError, TypeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class ProcessUnit:
    """A step before the inputs or after the outputs.

    Attributes:
        kind: name of its options in the schema.
        vocabularies: names of the files of a tokenizer.
        pattern: of the delimiters of a regex tokenizer.
    """

    kind: str
    vocabularies: tuple[str, ...] = ()
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """What is said of one tensor: its name there, its own steps, the names of its label files."""

    name: str
    units: tuple[ProcessUnit, ...]
    label_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What is said of the model; inputs and outputs in the order of the file's first graph.

    Attributes:
        name: of the model, perhaps empty, like all texts here.
        description: in words.
        version: as its maker counts.
        author: who made it.
        licence: as its maker puts it.
        inputs: one for each input.
        outputs: one for each output.
        input_units: steps before all inputs together.
        output_units: steps after all outputs together.
    """

    name: str
    description: str
    version: str
    author: str
    licence: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    input_units: tuple[ProcessUnit, ...]
    output_units: tuple[ProcessUnit, ...]


def read_metadata(content: bytes) -> ModelMetadata:
    """The metadata of a whole ``.tflite`` file.

    Raises:
        BundleError: it is no such file, has no metadata, or what it has cannot be read.
    """
    if content[4:8] != b"TFL3":
        raise BundleError("is not a TFLite file")
    try:
        buffer = _metadata_buffer(content)
        if buffer is None:
            raise BundleError(
                "has no TFLite metadata",
                hint="its maker adds it with tflite-support's metadata writers; a bare file does not say how "
                "text becomes numbers",
            )
        if buffer[4:8] != b"M001":
            raise BundleError("its TFLite metadata is of another kind than M001")
        return _model(_root(buffer))
    except _READ_ERRORS as error:
        raise BundleError("its TFLite metadata is damaged") from error


def read_files(content: bytes, names: Iterable[str]) -> dict[str, bytes]:
    """Files that the metadata names, out of the zip behind the model.

    Raises:
        BundleError: there is no zip, it is damaged or hostile, or a file is missing or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = checked_members(archive)
            found: dict[str, bytes] = {}
            for name in names:
                if name not in members:
                    raise BundleError(f"has no file {name!r:.80}, which its metadata names")
                found[name] = read_member(archive, members[name], _MOST_FILE_BYTES)
            return found
    except ZIP_ERRORS as error:
        raise BundleError("has no files behind the model, or they are damaged") from error


def _metadata_buffer(content: bytes) -> bytes | None:
    """Model.metadata (6) names the buffer, by its number in Model.buffers (4), whose data is field 0."""
    model = _root(content)
    for entry in _tables(model, 6):
        if _bytes(entry, 0) == BUFFER_NAME:
            begin, length = _vector(model, 4)
            number = _number(entry, 1, number_types.Uint32Flags)
            if number >= length:
                raise ValueError("a buffer that is not there")
            return _bytes(_item(model, begin, number), 0, most=_MOST_METADATA_BYTES)
    return None


def _model(root: Table) -> ModelMetadata:
    graphs = list(_tables(root, 3))
    if not graphs:
        raise BundleError("its TFLite metadata describes no graph")
    return ModelMetadata(
        name=_text(root, 0),
        description=_text(root, 1),
        version=_text(root, 2),
        author=_text(root, 4),
        licence=_text(root, 5),
        inputs=tuple(_tensor(table) for table in _tables(graphs[0], 2)),
        outputs=tuple(_tensor(table) for table in _tables(graphs[0], 3)),
        input_units=tuple(_unit(table) for table in _tables(graphs[0], 5)),
        output_units=tuple(_unit(table) for table in _tables(graphs[0], 6)),
    )


def _tensor(table: Table) -> TensorMetadata:
    """TensorMetadata: name 0, process_units 4, associated_files 6; AssociatedFile: name 0, type 2."""
    return TensorMetadata(
        name=_text(table, 0),
        units=tuple(_unit(unit) for unit in _tables(table, 4)),
        label_files=tuple(
            _text(file, 0)
            for file in _tables(table, 6)
            if _number(file, 2, number_types.Int8Flags) == AXIS_LABELS
        ),
    )


def _unit(table: Table) -> ProcessUnit:
    """ProcessUnit: the union's type 0 and value 1. Bert: vocab_file 0. Regex: pattern 0, vocab_file 1."""
    number = _number(table, 0, number_types.Uint8Flags)
    kind = _UNITS[number] if number < len(_UNITS) else f"number {number}"
    options = _child(table, 1)
    if options is None or kind not in (BERT_TOKENIZER, REGEX_TOKENIZER):
        return ProcessUnit(kind)
    if kind == BERT_TOKENIZER:
        return ProcessUnit(kind, tuple(_text(file, 0) for file in _tables(options, 0)))
    files = tuple(_text(file, 0) for file in _tables(options, 1))
    return ProcessUnit(kind, files, _text(options, 0))


def _root(buffer: bytes) -> Table:
    return Table(buffer, struct.unpack_from("<I", buffer)[0])


def _place(table: Table, field: int) -> int | None:
    """Where a field's value, or the offset to it, stands; None where the table leaves it out."""
    offset: int = table.Offset(4 + 2 * field)
    return table.Pos + offset if offset else None


def _number(table: Table, field: int, flags: type) -> int:
    place = _place(table, field)
    return 0 if place is None else int(table.Get(flags, place))


def _child(table: Table, field: int) -> Table | None:
    place = _place(table, field)
    return None if place is None else Table(table.Bytes, table.Indirect(place))


def _bytes(table: Table, field: int, *, most: int = _MOST_TEXT_BYTES) -> bytes:
    """A string or a vector of bytes."""
    begin, length = _vector(table, field)
    if length > min(most, len(table.Bytes) - begin):
        raise ValueError("longer than it may be")
    return bytes(table.Bytes[begin : begin + length])


def _text(table: Table, field: int) -> str:
    return _bytes(table, field).decode("utf-8")


def _tables(table: Table, field: int) -> Iterator[Table]:
    """The tables of a vector."""
    begin, length = _vector(table, field)
    if length > _MOST_ITEMS:
        raise ValueError("more than there may be")
    for number in range(length):
        yield _item(table, begin, number)


def _item(table: Table, begin: int, number: int) -> Table:
    return Table(table.Bytes, table.Indirect(begin + 4 * number))


def _vector(table: Table, field: int) -> tuple[int, int]:
    """Where the items of a vector begin, and their number."""
    place = _place(table, field)
    if place is None:
        return 0, 0
    begin = table.Indirect(place)
    return begin + 4, int(struct.unpack_from("<I", table.Bytes, begin)[0])
