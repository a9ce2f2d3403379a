from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path
from typing import Any

import pytest

import edge_agent as package
from edge_agent.inference.bundle import write_bundle
from tests.cli.command import Done, assert_one_line_and_hint, edge_agent

ROWS: list[dict[str, Any]] = [
    {"text": "turn on the light", "lang": "en", "intent": "HassTurnOn", "slots": {}},
    {"text": "apaga la luz", "lang": "es", "intent": "HassTurnOff"},
    {"text": "turn on the light", "lang": "en", "intent": None},
]


def _evaluate(model: Path, *files: Path) -> Done:
    return edge_agent("model", "eval", "--model", model, *(f"--data={file}" for file in files), "--json")


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_list_names_each_model_once_and_the_first_folder_wins(tiny_folder: Path, tmp_path: Path) -> None:
    second = tmp_path / "second" / "tiny"
    shutil.copytree(tiny_folder, second)
    directories = json.dumps([str(tiny_folder.parent), str(second.parent)])
    done = edge_agent("model", "list", "--json", environment={"EDGE_AGENT_MODELS__DIRECTORIES": directories})
    listed = {model["name"]: model for model in json.loads(done.out)}
    assert listed["tiny"] == {"name": "tiny", "version": "1.0.0", "path": str(tiny_folder)}


def test_verify_says_that_a_model_is_well(tiny_folder: Path) -> None:
    done = edge_agent("model", "verify", tiny_folder, "--json")
    verdict = json.loads(done.out)[0]
    assert (done.code, verdict["well"], verdict["reason"]) == (0, True, None)
    assert verdict["golden_sentences"] > 0
    assert "ai-edge-litert" in verdict["runtime"]


def test_verify_names_the_golden_sentence_that_comes_out_wrong(tiny_folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "tiny"
    shutil.copytree(tiny_folder, bundle)
    golden = [json.loads(line) for line in (bundle / "golden.jsonl").read_text().splitlines()]
    golden[2]["label"] = "HassTurnOff" if golden[2]["label"] != "HassTurnOff" else "HassTurnOn"
    _write(bundle / "golden.jsonl", golden)
    _sign_again(bundle)
    done = edge_agent("model", "verify", bundle)
    assert (done.code, done.out) == (3, "")
    assert_one_line_and_hint(done)
    assert "golden sentence 3" in done.err


def test_verify_goes_on_after_a_model_that_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad-1.2.0").mkdir()
    done = edge_agent("model", "verify", tmp_path / "bad-1.2.0", tiny_folder)
    assert done.code == 3
    assert "bad-1.2.0: " in done.err
    assert "bundle.json" in done.err
    assert "tiny 1.0.0 is well" in done.out


def test_eval_counts_intents_scope_and_languages(tiny_folder: Path, tmp_path: Path) -> None:
    done = _evaluate(tiny_folder, _write(tmp_path / "rows.jsonl", ROWS))
    report = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    everything = report["figures"]["all"]
    assert (everything["in_scope"], everything["intent_accuracy"]) == (2, 1.0)
    assert (everything["out_of_scope"], everything["out_of_scope_accepted"]) == (1, 1.0)
    assert report["figures"]["es"]["in_scope"] == 1
    assert report["latency"]["count"] == 3
    assert report["digest"].startswith("sha256:")


def test_eval_reads_slots_as_spans_and_as_values_and_tells_what_it_could_not_find(
    tiny_folder: Path, tmp_path: Path
) -> None:
    text = "turn on the light"
    with package.load(tiny_folder) as model:
        slots = [{"type": s.name, "start": s.start, "end": s.end} for s in model.predict(text).slots]
    assert slots
    spans = _write(tmp_path / "spans.jsonl", [{"text": text, "intent": "HassTurnOn", "slots": slots}])
    values = _write(
        tmp_path / "values.jsonl", [{"text": text, "intent": "HassTurnOn", "slots": {"area": "attic"}}]
    )
    assert json.loads(_evaluate(tiny_folder, spans).out)["figures"]["all"]["slots"]["f1"] == 1.0
    report = json.loads(_evaluate(tiny_folder, values).out)
    assert report["unlocated_slots"] == 1
    assert report["figures"]["all"]["slots"]["wrong"] == len(slots)


def test_eval_reads_compressed_files_and_several(tiny_folder: Path, tmp_path: Path) -> None:
    plain = _write(tmp_path / "rows.jsonl", ROWS)
    packed = tmp_path / "rows.jsonl.xz"
    packed.write_bytes(lzma.compress(plain.read_bytes()))
    assert json.loads(_evaluate(tiny_folder, plain, packed).out)["latency"]["count"] == 2 * len(ROWS)


def test_eval_for_people_is_a_table_by_language(tiny_folder: Path, tmp_path: Path) -> None:
    rows = _write(tmp_path / "rows.jsonl", ROWS)
    done = edge_agent("model", "eval", "--model", tiny_folder, "--data", rows)
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines() if line.startswith((" all", " en", " es"))] == [
        "all",
        "en",
        "es",
    ]


@pytest.mark.parametrize(
    "content", ["[1]\n", "{}\n", '{"text": ""}\n', '{"text": "a", "slots": [1]}\n', "", "{\n"]
)
def test_eval_refuses_data_that_it_cannot_read(content: str, tiny_folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(content)
    done = _evaluate(tiny_folder, rows)
    assert (done.code, done.out) == (2, "")
    assert_one_line_and_hint(done)


def _sign_again(bundle: Path) -> None:
    """Makes an altered folder a valid bundle again."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    del manifest["files"]
    write_bundle(bundle, manifest)
