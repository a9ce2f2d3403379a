"""A recipe is refused by the name of what is wrong in it, before anything is read or trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import DataError
from edge_agent.forge.recipe import StudentSection, read_recipe, with_student
from tests.forge.judged import recipe as toy

HOME = Path(__file__).parents[2] / "models" / "recipes" / "home.toml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "home"', 'name = "My Home"', "lower case letters"),
        ("version = ", "version = 'one' #", "not of the form 1.2.3"),
        ("languages = ", "languages = [] #", "model.languages"),
        ("languages = ", "languages = ['en', 'en'] #", "languages names one twice"),
        ("[training]", "[trainings]", "did you mean training"),
        ("seed = ", "seeds = ", "did you mean seed"),
    ],
)
def test_what_a_bundle_would_refuse_is_refused_in_the_recipe(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = HOME.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "r.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_recipe(tmp_path / "r.toml")
    assert message in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"drop_matching": "("}, "not a regular expression"),
        ({"address": "http://example.org/a.csv", "sha256": "0" * 64}, "https only"),
        ({"address": "https://example.org/a.csv"}, "needs sha256"),
        ({"file": "../../a.csv", "address": "https://example.org/a.csv", "sha256": "0" * 64}, "plain path"),
        ({"file": "/etc/a.csv", "address": "https://example.org/a.csv", "sha256": "0" * 64}, "plain path"),
    ],
)
def test_a_data_section_is_refused_by_its_entry(entry: dict[str, Any], message: str) -> None:
    section = {"use": "train", "kind": "table", "file": "a.csv", "lang": "en", "licence": "CC0"}
    with pytest.raises(ValueError, match=message):
        toy(data=[{**section, **entry}])


@pytest.mark.parametrize("name", ["run", "report", "began_with", "a.b", "teacher", ""])
def test_a_model_is_not_called_as_a_file_of_the_run_folder_is(name: str) -> None:
    with pytest.raises(DataError):
        with_student(toy(), StudentSection(name=name, layers=1))
