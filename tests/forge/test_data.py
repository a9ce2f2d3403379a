"""Readers, mixture, vocabulary and calibration: what training is fed, and what it decides by."""

from __future__ import annotations

import json
import lzma
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import DataError
from edge_agent.forge.data.augment import ValuePools, add_noise
from edge_agent.forge.data.examples import Example, Span, read_jsonl
from edge_agent.forge.data.features import IGNORED, Featurizer
from edge_agent.forge.data.folders import DataFolders
from edge_agent.forge.data.mixture import Mixture, WeightedSet
from edge_agent.forge.data.sources import read_section
from edge_agent.forge.data.vocabulary import SPECIAL_TOKENS, choose_vocabulary, read_lexicon
from edge_agent.forge.judging.calibrate import calibrate, calibration_error
from edge_agent.forge.recipe import DataSection, read_recipe
from edge_agent.inference.decode import softmax
from edge_agent.inference.tokenizer import WordPiece

KITCHEN = Example("turn on the kitchen light", "On", "en", (Span("area", 12, 19),), "t")
BATH = Example("lights on in the bath room", "On", "en", (Span("area", 17, 26),), "t")
CHAT = Example("tell me a joke", "out_of_scope", "en", (), "t")


def section(**changes: object) -> DataSection:
    fields: dict[str, object] = {
        "use": "train",
        "kind": "table",
        "label": "intent",
        "file": "set/a.jsonl",
        "lang": "en",
        "licence": "CC0",
    }
    return DataSection.model_validate(fields | changes)


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_foreign_labels_are_mapped_dropped_or_out_of_scope(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": "lamp off", "intent": "off"},
        {"text": "dim it", "intent": "dim"},
        {"text": "a joke", "intent": "joke"},
        {"text": "set a timer", "intent": "joke"},
    ]
    path = write_rows(tmp_path / "set/a.jsonl", rows)
    entry = section(map={"off": "HassTurnOff"}, drop=["dim"], drop_matching="timer")
    read = [(e.text, e.label, e.spans) for e in read_section(entry, path)]
    assert read == [("lamp off", "HassTurnOff", None), ("a joke", "out_of_scope", ())]


def test_a_set_of_which_nothing_is_left_is_an_error(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"text": "x", "intent": "dim"}])
    with pytest.raises(DataError, match="no sentence is left"):
        read_section(section(drop=["dim"]), path)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"text": ', encoding="utf-8")
    with pytest.raises(DataError, match="line 2"):
        list(read_jsonl(tmp_path / "a.jsonl"))


def test_data_with_another_checksum_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "set/a.jsonl", [{"text": "x", "intent": "y"}])
    with pytest.raises(DataError, match="sha256"):
        DataFolders(tmp_path, [tmp_path]).find(section(sha256="0" * 64))


def test_absent_data_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found") as error:
        DataFolders(tmp_path, [tmp_path]).find(section(file="nowhere.jsonl"))
    assert error.value.hint is not None
    assert "--data" in error.value.hint


