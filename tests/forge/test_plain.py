"""A file without a recipe is understood, or refused with one sentence and its remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.errors import DataError
from edge_agent.forge.data.corpus import Corpus, read_corpus
from edge_agent.forge.data.examples import OUT_OF_SCOPE
from edge_agent.forge.plain import recipe_for
from edge_agent.forge.recipe import Recipe


def rows(*labels: str, each: int = 20, text: str = "text", label: str = "label", delimiter: str = ",") -> str:
    lines = [f"{text}{delimiter}{label}"]
    lines += [f"this is the {n} secret {name}{delimiter}{name}" for name in labels for n in range(each)]
    return "\n".join(lines) + "\n"


def made(path: Path, content: str | bytes, **options: object) -> tuple[Recipe, Corpus, list[str]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said: list[str] = []
    recipe, folders = recipe_for([path], say=said.append, **options)  # type: ignore[arg-type]
    return recipe, read_corpus(recipe, folders), said


def test_a_csv_becomes_a_recipe_with_a_dev_part_of_every_label(tmp_path: Path) -> None:
    recipe, corpus, said = made(tmp_path / "Hotel Opinions.csv", rows("good", "bad"))
    assert (recipe.model.name, recipe.model.task, recipe.model.languages) == (
        "hotel-opinions", "classify", ("en",),
    )  # fmt: skip
    assert corpus.labels == ("bad", "good")
    assert len(corpus.training[0].examples) == 34
    assert sorted(example.label for example in corpus.dev) == ["bad"] * 3 + ["good"] * 3
    assert corpus.test == ()
    assert (recipe.training.steps, recipe.student, recipe.model.ship) == (200, (), "teacher")
    assert "Hotel Opinions.csv: train, text from column 'text', label from 'label'" in said
    assert "15% of each label is held out as dev" in said
    assert not any("secret" in sentence for sentence in said)


def test_a_file_of_more_than_a_thousand_rows_has_a_test_part_too(tmp_path: Path) -> None:
    recipe, corpus, _ = made(tmp_path / "a.csv", rows("a", "b", each=600))
    assert [len(corpus.training[0].examples), len(corpus.dev), len(corpus.test)] == [840, 180, 180]
    assert recipe.training.steps == 375  # ten passes


def test_few_rows_start_from_a_probe_and_many_do_not(tmp_path: Path) -> None:
    few, _, _ = made(tmp_path / "few.csv", rows("a", "b", each=1_000))
    many, _, _ = made(tmp_path / "many.csv", rows("a", "b", each=1_001))
    assert few.training.head_from_probe
    assert few.training.head_learning_rate < many.training.head_learning_rate
    assert not many.training.head_from_probe


def test_small_adds_a_student_and_ships_it(tmp_path: Path) -> None:
    recipe, _, _ = made(tmp_path / "a.csv", rows("a", "b"), small=True)
    (student,) = recipe.student
    assert (student.name, student.layers, student.intermediate) == ("small", 3, 1152)
    assert student.steps == 400  # it has no such start
    assert recipe.model.ship == "small"


@pytest.mark.parametrize(
    ("text", "label", "delimiter", "name"),
    [
        ("sentence", "intent", ",", "a.csv"),
        ("Review", "Sentiment", ";", "a.csv"),
        ("message", "Category", "\t", "a.tsv"),
        ("Reseña", "Categoría", ",", "a.csv"),
        ("what they wrote", "label", ",", "a.csv"),
        ("text", "desk", ",", "a.csv"),
    ],
)
def test_columns_are_found_by_their_usual_names(
    tmp_path: Path, text: str, label: str, delimiter: str, name: str
) -> None:
    _, corpus, said = made(tmp_path / name, rows("x", "y", text=text, label=label, delimiter=delimiter))
    assert corpus.labels == ("x", "y")
    assert any(f"text from column {text!r}, label from {label!r}" in sentence for sentence in said)


def test_slots_make_the_task_intent_and_soft_labels_need_no_label(tmp_path: Path) -> None:
    entries = [
        {
            "text": f"lamp {n} {name}",
            "probabilities": {"on": 0.9 if name == "on" else 0.2, "off": 0.1 if name == "on" else 0.8},
            "slots": [{"type": "Name", "start": 0, "end": 4}],
            "lang": "en",
        }
        for n in range(10)
        for name in ("on", "off")
    ]
    recipe, corpus, said = made(tmp_path / "a.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries))
    assert recipe.model.task == "intent"
    assert corpus.labels == ("off", "on")
    assert corpus.slot_tags == ("O", "B-name", "I-name")
    assert any("labels from 'probabilities', slots" in sentence for sentence in said)
    assert all(example.probabilities for example in corpus.training[0].examples)


def test_out_of_scope_is_known_by_its_usual_names_and_languages_are_guessed(tmp_path: Path) -> None:
    content = rows("x", "oos").replace("this is the", "esta es la llave de")
    recipe, corpus, _ = made(tmp_path / "a.csv", content)
    assert corpus.labels == ("x", OUT_OF_SCOPE)
    assert recipe.model.languages == ("es",)


def test_a_language_column_wins(tmp_path: Path) -> None:
    lines = ["text,label,lang"] + [
        f"secret {n} {x},{x},{'es' if n % 2 else 'en'}" for n in range(9) for x in "xy"
    ]
    recipe, corpus, _ = made(tmp_path / "a.csv", "\n".join(lines))
    assert recipe.model.languages == ("en", "es")
    assert {example.lang for example in corpus.training[0].examples} == {"en", "es"}


def test_files_named_dev_and_test_are_taken_as_that(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    paths = [tmp_path / "mine" / name for name in ("train.csv", "hotel-dev.csv", "test.csv")]
    for number, path in enumerate(paths):
        path.write_text(rows("x", "y").replace("secret", f"secret{'abc'[number]}"), encoding="utf-8")
    recipe, folders = recipe_for(paths)
    corpus = read_corpus(recipe, folders)
    assert [len(corpus.training[0].examples), len(corpus.dev), len(corpus.test)] == [40, 40, 40]
    assert recipe.model.name == "mine"
    assert [section.file for section in recipe.data] == ["train.csv", "hotel-dev.csv", "test.csv"]


def test_large_data_is_passed_once_and_long_texts_have_fewer_steps_and_windows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(rows("a", "b", each=35_000), encoding="utf-8")
    large, _ = recipe_for([tmp_path / "a.csv"])
    assert 2_000 < large.training.steps <= 4_000
    content = rows("a", "b", each=3_000).replace("secret", "secret " * 100)
    (tmp_path / "b.csv").write_text(content, encoding="utf-8")
    long, _ = recipe_for([tmp_path / "b.csv"])
    assert 400 <= long.training.steps < 700
    assert long.model.beyond == "window"


@pytest.mark.parametrize(
    ("name", "content", "reason", "remedy"),
    [
        ("a.csv", b"", "the file is empty", "header"),
        ("a.csv", "text,label\n", "a header and no rows", "each further line"),
        ("a.csv", "my secret text,buy\nthe secret,buy\n", "its first line is not a header", "text,label"),
        ("a.csv", "hi,buy\nsecret,buy\n", "its first line is not a header", "text,label"),
        ("a.csv", "nr,words,colour\n1,secret,red\n", "as the text; it has 'nr', 'words', 'colour'", "'text'"),
        ("a.csv", "text,colour,size\nsecret,red,1\n", "no column is recognised as the label", "'label'"),
        ("a.csv", rows("buy"), "every row has the same label, 'buy'", "at least one other"),
        ("a.csv", rows("a", "b", "c", each=1), "none of them has 5 rows", "20 are better"),
        ("a.csv", "text,label\nsecret,\n", "no row has a text and a label", "fill"),
        ("a.csv", rows("año", "b").encode("cp1252"), "line 2: not UTF-8: byte 0xf1", "iconv -f WIN"),
        ("a.csv", rows("a", "b").encode("utf-16-le"), "a NUL byte", "save it as UTF-8"),
        ("a.csv", 'text,label\n"secret,buy\nfine,sell\n', "a quote is opened and never closed", "close"),
        ("a.csv", "text,label\nwell, secret,buy\n", "line 2: 3 columns", "quotes"),
        ("a.jsonl", '{"text": "secret"', "line 1: not JSON", "one whole object"),
        ("a.jsonl", '{"text": "secret", "label": "x", "probabilities": {"z": 1}}', "has: 'z'", "spell"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_remedy(
    tmp_path: Path, name: str, content: str | bytes, reason: str, remedy: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        recipe_for([path])
    assert reason in str(error.value)
    assert remedy in (error.value.hint or "")
    assert "secret" not in f"{error.value}{error.value.hint}"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_missing_file_and_an_impossible_name_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        recipe_for([tmp_path / "none.csv"])
    (tmp_path / "a.csv").write_text(rows("a", "b"), encoding="utf-8")
    with pytest.raises(DataError, match="cannot be a model's name"):
        recipe_for([tmp_path / "a.csv"], name="My Model")
