"""Problems of a data set are found and said in words, and the words never contain a text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.errors import DataError
from edge_agent.forge.data.checks import Finding, check_lengths, find_problems
from edge_agent.forge.data.corpus import read_corpus
from edge_agent.forge.data.examples import UNLABELLED, Example, Span
from edge_agent.forge.data.folders import DataFolders
from edge_agent.forge.data.languages import guess_language, guess_language_of_all
from edge_agent.forge.recipe import Recipe


def rows(label: str, count: int, start: str = "secret") -> list[Example]:
    return [
        Example(f"{start} {'abcdefghijklmnopqrstuvwxyz'[n]} {label}", label, "en", (), "mine", line=n + 2)
        for n in range(count)
    ]


def row(text: str, label: str = "x", **changes: object) -> Example:
    fields: dict[str, object] = {"lang": "en", "spans": (), "source": "mine", "line": 9}
    return Example(text, label, **(fields | changes))  # type: ignore[arg-type]


GOOD = [*rows("x", 8), *rows("y", 8)]


def found(
    training: list[Example], dev: list[Example] | None = None, test: list[Example] | None = None
) -> list[Finding]:
    findings = find_problems([*GOOD, *training], dev or [], test or [])
    assert not any("secret" in finding.message for finding in findings)
    return list(findings)


def one(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def test_nothing_is_said_of_good_data() -> None:
    assert found([], rows("x", 3, "other"), rows("y", 3, "third")) == []


def test_a_text_in_training_and_in_dev_is_found_whatever_its_case_and_spaces() -> None:
    finding = one(found([row("Secret  Thing")], [row("secret thing")]))
    assert (finding.severity, finding.examples) == ("note", 1)
    assert "because dev has them too: 1 row" in finding.message


def test_a_text_of_training_with_other_numbers_or_order_is_a_near_duplicate() -> None:
    finding = one(found([row("secret: wake me at 7")], [row("wake me at 9 (secret)")]))
    assert "differing from a text of training only in numbers" in finding.message
    assert finding.severity == "warning"


def test_dev_and_test_that_share_a_text_are_a_warning() -> None:
    assert "no longer unseen" in one(found([], [row("secret both")], [row("secret both")])).message


def test_rows_that_repeat_others_are_counted() -> None:
    assert one(found([row("secret a x")])).examples == 1
    assert one(found([row("secret a x")] * 3)).severity == "warning"


def test_a_text_with_two_labels_is_named_by_its_labels_and_lines() -> None:
    finding = one(found([row("secret A x", "y")]))
    assert finding.message == "more than one label: 1 text, most often 'x' and 'y' (1) (mine lines 2, 9)"


def test_labels_with_few_rows_and_labels_that_training_lacks_are_named() -> None:
    findings = found(rows("rare", 4), rows("new", 2))
    assert [f.message for f in findings] == [
        "1 label with fewer than 5 training rows: 'rare'",
        "2 rows of dev with labels that training lacks: 'new'",
    ]


def test_labels_of_templates_count_as_taught() -> None:
    assert find_problems(GOOD, rows("new", 2), template_labels={"new"}) == ()


def test_labels_that_differ_only_in_writing_are_twins() -> None:
    findings = found([*rows("Lost card", 6, "secret one"), *rows("lost_card", 6, "secret two")])
    assert "'Lost card' / 'lost_card'" in one(findings).message


def test_a_label_that_is_nearly_everything_is_a_warning() -> None:
    many = [row(f"secret {n:b}".replace("0", "o").replace("1", "l")) for n in range(100)]
    assert "look at F1" in one(found(many)).message


def test_languages_that_contradict_what_is_said_are_counted() -> None:
    spanish = [row(f"¿dónde está la llave de {name}?") for name in ("ana", "eva", "luz", "sol", "mar")]
    finding = one(found(spanish))
    assert finding.message.startswith("said to be 'en', looking like 'es': 5 rows")


def test_soft_labels_that_do_not_sum_to_one_are_a_warning() -> None:
    finding = one(found([row("secret soft", probabilities=(("x", 0.9), ("y", 0.3)))]))
    assert "do not sum to 1" in finding.message


@pytest.mark.parametrize(
    "spans",
    [(Span("a", 0, 99),), (Span("a", 3, 3),), (Span("a", 0, 6), Span("b", 4, 8)), (Span("a", -1, 2),)],
)
def test_slots_that_do_not_fit_the_text_are_an_error(spans: tuple[Span, ...]) -> None:
    finding = one(found([row("secret place", spans=spans)]))
    assert (finding.severity, finding.examples) == ("error", 1)
    assert "mine line 9" in finding.message


def test_a_slot_that_cuts_a_word_is_a_warning() -> None:
    assert "inside a word" in one(found([row("secret place", spans=(Span("a", 2, 6),))])).message


def test_texts_beyond_the_models_length_are_counted_and_windows_are_no_harm() -> None:
    def count(text: str) -> int:
        return len(text.split()) + 2

    examples = [*GOOD, row("one two three four")]
    cut = one(list(check_lengths(examples, count, max_tokens=5)))
    assert (cut.severity, cut.examples) == ("warning", 1)
    assert one(list(check_lengths(examples, count, max_tokens=5, windows=True))).severity == "note"
    assert check_lengths(examples, count, max_tokens=6) == ()


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("turn on the lights in the kitchen", "en"),
        ("¿dónde está la llave de mi casa?", "es"),
        ("ich habe die Rechnung nicht bekommen und warte", "de"),
        ("lights off", None),
        ("", None),
    ],
)
def test_languages_are_guessed_only_where_they_are_clear(text: str, language: str | None) -> None:
    assert guess_language(text) == language
    assert guess_language_of_all([text, "the end of it", "la casa"]) in ("en", language)


def recipe(*data: dict[str, object]) -> Recipe:
    return Recipe.model_validate(
        {
            "model": {"name": "m", "version": "1.0.0", "task": "intent", "languages": ["en"], "licence": "x"},
            "encoder": {"origin": "none", "licence": "x"},
            "training": {"steps": 1},
            "data": [
                {"kind": "table", "lang": "en", "licence": "x", "others": "keep"} | entry for entry in data
            ],
        }
    )


def test_a_corpus_holds_its_findings_and_leaves_out_what_leaks_or_is_empty(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\na b,x\nc d,y\nC  d,y\n ,x\n", encoding="utf-8")
    (tmp_path / "d.csv").write_text("text,label\nc d,y\n", encoding="utf-8")
    made = recipe({"use": "train", "file": "t.csv", "weight": 1}, {"use": "dev", "file": "d.csv"})
    corpus = read_corpus(made, DataFolders(tmp_path, [tmp_path]))
    assert [e.text for e in corpus.training[0].examples] == ["a b"]
    assert corpus.left_out == 2
    assert any("1 row without a text, left out (t.csv line 5)" in f.message for f in corpus.findings)


def test_a_corpus_with_slots_beside_the_text_is_refused(tmp_path: Path) -> None:
    bad = {"text": "secret", "label": "x", "slots": [{"type": "a", "start": 4, "end": 40}]}
    (tmp_path / "t.jsonl").write_text(
        json.dumps(bad) + '\n{"text": "b", "label": "y", "slots": []}\n', "utf-8"
    )
    made = recipe({"use": "train", "file": "t.jsonl", "weight": 1, "slots": True})
    with pytest.raises(DataError, match=r"1 row with slots .* \(t\.jsonl line 1\)") as error:
        read_corpus(made, DataFolders(tmp_path, [tmp_path]))
    assert "secret" not in str(error.value)
    assert error.value.hint


def test_rows_without_a_label_never_become_a_label(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\na,x\nb,y\nc,\n", encoding="utf-8")
    corpus = read_corpus(
        recipe({"use": "train", "file": "t.csv", "weight": 1}), DataFolders(tmp_path, [tmp_path])
    )
    assert corpus.labels == ("x", "y")
    assert [e.label for e in corpus.training[0].examples][-1] == UNLABELLED
