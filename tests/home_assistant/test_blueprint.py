"""The blueprint against the model that it serves: every intent has an end, every input a use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/home-assistant"
TEXT = (FOLDER / "edge-agent-home.yaml").read_text(encoding="utf-8")
MANIFEST = json.loads((ROOT / "models/home/bundle.json").read_text(encoding="utf-8"))


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads ``!input name`` as the text ``!input name``."""


_Loader.add_constructor("!input", lambda loader, node: f"!input {node.value}")
BLUEPRINT: dict[str, Any] = yaml.load(TEXT, _Loader)
VARIABLES = BLUEPRINT["variables"]
COVERED = {*VARIABLES["domains"], *VARIABLES["told"], *VARIABLES["nothing"]}


def _table(before: str) -> list[str]:
    """The intents in the first column of the README's first table after a line."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8").partition(before)[2]
    table = text.partition("\n|")[2].partition("\n\n")[0]
    return [name for row in table.splitlines() for name in re.findall(r"`(Hass\w+)`", row.split(" | ")[0])]


def test_every_intent_of_the_model_is_covered_or_said_to_be_unsupported() -> None:
    labels = set(MANIFEST["labels"]) - {MANIFEST["out_of_scope"]}
    covered, unsupported = _table("Of the 41 intents"), _table('Answered "not supported":')
    assert sorted(covered + unsupported) == sorted(labels)
    assert set(covered) == COVERED


def test_every_intent_that_does_something_has_an_action() -> None:
    doing = set(VARIABLES["domains"]) - set(VARIABLES["told"])
    assert doing == set(VARIABLES["actions_of"])
    for intent, actions in VARIABLES["actions_of"].items():
        assert "any" in actions
        assert set(actions) - {"any"} <= set(VARIABLES["domains"][intent])


def test_every_input_is_declared_and_used() -> None:
    used = set(re.findall(r"!input (\w+)", TEXT))
    assert used == set(BLUEPRINT["blueprint"]["input"])


def test_both_languages_have_the_same_texts() -> None:
    assert set(VARIABLES["texts"]["en"]) == set(VARIABLES["texts"]["es"])
    assert sorted(VARIABLES["texts"]) == sorted(MANIFEST["languages"])


@pytest.mark.parametrize("words", ["skip", "kinds", "down", "colours", "numbers"])
def test_words_are_written_as_they_are_compared_without_accents_and_capitals(words: str) -> None:
    assert all(isinstance(word, str) and re.fullmatch(r"[a-z]+", word) for word in VARIABLES[words])


def test_the_default_confidence_is_the_models_own_threshold() -> None:
    default = BLUEPRINT["blueprint"]["input"]["confidence"]["default"]
    assert default == MANIFEST["calibration"]["threshold"]
