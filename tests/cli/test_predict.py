from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

import edge_agent as package
from tests.cli.command import DEADLINE_SECONDS, PROGRAM, assert_one_line_and_hint, edge_agent

FIELDS = [
    "id", "model", "version", "task", "lang", "recognized", "intent", "confidence", "alternatives", "slots",
    "truncated", "timing_ms", "energy_mj", "power_ok",
]  # fmt: skip


def test_a_text_gives_one_result_with_the_fields_of_the_protocol(tiny_folder: Path) -> None:
    done = edge_agent("predict", "--model", tiny_folder, "--lang", "en", "turn", "on", "the", "light")
    assert (done.code, done.err) == (0, "")
    result = json.loads(done.out)
    assert list(result) == FIELDS
    assert (result["model"], result["lang"], result["recognized"]) == ("tiny", "en", True)
    assert list(result["timing_ms"]) == ["queue", "tokenize", "invoke", "total"]


def test_the_command_answers_what_the_python_interface_answers(tiny_folder: Path) -> None:
    text = "apaga la luz"
    result = json.loads(edge_agent("predict", "--model", tiny_folder, text).out)
    with package.load(tiny_folder) as model:
        prediction = model.predict(text)
    assert result["intent"] == prediction.label
    assert result["confidence"] == pytest.approx(prediction.confidence, abs=1e-4)
    assert [slot["value"] for slot in result["slots"]] == [slot.value for slot in prediction.slots]


def test_each_line_of_stdin_gives_one_line_in_order_also_where_it_cannot_be_answered(
    tiny_folder: Path,
) -> None:
    done = edge_agent(
        "predict", "--model", tiny_folder, stdin=b"turn on the light\n \n\xff\xfe\r\napaga la luz\r\n"
    )
    results = [json.loads(line) for line in done.out.splitlines()]
    codes = [result.get("error", {}).get("code") for result in results]
    assert codes == [None, "empty_text", "bad_encoding", None]
    assert (done.code, done.err) == (1, "")


def test_no_lines_give_no_results(tiny_folder: Path) -> None:
    done = edge_agent("predict", "--model", tiny_folder)
    assert (done.code, done.out, done.err) == (0, "", "")


def test_top_k_limits_the_alternatives(tiny_folder: Path) -> None:
    done = edge_agent("predict", "--model", tiny_folder, "--top-k", "1", "turn on the light")
    assert len(json.loads(done.out)["alternatives"]) == 1


def test_a_name_is_looked_for_in_the_settings_folders_and_in_models(
    tiny_folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"[models]\ndirectories = {json.dumps([str(tiny_folder.parent)])}\n")
    by_settings = edge_agent("predict", "--config", config, "--model", "tiny", "turn on the light")
    shutil.copytree(tiny_folder, tmp_path / "models" / "any-folder-name")
    by_working_directory = edge_agent("predict", "--model", "tiny", "turn on the light", cwd=tmp_path)
    assert (by_settings.code, by_working_directory.code) == (0, 0)


def test_an_unknown_model_is_refused_with_the_names_that_are_known(tiny_folder: Path) -> None:
    directories = json.dumps([str(tiny_folder.parent)])
    done = edge_agent(
        "predict", "--model", "nobody", "x", environment={"EDGE_AGENT_MODELS__DIRECTORIES": directories}
    )
    assert (done.code, done.out) == (3, "")
    assert_one_line_and_hint(done)
    assert "nobody" in done.err
    assert "tiny" in done.err


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "foreign"])
def test_a_damaged_bundle_is_refused_with_the_file_and_the_reason(
    damage: str, tiny_folder: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "tiny"
    shutil.copytree(tiny_folder, bundle)
    vocabulary = bundle / "vocab.txt"
    content = vocabulary.read_bytes()
    if damage == "missing":
        vocabulary.unlink()
    elif damage == "truncated":
        vocabulary.write_bytes(content[:-10])
    elif damage == "altered":
        vocabulary.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    else:
        vocabulary = bundle / "extra.bin"
        vocabulary.write_bytes(b"?")
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    done = edge_agent("predict", "--model", bundle, "turn on the light")
    assert (done.code, done.out) == (3, "")
    assert_one_line_and_hint(done)
    assert vocabulary.name in done.err
    assert damage in done.err
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_on_a_terminal_the_answer_is_drawn_and_not_json(tiny_folder: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "predict", "--model", str(tiny_folder), "turn on the light"],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(theirs)
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert (process.returncode, err) == (0, b"")
    assert "HassTurnOn" in shown
    assert " ms" in shown
    assert "{" not in shown