def test_an_unknown_key_in_a_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("[training]\nstep = 3\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"training\.step|model"):
        read_recipe(tmp_path / "r.toml")


def test_swapping_values_moves_the_spans_along() -> None:
    pools = ValuePools([KITCHEN, BATH])
    made = {pools.swap(KITCHEN, 1.0, random.Random(seed)).text for seed in range(20)}
    assert made == {"turn on the kitchen light", "turn on the bath room light"}
    swapped = pools.swap(KITCHEN, 1.0, random.Random(1))
    assert swapped.text[swapped.spans[0].start : swapped.spans[0].end] in ("kitchen", "bath room")  # type: ignore[index]


@given(
    st.integers(0, 10_000),
    st.sampled_from(
        [KITCHEN, BATH, CHAT, Example("¿está la luz encendida?", "S", "es", (Span("state", 13, 22),), "t")]
    ),
)
def test_noise_never_changes_what_a_slot_says(seed: int, example: Example) -> None:
    noisy = add_noise(example, random.Random(seed))
    assert noisy.label == example.label
    before = [example.text[s.start : s.end].lower() for s in example.spans or ()]
    after = [noisy.text[s.start : s.end].lower() for s in noisy.spans or ()]
    assert after == before


def test_the_same_seed_draws_the_same_sentences() -> None:
    sets = [WeightedSet(3, [KITCHEN, BATH]), WeightedSet(1, [CHAT]), WeightedSet(0, [])]
    first = Mixture(sets, swap_share=0.5, noise_share=0.5, seed=4).draw(50)
    again = Mixture(sets, swap_share=0.5, noise_share=0.5, seed=4).draw(50)
    other = Mixture(sets, swap_share=0.5, noise_share=0.5, seed=5).draw(50)
    assert first == again
    assert first != other


def test_balance_decides_between_frequency_and_equality() -> None:
    common = [Example(f"common {n}", "common", "en", (), "t") for n in range(90)]
    rare = [Example(f"rare {n}", "rare", "en", (), "t") for n in range(10)]

    def share_of_rare(balance: float) -> float:
        mixture = Mixture(
            [WeightedSet(1, [*common, *rare])], swap_share=0, noise_share=0, seed=1, balance=balance
        )
        return sum(example.label == "rare" for example in mixture.draw(2_000)) / 2_000

    assert share_of_rare(1.0) == pytest.approx(0.1, abs=0.03)
    assert share_of_rare(0.0) == pytest.approx(0.5, abs=0.04)


def test_variety_keeps_weight_and_soft_labels_and_leaves_translated_sentences_alone() -> None:
    soft = replace(KITCHEN, weight=0.5, probabilities=(("On", 0.9), ("Off", 0.1)))
    translated = replace(KITCHEN, teacher_text="turn on the light")
    pools = ValuePools([KITCHEN, BATH])
    for seed in range(40):
        generator = random.Random(seed)
        varied = add_noise(pools.swap(soft, 1.0, generator), generator)
        assert (varied.weight, varied.probabilities) == (0.5, soft.probabilities)
        assert add_noise(pools.swap(translated, 1.0, generator), generator) == translated


def test_only_the_first_piece_of_a_word_carries_its_tag() -> None:
    tokens = [*SPECIAL_TOKENS, "on", "bath", "##room", "light"]
    featurizer = Featurizer(WordPiece(tokens), ["On"], ["O", "B-area", "I-area"], 16)
    example = Example("on bathroom light", "On", "en", (Span("area", 3, 17),), "t")
    features = featurizer(example)
    assert features.tags == (IGNORED, 0, 1, IGNORED, 2, IGNORED)


def test_sentences_without_annotation_teach_no_slots() -> None:
    featurizer = Featurizer(WordPiece([*SPECIAL_TOKENS, "on"]), ["On"], ["O", "B-area", "I-area"], 16)
    assert set(featurizer(Example("on on", "On", "en", None, "t")).tags) == {IGNORED}


def test_an_added_word_starts_as_its_translation() -> None:
    base = [
        *SPECIAL_TOKENS,
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
        "kitchen",
        "rare",
    ]
    rows = np.random.default_rng(0).normal(size=(len(base), 4)).astype(np.float32)
    chosen = choose_vocabulary(
        base, rows, ["the kitchen"], ["cocina cocina"], {"cocina": "kitchen"}, largest=1000
    )
    position = {token: index for index, token in enumerate(chosen.tokens)}
    assert chosen.added == 1
    np.testing.assert_array_equal(chosen.rows[position["cocina"]], rows[base.index("kitchen")])
    assert "rare" not in position
    assert set(SPECIAL_TOKENS) <= set(position)


def test_the_commonest_tokens_stay_where_a_recipe_asks_for_them() -> None:
    base = [*SPECIAL_TOKENS, "the", "rain", "rare"]
    rows = np.zeros((len(base), 2), np.float32)
    kept = [
        choose_vocabulary(base, rows, ["the"], [], {}, largest=largest, keep_commonest=7).tokens
        for largest in (1000, 6)
    ]
    assert kept == [(*SPECIAL_TOKENS, "the", "rain"), (*SPECIAL_TOKENS, "the")]


def test_calibration_finds_the_temperature_and_keeps_strangers_out() -> None:
    generator = np.random.default_rng(1)
    expected = generator.integers(0, 3, 600)
    logits = generator.normal(size=(600, 3)).astype(np.float32)
    logits[np.arange(600), expected] += 2.0
    strangers = generator.normal(scale=0.5, size=(200, 3)).astype(np.float32)
    strangers[:, 2] += 1.0  # the third label is out of scope
    all_logits = np.vstack([logits, strangers]) * 4  # far too sure of itself
    labels = np.concatenate([expected, np.full(200, 2)])
    found = calibrate(
        all_logits,
        labels,
        sources=["t"] * 800,
        out_of_scope=2,
        margin=0.05,
        accept_in_scope=0.5,
        accept_out_of_scope=0.05,
    )
    assert found.temperature > 1.5
    assert found.error_after < found.error_before
    assert calibration_error(softmax(all_logits, found.temperature), labels) == found.error_after


@pytest.mark.parametrize("content", ["{", "[1]", '{"oos_val": [["a"]]}', '{"oos_val": 1}', "3"])
def test_a_damaged_file_of_a_published_set_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "oos.json").write_text(content, encoding="utf-8")
    section = DataSection(use="dev", kind="clinc150", file="oos.json", lang="en", licence="CC0")
    with pytest.raises(DataError, match=r"oos\.json"):
        read_section(section, tmp_path / "oos.json")


def test_a_compressed_file_that_was_cut_is_said(tmp_path: Path) -> None:
    content = lzma.compress(b'{"text": "a", "intent": "b"}\n' * 100)
    (tmp_path / "a.jsonl.xz").write_bytes(content[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        list(read_jsonl(tmp_path / "a.jsonl.xz"))


@pytest.mark.parametrize("line", ["cocina", "cocina\t", "\tkitchen", "cocina\tkitchen\troom"])
def test_a_lexicon_line_that_translates_nothing_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "l.tsv"
    path.write_text(f"# a comment\nsala\tliving room\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3: expected a word, a tab and its translation"):
        read_lexicon(path)
