"""A file told by pieces of another: what comes out is exactly it, or a refusal in one line."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BundleError
from edge_agent.inference.pieces import Piece, join_pieces, render_pieces

BASE = bytes(range(200)) * 5


def join(told: bytes, base: bytes = BASE) -> bytes:
    return join_pieces("model.pieces", told, io.BytesIO(base))


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.tuples(st.integers(0, len(BASE)), st.integers(0, 30)).filter(lambda p: sum(p) <= len(BASE)),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_what_was_told_comes_out(parts: list[bytes | tuple[int, int]]) -> None:
    content = b"".join(
        part if isinstance(part, bytes) else BASE[part[0] : part[0] + part[1]] for part in parts
    )
    pieces: list[Piece] = [(len(part),) if isinstance(part, bytes) else part for part in parts]
    if content:
        assert join(render_pieces(content, pieces)) == content


def test_another_base_makes_no_file() -> None:
    told = render_pieces(b"new" + BASE[10:60], [(3,), (10, 50)])
    assert join(told) == b"new" + BASE[10:60]
    with pytest.raises(BundleError, match=r"model\.pieces: its pieces do not make the file"):
        join(told, BASE[::-1])


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        ({"size": 3, "pieces": [[3]]}, "sha256 is missing"),
        ({"size": 3, "sha256": "0" * 64, "pieces": [[3]], "more": 1}, "unknown key"),
        ({"size": 3, "sha256": "0" * 64, "pieces": 3}, "lists of one number or of two"),
        ({"size": 3, "sha256": "0" * 64, "pieces": [[-3, 3]]}, "lists of one number or of two"),
        ({"size": 3, "sha256": "0" * 64, "pieces": [[1, 1, 1]]}, "lists of one number or of two"),
        ({"size": 3, "sha256": "0" * 64, "pieces": [[True]]}, "lists of one number or of two"),
        ({"size": 4, "sha256": "0" * 64, "pieces": [[0, 3]]}, "not 4 bytes together"),
        ({"size": 2**30 + 1, "sha256": "0" * 64, "pieces": [[0, 2**30], [1]]}, "size"),
        ({"size": 2**30, "sha256": "0" * 64, "pieces": [[0, 2**30]]}, "more than it is made of"),
        ({"size": 3, "sha256": "0" * 64, "pieces": [[999, 3]]}, "do not make the file"),
    ],
)
def test_what_is_not_of_the_form_is_refused_with_its_reason(
    head: bytes | dict[str, object], reason: str
) -> None:
    line = head if isinstance(head, bytes) else json.dumps(head).encode()
    with pytest.raises(BundleError, match=reason) as refused:
        join(line + b"\nabc")
    assert str(refused.value).startswith("model.pieces: ")
