"""Singular JSONPath queries, after RFC 9535's own examples."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.json_path import JsonPath

VALUE = {
    "body": "text",
    "o": {"j j": {"k.k": 3}},
    "'": {"@": 2},
    "a": ["first", ["x"], {"y": "last"}],
    "ñ☺": 1,
    '"': 5,
    "\\": 6,
    "\u263a\U0001f600": 7,
    "null": None,
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", VALUE),
        ("$.body", "text"),
        ("$.o['j j']", {"k.k": 3}),
        ("$.o['j j']['k.k']", 3),
        ('$.o["j j"]["k.k"]', 3),
        ('$["\'"]["@"]', 2),
        (r"$['\'']['@']", 2),
        ("$.a[0]", "first"),
        ("$.a[-1].y", "last"),
        ("$ .a [ 1 ]\n[0]", "x"),
        ("$.ñ☺", 1),
        ("$['\"']", 5),
        (r'$["\""]', 5),
        (r"$['\\']", 6),
        (r"$['\u263a\uD83D\uDE00']", 7),
        ("$.null", None),
    ],
)
def test_a_path_leads_to_its_place(path: str, found: object) -> None:
    assert JsonPath.parse(path).find(VALUE) == found


@pytest.mark.parametrize(
    "path",
    [
        "$.no",
        "$.body.x",
        "$.body[0]",
        "$.a.first",
        "$.a[3]",
        "$.a[-4]",
        "$.null.x",
        "$.o[0]",
        "$['0']",
        "$[0]",
    ],
)
def test_a_place_that_is_not_there_is_named_as_such(path: str) -> None:
    with pytest.raises(LookupError):
        JsonPath.parse(path).find(VALUE)


@pytest.mark.parametrize(
    "path",
    ["", "body", ".body", " $.a", "$body", "$.", "$..body", "$.*", "$[*]", "$[1:2]", "$['a','b']", "$[?@.a]",
     "$.a ", "$[01]", "$[-0]", "$[1.0]", "$[9007199254740992]", "$['a]", "$[a]", "$[]", "$.1", "$.a-b",
     "$.\ud800", r"$['\x']", r"$['\"']", """$["\\'"]""", r"$['\ud800']", "$['\x01']", "$.a" * 17,
     "$" + ".a" * 17, "$['" + "a" * 1100 + "']"],
)  # fmt: skip
def test_what_is_no_singular_query_is_refused_with_words(path: str) -> None:
    with pytest.raises(ValueError, match=r"^(does|is|has) "):
        JsonPath.parse(path)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8"), max_size=10)
        | st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1),
        max_size=16,
    )
)
def test_a_path_in_normal_form_is_read_back(steps: list[str | int]) -> None:
    path = "$" + "".join(f"[{json.dumps(step)}]" for step in steps)
    if len(path) <= 1024:
        assert JsonPath.parse(path).steps == tuple(steps)


@given(st.text(max_size=40))
def test_any_string_is_a_path_or_refused(path: str) -> None:
    try:
        parsed = JsonPath.parse("$" + path)
    except ValueError:
        return
    assert all(isinstance(step, str | int) for step in parsed.steps)
