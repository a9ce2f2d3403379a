"""Writes TFLite metadata into a ``.tflite`` file, for tests: the model's buffer and the zip behind it.

Built with the ``flatbuffers`` builder from the schema's field numbers. Files of the official writer
(tflite-support 0.4.4, which has no wheel past Python 3.11), around graphs of ``tests/tiny_graphs.py``, lie
under ``tests/inference/fixtures`` and show that the two mean the same.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edge_agent.forge.export.flatbuffer import _AlignedBuffer

BERT, SENTENCE_PIECE, REGEX = 4, 5, 6
AXIS_LABELS = 2


@dataclass(frozen=True)
class Unit:
    """A process unit: its number in the union, and what the two tokenizers say."""

    kind: int
    vocabulary: str | None = None
    pattern: str | None = None


@dataclass(frozen=True)
class Tensor:
    name: str
    units: Sequence[Unit] = ()
    labels: str | None = None


@dataclass(frozen=True)
class Said:
    """The whole metadata."""

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    input_units: Sequence[Unit] = ()
    output_units: Sequence[Unit] = ()
    name: str = "A classifier"
    version: str = "v1"
    licence: str = "Apache-2.0"


def add_metadata(path: Path, said: Said, files: Mapping[str, bytes | str]) -> Path:
    """Puts metadata and files into a ``.tflite`` file."""
    put_buffer(path, metadata_bytes(said))
    append_zip(path, files)
    return path


def put_buffer(path: Path, content: bytes, name: str = "TFLITE_METADATA") -> None:
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    model.buffers = [_AlignedBuffer(bytes(_data(buffer))) for buffer in model.buffers]
    model.buffers.append(_AlignedBuffer(content))
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, len(model.buffers) - 1
    model.metadata = [entry]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def append_zip(path: Path, files: Mapping[str, bytes | str]) -> None:
    packed = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    path.write_bytes(packed.getvalue())


def metadata_bytes(said: Said) -> bytes:
    builder = flatbuffers.Builder(1024)
    graph = _table(
        builder,
        {
            2: _vector(builder, [_tensor(builder, tensor) for tensor in said.inputs]),
            3: _vector(builder, [_tensor(builder, tensor) for tensor in said.outputs]),
            5: _vector(builder, [_unit(builder, unit) for unit in said.input_units]),
            6: _vector(builder, [_unit(builder, unit) for unit in said.output_units]),
        },
    )
    fields = {
        0: builder.CreateString(said.name),
        2: builder.CreateString(said.version),
        3: _vector(builder, [graph]),
        5: builder.CreateString(said.licence),
    }
    builder.Finish(_table(builder, fields), file_identifier=b"M001")
    return bytes(builder.Output())


def _tensor(builder: Any, tensor: Tensor) -> int:
    fields = {
        0: builder.CreateString(tensor.name),
        4: _vector(builder, [_unit(builder, unit) for unit in tensor.units]),
    }
    if tensor.labels is not None:
        fields[6] = _vector(builder, [_file(builder, tensor.labels, AXIS_LABELS)])
    return _table(builder, fields)


def _unit(builder: Any, unit: Unit) -> int:
    files = [] if unit.vocabulary is None else [_file(builder, unit.vocabulary, 5)]
    options: dict[int, int] = {(1 if unit.kind == REGEX else 0): _vector(builder, files)}
    if unit.pattern is not None:
        options[0] = builder.CreateString(unit.pattern)
    value = _table(builder, options)
    return _table(builder, {1: value}, small={0: unit.kind})


def _file(builder: Any, name: str, kind: int) -> int:
    return _table(builder, {0: builder.CreateString(name)}, small={2: kind})


def _table(builder: Any, offsets: Mapping[int, int], small: Mapping[int, int] | None = None) -> int:
    builder.StartObject(9)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in (small or {}).items():
        builder.PrependInt8Slot(slot, value, 0)
    return int(builder.EndObject())


def _vector(builder: Any, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


def _data(buffer: Any) -> bytes:
    return b"" if buffer.data is None else bytes(buffer.data)
