"""The pages tell the truth: links lead somewhere, commands and keys exist, examples do what they say."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from edge_agent.cli.demo import SENTENCES
from edge_agent.cli.main import app
from edge_agent.errors import ErrorCode
from edge_agent.forge import sections as recipes
from edge_agent.forge.data.corpus import read_corpus
from edge_agent.forge.data.folders import DataFolders
from edge_agent.forge.data.tables import read_table
from edge_agent.forge.plain import recipe_for
from edge_agent.forge.recipe import read_recipe
from edge_agent.link.envelope import Request, Timing, render_result
from edge_agent.settings import load_settings
from edge_agent.types import Prediction, Task

ROOT = Path(__file__).resolve().parents[1]
READMES = (ROOT / "README.md", ROOT / "README.es.md")
PAGES = (*READMES, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))

RECIPES = ROOT / "docs" / "recipes.md"
SECTIONS = (
    recipes.ModelSection,
    recipes.CardSection,
    recipes.DataSection,
    recipes.EncoderSection,
    recipes.VocabularySection,
    recipes.TrainingSection,
    recipes.StudentSection,
    recipes.LowBitSection,
    recipes.CalibrationSection,
    recipes.GateSection,
)

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")

CREDITS = {
    "banking77": "PolyAI-LDN/task-specific-datasets",
    "clinc150": "clinc/oos-eval",
    "fb_multilingual_task_oriented": "sz128/slot_filling_and_intent_detection_of_SLU",
    "hint3": "hellohaptik/HINT3",
    "home_assistant_intents": "OHF-Voice/intents",
    "home_llm_requests": "acon96/home-llm",
    "hwu64": "xliuhw/NLU-Evaluation-Data",
    "opener_hotel_sentiment": "jerbarnes/blse",
    "snips": "snipsco/nlu-benchmark",
    "xed_emotion": "Helsinki-NLP/XED",
}
"""Folder of a data set in a recipe → the repository that the README must name."""


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fences(page: Path, language: str) -> list[str]:
    return [body for name, body in _FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def settings_fences(page: Path) -> list[str]:
    """TOML of the daemon's settings; a recipe says in its first line that it is one."""
    return [body for body in fences(page, "toml") if "recipe" not in body.partition("\n")[0]]


