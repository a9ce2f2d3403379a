"""Tables as people have them: encodings, delimiters, columns, splits; and each damage with its sentence."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import DataError
from edge_agent.forge.data.corpus import read_corpus
from edge_agent.forge.data.examples import OUT_OF_SCOPE, UNLABELLED, Example, Span
from edge_agent.forge.data.features import IGNORED, Featurizer
from edge_agent.forge.data.folders import DataFolders
from edge_agent.forge.data.sources import read_section
from edge_agent.forge.data.splits import split_by_text, text_key
from edge_agent.forge.data.tables import read_table
from edge_agent.forge.recipe import DataSection, Recipe
from edge_agent.inference.tokenizer import WordPiece

CSV = "text,label\nwhere is my card,card\n"


def section(**changes: object) -> DataSection:
    fields: dict[str, object] = {
        "use": "train",
        "kind": "table",
        "file": "mine/a.csv",
        "lang": "en",
        "licence": "CC0",
        "others": "keep",
    }
    return DataSection.model_validate(fields | changes)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(folder: Path, rows: list[dict[str, object]], **changes: object) -> list[Example]:
    path = write(folder / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return read_section(section(file="mine/a.jsonl", **changes), path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.encode()),
        ("a.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("a.csv", CSV.encode("utf-16")),
        ("a.csv", b"\xfe\xff" + CSV.encode("utf-16-be")),
        ("a.csv", CSV.replace("\n", "\r\n").encode()),
        ("a.csv", CSV.replace(",", ";").encode()),
        ("a.csv", CSV.replace(",", "\t").encode()),
        ("a.csv.xz", lzma.compress(CSV.encode())),
        ("a.tsv", CSV.replace(",", "\t").encode()),
        ("a.jsonl", b'{"text": "where is my card", "label": "card"}\n\n'),
        ("a.jsonl.xz", lzma.compress(b'{"text": "where is my card", "label": "card"}')),
    ],
)
def test_the_same_row_is_read_from_every_kind_of_file(tmp_path: Path, name: str, content: bytes) -> None:
    examples = read_section(section(file=f"mine/{name}"), write(tmp_path / name, content))
    assert examples == [Example("where is my card", "card", "en", None, "mine")]


@pytest.mark.parametrize(
    ("name", "content", "reason", "remedy"),
    [
        ("a.csv", b"", "the file is empty", "header"),
        ("a.xlsx", b"PK", r"unknown kind \(\.xlsx\)", r"\.csv"),
        ("a.csv", b"text,label\nma\xf1ana,x\n", "line 2: not UTF-8: byte 0xf1 at offset 13", "iconv -f WIND"),
        ("a.csv", b"text,label\nhi\x00,x\n", "line 2: a NUL byte", "UTF-8"),
        ("a.csv", 'text,label\nfine,x\n"open,x\nnext,y\n', "line 3: a quote is opened", "close it"),
        ("a.csv", 'text,label\n"said" he,x\n', "line 2: something stands between", "twice"),
        ("a.csv", "text,label\nwell, yes,x\n", "line 2: 3 columns, the header has 2", "quotes"),
        ("a.csv", "text,label\nalone\n", "line 2: 1 columns", "quotes"),
        ("a.csv", f"text,label\n{'x' * 140_000},y\n", "line 2: a field of more than 131072", "quote"),
        ("a.csv", "text,text\na,b\n", "names a column twice: 'text'", ""),
        ("a.jsonl", '{"text": "x", "label": "y"}\n{"text": ', "line 2: not JSON", "whole object"),
        ("a.jsonl", "[1, 2]\n", "line 1: not a JSON object", ""),
        ("a.csv.xz", b"no archive", "cannot be read", ""),
    ],
)
def test_a_damaged_file_is_refused_with_its_line_and_the_remedy(
    tmp_path: Path, name: str, content: str | bytes, reason: str, remedy: str
) -> None:
    path = write(tmp_path / name, content)
    before = path.read_bytes()
    with pytest.raises(DataError, match=reason) as error:
        read_table(path)
    assert remedy.replace("\\", "") in (error.value.hint or "")
    assert path.read_bytes() == before


def test_an_absent_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "words,label\nhi,x\n")
    with pytest.raises(DataError, match="no column 'text'; its columns are 'words', 'label'"):
        read_section(section(), path)


def test_marks_of_quotation_in_a_tsv_are_ordinary_unless_they_pair_up(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.tsv", 'text\tlabel\n" a film that\tx\n"quoted" and not\ty\n')
    assert [row.values["text"] for row in read_table(plain).rows] == ['" a film that', '"quoted" and not']
    quoted = write(tmp_path / "b.tsv", 'text\tlabel\n"a\ttab"\tx\n')
    assert [row.values["text"] for row in read_table(quoted).rows] == ["a\ttab"]


def test_weight_language_and_soft_labels_are_read_where_a_file_has_them(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": "hola", "lang": "es", "weight": 0.5, "label": "hi"},
        {"text": "bye", "label": "", "probabilities": {"hi": 0.2, "bye": 0.8}},
        {"text": "bye now", "label": "bye", "probabilities": "[0.9, 0.1]"},
    ]
    first, second, third = rows_of(tmp_path, rows)
    assert (first.lang, first.weight, first.probabilities) == ("es", 0.5, None)
    assert (second.label, second.lang, second.weight) == ("bye", "en", 1.0)
    assert third.probabilities == (("bye", 0.9), ("hi", 0.1))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"weight": "heavy"}, "'weight' is not a number"),
        ({"weight": -1}, "'weight' is not a number"),
        ({"probabilities": {"other": 1.0}}, "names a label that no row has: 'other'"),
        ({"probabilities": {"x": 7}}, "not an object of label"),
        ({"probabilities": [0.5, 0.5]}, "lists 2 figures for 1 labels"),
        ({"probabilities": {"x": 0}}, "gives nothing"),
        ({"probabilities": "{x"}, "'probabilities' is not JSON"),
        ({"slots": {"area": "kitchen"}}, "not a list"),
        ({"slots": [{"type": "area", "start": "0", "end": 3}]}, "without"),
        ({"slots": [{"type": "a b", "start": 0, "end": 1}, {"type": "a/b", "start": 1, "end": 2}]}, "'a_b'"),
        ({"slots": [{"type": "区", "start": 0, "end": 1}]}, "Latin"),
        ({"text": ["list"]}, "'text' is not a text"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_its_line(
    tmp_path: Path, row: dict[str, object], reason: str
) -> None:
    with pytest.raises(DataError, match="line 1") as error:
        rows_of(tmp_path, [{"text": "abc", "label": "x", "slots": []} | row], slots=True)
    assert reason in str(error.value)
    assert "abc" not in str(error.value)


def test_slots_are_read_in_the_order_of_the_text_with_names_that_a_bundle_may_have(tmp_path: Path) -> None:
    slots = [{"type": "Weather/Noun", "start": 5, "end": 9}, {"name": "día", "start": 0, "end": 4}]
    (example,) = rows_of(tmp_path, [{"text": "hoy? rain", "label": "x", "slots": slots}], slots=True)
    assert example.spans == (Span("dia", 0, 4), Span("weather_noun", 5, 9))
    (without,) = rows_of(tmp_path, [{"text": "hoy? rain", "label": "x", "slots": slots}])
    assert without.spans is None


def test_rows_are_filtered_by_the_values_of_columns(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": "a", "label": "x", "fold": 1, "clean": True},
        {"text": "b", "label": "x", "fold": 2, "clean": True},
        {"text": "c", "label": "x", "fold": 1, "clean": False},
    ]
    assert [e.text for e in rows_of(tmp_path, rows, where={"fold": 1, "clean": True})] == ["a"]
    with pytest.raises(DataError, match="no column 'split'"):
        rows_of(tmp_path, rows, where={"split": "dev"})


@pytest.mark.parametrize(
    ("others", "labels"),
    [("keep", ["a", "q", "", "x"]), ("drop", ["a"]), ("out_of_scope", ["a", *["oos"] * 2])],
)
def test_labels_that_the_map_does_not_name_are_kept_dropped_or_out_of_scope(
    tmp_path: Path, others: str, labels: list[str]
) -> None:
    rows: list[dict[str, object]] = [
        {"text": str(n), "label": label} for n, label in enumerate(("A", "q", "", "gone", "x"))
    ]
    found = rows_of(tmp_path, rows, others=others, map={"A": "a"}, drop=["gone"])
    assert [e.label for e in found] == [OUT_OF_SCOPE if label == "oos" else label for label in labels]


def test_soft_labels_go_through_the_same_map(tmp_path: Path) -> None:
    row: dict[str, object] = {
        "text": "a",
        "label": "",
        "probabilities": {"pos": 0.5, "strpos": 0.25, "mixed": 0.25},
    }
    (example,) = rows_of(tmp_path, [row], map={"pos": "positive", "strpos": "positive"}, drop=["mixed"])
    assert example.label == "positive"
    assert example.probabilities == (("positive", 0.75),)


def test_soft_labels_of_which_dropping_leaves_nothing_leave_the_hard_one(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": "a", "label": "x", "probabilities": {"gone": 1, "x": 0}},
        {"text": "b", "label": "gone"},
    ]
    (example,) = rows_of(tmp_path, rows, drop=["gone"])
    assert (example.label, example.probabilities) == ("x", None)


def test_rows_without_a_label_are_for_training_only(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": "a", "label": ""}, {"text": "b", "label": "x"}]
    assert [e.label for e in rows_of(tmp_path, rows)] == [UNLABELLED, "x"]
    assert [e.label for e in rows_of(tmp_path, rows, use="dev")] == ["x"]


def test_a_limit_draws_the_same_rows_each_time_in_their_order(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": f"{n:03}", "label": "x"} for n in range(100)]
    first, second = (rows_of(tmp_path, rows, limit=10) for _ in range(2))
    assert first == second == sorted(first, key=lambda e: e.text)
    assert len(first) == 10


@given(
    st.lists(
        st.tuples(st.text("abAB á", min_size=1, max_size=4), st.sampled_from(["", "x", "y"])), min_size=1
    ),
    st.booleans(),
)
def test_the_parts_of_a_split_hold_every_row_once_and_never_share_a_text(
    rows: list[tuple[str, str]], stratified: bool
) -> None:
    examples = [Example(text, label, "en", None, "t", line=n) for n, (text, label) in enumerate(rows)]
    parts = split_by_text(examples, dev=0.3, test=0.2, stratified=stratified)
    assert sorted(e.line for part in parts.values() for e in part) == list(range(len(rows)))
    labelled = [{text_key(e.text) for e in part if e.label} for part in parts.values()]
    assert not labelled[0] & labelled[1]
    assert not (labelled[0] | labelled[1]) & labelled[2]
    if any(example.label for example in examples):
        assert all(e.label for use in ("dev", "test") for e in parts[use])


def test_a_text_keeps_its_place_when_the_file_grows() -> None:
    examples = [Example(f"text {n}", "x", "en", None, "t") for n in range(400)]
    few, many = (split_by_text(examples[:n], dev=0.1, test=0, stratified=False) for n in (200, 400))
    assert {e.text for e in few["dev"]} == {e.text for e in many["dev"]} & {e.text for e in examples[:200]}
    assert 20 <= len(many["dev"]) <= 60


def test_a_stratified_split_takes_at_least_one_row_of_every_label_with_five() -> None:
    examples = [
        Example(f"{label} {n}", label, "en", None, "t")
        for label, count in (("big", 100), ("five", 5), ("four", 4))
        for n in range(count)
    ]
    parts = split_by_text(examples, dev=0.15, test=0.1, stratified=True)
    counts = {u: [sum(e.label == n for e in p) for n in ("big", "five", "four")] for u, p in parts.items()}
    assert counts == {"train": [75, 3, 4], "dev": [15, 1, 0], "test": [10, 1, 0]}


def test_sections_of_one_file_take_its_three_parts(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    lines = "".join(f"sentence number {n},{'xy'[n % 2]}\n" for n in range(200))
    write(tmp_path / "mine/a.csv", "text,label\n" + lines)
    shares = {"hold_out": 0.15, "hold_out_test": 0.1, "stratified": True}
    recipe = Recipe.model_validate(
        {
            "model": {
                "name": "m",
                "version": "1.0.0",
                "task": "classify",
                "languages": ["en"],
                "licence": "x",
            },
            "encoder": {"origin": "none", "licence": "x"},
            "training": {"steps": 1},
            "data": [
                section(weight=1, **shares),
                section(use="dev", only_held_out=True, **shares),
                section(use="test", only_held_out=True, **shares),
            ],
        }
    )
    corpus = read_corpus(recipe, DataFolders(tmp_path, [tmp_path]))
    assert [len(corpus.training[0].examples), len(corpus.dev), len(corpus.test)] == [150, 30, 20]
    assert corpus.left_out == 0
    assert corpus.labels == ("x", "y")


def test_goemotions_becomes_three_polarities_and_what_is_unclear_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "labels.txt", "joy\nanger\nsurprise\nneutral\nlove\n")
    groups = {
        "positive": ["joy", "love"],
        "negative": ["anger"],
        "ambiguous": ["surprise"],
        "neutral": ["neutral"],
    }
    write(tmp_path / "sentiment_mapping.json", json.dumps(groups))
    lines = [("a", "0,4"), ("b", "1"), ("c", "3"), ("d", "2"), ("e", "0,1"), ("f", "0,3"), ('"g', "0")]
    path = write(tmp_path / "en.tsv", "".join(f"{text}\t{numbers}\tid\n" for text, numbers in lines))
    found = read_section(section(kind="goemotions"), path)
    assert [(e.text, e.label) for e in found] == [
        ("a", "positive"), ("b", "negative"), ("c", "neutral"), ('"g', "positive"),
    ]  # fmt: skip
    with pytest.raises(DataError, match="line 1: not text, label numbers and id"):
        read_section(section(kind="goemotions"), write(tmp_path / "en.tsv", "a\t9\tid\n"))


def test_parallel_sentences_carry_what_the_teacher_reads_and_no_label(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\ttranslation\nhola\thello\nsolo\t\n")
    (example,) = read_section(section(kind="parallel", file="p/a.tsv", lang="es"), path)
    assert example == Example("hola", UNLABELLED, "es", None, "p", teacher_text="hello")
    with pytest.raises(DataError, match="for training only"):
        read_section(section(kind="parallel", use="dev"), path)


def test_the_parts_of_clinc150_are_chosen_by_name(tmp_path: Path) -> None:
    content = {"val": [["a", "x"]], "oos_val": [["b", "oos"]], "test": [["c", "x"]]}
    path = write(tmp_path / "a.json", json.dumps(content))
    found = read_section(section(kind="clinc150", use="dev", parts=["val", "oos_val"]), path)
    assert [(e.label, e.spans) for e in found] == [("x", None), (OUT_OF_SCOPE, ())]
    assert [e.label for e in read_section(section(kind="clinc150", use="dev"), path)] == [OUT_OF_SCOPE]
    with pytest.raises(DataError, match="no part 'train'; its parts are val, oos_val, test"):
        read_section(section(kind="clinc150", parts=["train"]), path)


def test_features_hold_soft_labels_weight_and_the_teachers_sentence() -> None:
    words = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hola", "hello", "you"])
    featurizer = Featurizer(words, ["a", "b"], [], 4)
    soft = featurizer(Example("hola", "b", "es", None, "t", 0.5, (("b", 1.5), ("a", 0.5))))
    assert (soft.label, soft.weight, soft.probabilities, soft.teacher_ids) == (1, 0.5, (0.25, 0.75), None)
    parallel = featurizer(Example("hola", UNLABELLED, "es", None, "t", teacher_text="hello you you"))
    assert parallel.label == IGNORED
    assert parallel.teacher_ids == (2, 6, 7, 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "secret \\ud83d", "label": "x"}', "half a character"),
        ('{"text": ' + "[" * 100_000, "not JSON"),
        ('{"text": "secret", "label": "x", "slots": "' + "[" * 100_000 + '"}', "is not JSON"),
    ],
)
def test_hostile_lines_are_refused_without_their_text(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": "y"}\n' + line + "\n", encoding="utf-8")
    section = DataSection(
        use="train", kind="table", file="a.jsonl", lang="en", licence="CC0", slots="slots" in line
    )
    with pytest.raises(DataError, match=message) as caught:
        read_section(section, path)
    assert "line 2" in str(caught.value)
    assert "secret" not in str(caught.value)
