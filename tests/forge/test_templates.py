"""The template grammar: what it makes, and how it refuses what it can't read."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edge_agent.errors import DataError
from edge_agent.forge.data.templates import Grammar, read_grammar


def grammar(
    folder: Path, *sentences: str, lists: str = 'area = ["kitchen", "living room"]\nlevel = ["0..100/50"]'
) -> Grammar:
    path = folder / "en.toml"
    quoted = ", ".join(repr(sentence) for sentence in sentences)
    path.write_text(
        f"[lists]\n{lists}\n[[intent]]\nlabel = 'Light'\nsentences = [{quoted}]\n", encoding="utf-8"
    )
    return read_grammar(path, "en")


def sample(made: Grammar, count: int = 200) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    examples = made.sample("Light", count, random.Random(1))
    return {(e.text, tuple((s.name, e.text[s.start : s.end]) for s in e.spans or ())) for e in examples}


def test_every_way_of_saying_is_made_with_its_slots(tmp_path: Path) -> None:
    made = sample(grammar(tmp_path, "(turn|switch) on [the] {area} light"))
    assert {text for text, _ in made} == {
        f"{verb} on {the}{area} light"
        for verb in ("turn", "switch")
        for the in ("", "the ")
        for area in ("kitchen", "living room")
    }
    assert all(slots == (("area", "living room" if "living" in text else "kitchen"),) for text, slots in made)


def test_lists_can_fill_other_slots_or_none_and_literals_can_be_slots(tmp_path: Path) -> None:
    made = sample(grammar(tmp_path, "<area> {area:name} to {level:brightness}% or {=max|full:brightness}"))
    names = {name for _, slots in made for name, _ in slots}
    values = {value for _, slots in made for name, value in slots if name == "brightness"}
    assert names == {"name", "brightness"}
    assert values == {"0", "50", "100", "max", "full"}


def test_the_same_seed_makes_the_same_sentences(tmp_path: Path) -> None:
    made = grammar(tmp_path, "(a|b|c) {area} (d|e)")
    assert made.sample("Light", 20, random.Random(7)) == made.sample("Light", 20, random.Random(7))


def test_an_optional_part_leaves_no_double_space(tmp_path: Path) -> None:
    assert {text for text, _ in sample(grammar(tmp_path, "all [of] [the] lights"))} == {
        "all lights", "all of lights", "all the lights", "all of the lights",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("turn (on|off", "')' is missing"),
        ("turn on]", "without its partner"),
        ("{room}", "no list is called 'room'"),
        ("{area", "'}' is missing"),
    ],
)
def test_a_broken_template_is_named_with_its_reason(tmp_path: Path, sentence: str, reason: str) -> None:
    with pytest.raises(DataError) as error:
        grammar(tmp_path, sentence)
    assert reason in str(error.value)
    assert "en.toml" in str(error.value)
