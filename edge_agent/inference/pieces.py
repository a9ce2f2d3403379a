"""A file told by pieces of another one: most of a variant's bytes are weights that the bundle has already.

The first line is a JSON object: ``size`` and ``sha256`` of the file, and ``pieces``, in their order. A piece
of two numbers is an offset in the base file and a length; a piece of one number is that many bytes of what
follows the line. What comes out is checked by its sha256, so a wrong base gives an error and no wrong model.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from io import SEEK_END
from typing import Any, BinaryIO, Final

from edge_agent.errors import BundleError
from edge_agent.inference.fields import Fields, parse_object

SUFFIX: Final = ".pieces"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_LARGEST: Final = 1 << 30

Piece = tuple[int, int] | tuple[int]
"""Offset and length in the base, or a length in what is told in full."""


def join_pieces(name: str, told: bytes, base: BinaryIO) -> bytes:
    """The file that ``told`` tells of.

    Args:
        name: of the file with the pieces, for messages.
        told: its content.
        base: the other file, open.

    Raises:
        BundleError: it is not of the form, or what it tells of is not in the base.
        OSError: the base cannot be read.
    """
    line, _, rest = told.partition(b"\n")
    fields = Fields(name, parse_object(name, line))
    size, expected = fields.integer("size", 1, _LARGEST), fields.text("sha256", _SHA256)
    pieces = [_piece(name, piece) for piece in _listed(fields.take("pieces"))]
    fields.finish()
    if sum(piece[-1] for piece in pieces) != size:
        raise BundleError(f"{name}: its pieces are not {size} bytes together")
    if size > base.seek(0, SEEK_END) + len(told):
        raise BundleError(f"{name}: it tells of more than it is made of")
    content, place = bytearray(), 0
    for piece in pieces:
        if len(piece) == 2:
            base.seek(piece[0])
            content += base.read(piece[1])
        else:
            content += rest[place : place + piece[0]]
            place += piece[0]
    if hashlib.sha256(content).hexdigest() != expected:
        raise BundleError(f"{name}: its pieces do not make the file that it tells of")
    return bytes(content)


def render_pieces(content: bytes, pieces: Sequence[Piece]) -> bytes:
    """The file with pieces that tells of ``content``; those of one number are taken from it."""
    told, place = bytearray(), 0
    for piece in pieces:
        if len(piece) == 1:
            told += content[place : place + piece[0]]
        place += piece[-1]
    head = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pieces": pieces}
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + bytes(told)


def _listed(pieces: Any) -> list[Any]:
    return pieces if isinstance(pieces, list) else [pieces]


def _piece(name: str, value: Any) -> Piece:
    numbers = value if isinstance(value, list) else []
    right = len(numbers) in {1, 2} and all(type(n) is int and 0 <= n <= _LARGEST for n in numbers)
    if not right:
        raise BundleError(f"{name}: pieces are lists of one number or of two")
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (numbers[0],)