def between(page: Path, marker: str) -> str:
    text = page.read_text(encoding="utf-8")
    return text.split(f"<!-- {marker} -->")[1].split(f"<!-- /{marker} -->")[0]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in _LINK.findall(text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(found), target


def commands_of(page: Path) -> Iterator[list[str]]:
    """Every `edge-agent …` of a page, in code blocks and in running text, as words."""
    text = page.read_text(encoding="utf-8")
    pieces = [line for _, body in _FENCE.findall(text) for line in body.replace("\\\n", " ").splitlines()]
    pieces += [piece.replace("\\|", "|") for piece in _INLINE.findall(_FENCE.sub("", text))]
    for piece in pieces:
        start = re.search(r"(?:^|[\s/])edge-agent (?=[a-z-])", piece)
        if start is not None and not piece.lstrip().startswith(("git", "sudo useradd", "sudo install")):
            yield shlex.split(piece[start.end() :].partition(" > ")[0].partition(" | ")[0])


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_and_option_that_is_named_exists(page: Path) -> None:
    for words in commands_of(page):
        command = typer.main.get_command(app)
        while words and hasattr(command, "commands"):
            if words[0] not in command.commands and hasattr(command, "default"):
                words.insert(0, command.default)
            if words[0].startswith("-"):
                break
            assert words[0] in command.commands, f"edge-agent … {words[0]}"
            command = command.commands[words.pop(0)]
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        named = {re.sub(r"[\[\]]", "", word) for word in words if word.lstrip("[").startswith("-")}
        assert named <= options, f"{command.name}: {named - options}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`|sudo )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_settings_example_is_accepted(page: Path, tmp_path: Path) -> None:
    examples = settings_fences(page)
    examples += re.findall(
        r"tee /etc/edge-agent/config\.toml <<'END'\n(.*?)^END$", page.read_text(), re.M | re.S
    )
    for number, example in enumerate(examples):
        file = tmp_path / f"{number}.toml"
        file.write_text(example, encoding="utf-8")
        load_settings(file)


def test_the_whole_recipe_of_the_page_reads_the_example_beside_it(tmp_path: Path) -> None:
    (example,) = (body for body in fences(RECIPES, "toml") if body.startswith("# recipe\n"))
    path = tmp_path / "clinic.toml"
    path.write_text(example, encoding="utf-8")
    corpus = read_corpus(read_recipe(path), DataFolders(tmp_path, [ROOT / "docs" / "examples"]))
    plain, folders = recipe_for([ROOT / "docs" / "examples" / "clinic.csv"])
    by_itself = read_corpus(plain, folders)
    assert [e.text for e in corpus.dev] == [e.text for e in by_itself.dev]
    assert corpus.labels == by_itself.labels
    assert plain.training.steps == read_recipe(path).training.steps


def test_the_parts_of_recipes_on_the_page_are_accepted(tmp_path: Path) -> None:
    whole = next(body for body in fences(RECIPES, "toml") if body.startswith("# recipe\n"))
    parts = [body for body in fences(RECIPES, "toml") if not body.startswith("# recipe\n")]
    assert len(parts) >= 3
    for number, part in enumerate(parts):
        own = set(re.findall(r"^\[(\w+)\]$", part, re.MULTILINE))
        rest = [
            table
            for table in re.split(r"^(?=\[)", whole, flags=re.MULTILINE)
            if table[1:].split("]")[0] not in own
        ]
        path = tmp_path / f"{number}.toml"
        path.write_text("".join(rest) + part, encoding="utf-8")
        read_recipe(path)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_of_a_recipe_is_on_its_page(section: type[BaseModel]) -> None:
    text = RECIPES.read_text(encoding="utf-8").partition("## Metrics")[0]
    for key, field in section.model_fields.items():
        row = re.search(rf"^\|[^|]*`{key}`[^|]*\|(.+)", text, re.MULTILINE)
        assert row is not None or f"`{key}`" in text, key
        if row is not None and isinstance(field.default, int | float) and not isinstance(field.default, bool):
            shown = re.findall(rf"^\|[^|]*`{key}`[^|]*\| `([^`]+)`", text, re.MULTILINE)
            assert any(float(value) == field.default for value in shown), (key, shown, field.default)


def test_the_example_file_is_what_its_page_says() -> None:
    table = read_table(ROOT / "docs" / "examples" / "clinic.csv")
    labels = Counter(row.values["label"] for row in table.rows)
    assert len(table.rows) == 240
    assert set(labels.values()) == {40}
    assert len({row.values["text"] for row in table.rows}) == 240


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_json_example_is_json(page: Path) -> None:
    for example in fences(page, "json"):
        json.loads(example)


@pytest.mark.parametrize("page", [*READMES, ROOT / "docs" / "protocol.md"], ids=page_id)
def test_the_example_of_a_result_has_the_keys_of_a_result(page: Path) -> None:
    prediction = Prediction("m", "1", Task.INTENT, False, None, 0.5, (), (), False, 0.0, 0.0)
    keys = list(render_result(prediction, Request("text"), Timing(0.0, 0.0)))
    examples = [json.loads(example) for example in fences(page, "json")]
    results = [example for example in examples if "recognized" in example]
    assert results
    assert all(list(example) == keys for example in results)


@pytest.mark.parametrize("page", [*READMES, ROOT / "docs" / "protocol.md"], ids=page_id)
def test_the_table_of_errors_has_every_code_and_no_other(page: Path) -> None:
    codes = [code.value for code in ErrorCode]
    rows = re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [row for row in rows if row in codes] == codes


@pytest.mark.parametrize("readme", READMES, ids=page_id)
def test_the_transcript_shows_the_sentences_of_the_demo(readme: Path) -> None:
    transcript = between(readme, "demo transcript")
    places = [transcript.find(sentence) for sentence in SENTENCES]
    assert -1 not in places
    assert places == sorted(places)
    assert f"{len(SENTENCES)} of {len(SENTENCES)} sentences answered." in transcript


def test_both_readmes_have_the_same_parts() -> None:
    parts = [
        [line.partition(" ")[0] for line in page.read_text().splitlines() if line[:2] in ("# ", "##")]
        for page in READMES
    ]
    assert parts[0] == parts[1]
    assert len(fences(READMES[0], "sh")) == len(fences(READMES[1], "sh"))
    for language in ("python", "text"):
        assert len(fences(READMES[0], language)) == len(fences(READMES[1], language))
    assert fences(READMES[0], "python") == fences(READMES[1], "python")
    assert between(READMES[0], "demo transcript") == between(READMES[1], "demo transcript")


def test_the_python_example_prints_what_its_comment_says() -> None:
    (example,) = fences(READMES[0], "python")
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.splitlines() == re.findall(r"^\s*# (.+)$", example, re.MULTILINE)


@pytest.mark.parametrize("readme", READMES, ids=page_id)
def test_every_data_set_of_the_recipe_is_credited(readme: Path) -> None:
    recipe = (ROOT / "models" / "recipes" / "home.toml").read_text(encoding="utf-8")
    folders = {file.partition("/")[0] for file in re.findall(r'^file = "([^"]+)"$', recipe, re.MULTILINE)}
    text = readme.read_text(encoding="utf-8")
    for folder in folders - {"home"}:
        assert f"https://github.com/{CREDITS[folder]}" in text, folder


def test_the_readmes_begin_with_what_must_be_installed() -> None:
    for readme in READMES:
        first = re.search(r"`?apt install [^`\n]+", readme.read_text(encoding="utf-8"))
        assert first is not None
        assert first[0].strip("`") == "apt install git make python3-venv"
