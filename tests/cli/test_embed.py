"""A bundle of the task embed with every command that meets one, and over MQTT."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic

import pytest

import edge_agent as package
from edge_agent.cli import stage
from edge_agent.cli.view import Answer, draw_answer
from edge_agent.link.requester import Requester
from tests.cli.command import assert_one_line_and_hint, edge_agent
from tests.tiny_embed_bundle import HIDDEN, build_tiny_embed_bundle

DEVICE = "embedder"
PAIRS = [
    {"text": "turn on the lamp", "text2": "turn on the lamp", "score": 5},
    {"text": "turn on the lamp", "text2": "turn off the lamp", "score": 3},
    {"text": "play music", "text2": "apaga la luz", "score": 0},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_embed_bundle(tmp_path_factory.mktemp("embed") / "tiny-embed")


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_predict_prints_the_vector_that_the_python_interface_gives(folder: Path) -> None:
    result = json.loads(edge_agent("predict", "--model", folder, "turn on the fan").out)
    with package.load(folder) as model:
        prediction = model.predict("turn on the fan")
    assert (result["task"], result["recognized"], result["confidence"]) == ("embed", True, None)
    assert result["embedding"] == pytest.approx(prediction.embedding, abs=1e-6)
    assert not {"intent", "label", "slots", "alternatives"} & result.keys()


def test_on_a_terminal_the_vector_is_shortened(folder: Path) -> None:
    result = json.loads(edge_agent("predict", "--model", folder, "turn on the fan").out)
    shown = draw_answer(Answer.of(result)).plain
    assert shown.startswith(f"a vector of {HIDDEN} numbers")
    assert f"{result['embedding'][0]:+.3f}" in shown
    assert len(shown) < 100


def test_verify_and_inspect_know_the_task(folder: Path) -> None:
    assert "3 golden sentences right" in edge_agent("model", "verify", folder).out
    shown = edge_agent("bundle", "inspect", folder)
    assert shown.code == 0
    assert "embed" in shown.out
    assert "labels" not in shown.out


def test_eval_correlates_cosines_with_scores(folder: Path, tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.jsonl", PAIRS)
    report = json.loads(edge_agent("model", "eval", "--model", folder, "--data", pairs, "--json").out)
    assert (report["pairs"], report["spearman"]) == (3, pytest.approx(1.0))
    shown = edge_agent("model", "eval", "--model", folder, "--data", pairs).out
    assert "3 pairs" in shown
    assert "Spearman correlation of cosines with scores: 1.0000" in shown


@pytest.mark.parametrize(
    "rows",
    [[], PAIRS[:1], [*PAIRS, {"text": "a", "intent": "b"}], [*PAIRS, {"text": "a", "text2": "", "score": 1}]],
    ids=["none", "one", "no pair", "no text"],
)
def test_eval_refuses_what_is_not_pairs(folder: Path, tmp_path: Path, rows: list[dict[str, object]]) -> None:
    done = edge_agent("model", "eval", "--model", folder, "--data", write(tmp_path / "rows.jsonl", rows))
    assert (done.code, done.out) == (2, "")
    assert_one_line_and_hint(done)


def test_a_vector_comes_over_mqtt_and_the_device_says_what_it_serves(folder: Path, tmp_path: Path) -> None:
    port = stage.free_port()
    url = f"mqtt://{stage.HOST}:{port}"
    with stage.broker(tmp_path, port), stage.daemon(tmp_path, port, DEVICE, folder):
        with Requester.connect(url) as requester:
            deadline = monotonic() + 30
            while DEVICE not in requester.devices(timeout=1.0):
                assert monotonic() < deadline, (tmp_path / "daemon.log").read_text()
            info = requester.devices(timeout=1.0)[DEVICE]
        done = edge_agent("send", "--broker", url, "--device", DEVICE, "--model", "tiny-embed", "play music")
    assert done.code == 0
    result = json.loads(done.out)
    assert len(result["embedding"]) == HIDDEN
    assert sum(number**2 for number in result["embedding"]) == pytest.approx(1.0, abs=1e-4)
    assert info["models"]["tiny-embed"]["task"] == "embed"
