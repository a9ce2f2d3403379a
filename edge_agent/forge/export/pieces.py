"""One TFLite file told by the constants of another; devices read it by :mod:`edge_agent.inference.pieces`."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from edge_agent.inference.pieces import Piece, render_pieces

_SHORTEST = 1024
"""Bytes of a constant that is worth a piece of its own."""


def tell_by_pieces(content: bytes, base: bytes) -> bytes:
    """A file with pieces that tells of ``content``, where the constants of ``base`` are not told again."""
    found = sorted(_shared(content, base))
    pieces: list[Piece] = []
    place = 0
    for start, offset, length in found:
        if start < place:
            continue
        if start > place:
            pieces.append((start - place,))
        pieces.append((offset, length))
        place = start + length
    if place < len(content):
        pieces.append((len(content) - place,))
    return render_pieces(content, pieces)


def _shared(content: bytes, base: bytes) -> list[tuple[int, int, int]]:
    """Where a constant of ``base`` stands in ``content`` and in ``base``, and its length."""
    found = []
    for buffer in schema.ModelT.InitFromPackedBuf(base, 0).buffers:
        constant = b"" if buffer.data is None else bytes(buffer.data)
        start = content.find(constant) if len(constant) >= _SHORTEST else -1
        if start >= 0:
            found.append((start, base.find(constant), len(constant)))
    return found
