"""What a recipe may learn from, from data to a bundle that serves: no labels, soft ones, translations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import edge_agent
from edge_agent.errors import DataError
from edge_agent.forge.pipeline import run_recipe
from tests.forge.tiny_checkpoint import ENCODER_SECTION, HIDDEN, write_checkpoint, write_rows

ROOMS = ("kitchen", "bedroom")
ORDERS = [f"turn {way} the {room} light{end}" for way in ("on", "off") for room in ROOMS for end in ("", "s")]
STUDENT = '[[student]]\nname = "tiny"\nlayers = 1\nsteps = 4\n'


def model(task: str, **more: str) -> str:
    keys = {"name": "small", "version": "0.1.0", "task": task, "licence": "Apache-2.0", **more}
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    return "\n".join(["[model]", *lines, 'languages = ["en"]', "max_tokens = 32", ENCODER_SECTION])


def section(use: str, file: str, *, kind: str = "table", lang: str = "en", **more: Any) -> str:
    keys = {"use": use, "kind": kind, "file": file, "lang": lang, "licence": "CC0", **more}
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(["[[data]]", *lines, ""])


def run(folder: Path, *parts: str) -> tuple[Path, dict[str, Any]]:
    """The bundle and the report of a smoke run."""
    write_checkpoint(folder / "encoder")
    (folder / "r.toml").write_text("\n".join(parts), encoding="utf-8")
    result = run_recipe(folder / "r.toml", data=[folder], out=folder / "run", smoke=True)
    return result.bundle, json.loads((folder / "run" / "report.json").read_text(encoding="utf-8"))


def test_sentence_vectors_need_no_labels_and_no_training_of_the_teacher(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"text": text, "label": "ignored"} for text in ORDERS])
    write_rows(tmp_path / "dev.jsonl", [{"text": f"please {text}"} for text in ORDERS])
    bundle, report = run(
        tmp_path,
        model("embed", ship="tiny"),
        "[training]",
        STUDENT,
        section("train", "a.jsonl", weight=1),
        section("dev", "dev.jsonl", label=""),
    )
    assert not (tmp_path / "run" / "teacher.pt").exists()
    assert report["provenance"]["steps"] == 0
    assert report["models"]["teacher"]["quantised"]["dev"]["all"]["cosine"] > 0.99
    assert report["models"]["tiny"]["quantised"]["dev"]["all"]["spearman"] is not None
    with edge_agent.load(bundle) as served:
        prediction = served.predict("turn on the light")
        assert served.manifest.labels == ()
    assert prediction.embedding is not None
    assert len(prediction.embedding) == HIDDEN
    assert sum(value * value for value in prediction.embedding) == pytest.approx(1.0, abs=1e-5)


def test_soft_labels_of_a_bigger_model_are_learned_beside_hard_ones(tmp_path: Path) -> None:
    soft = [
        {"text": t, "probabilities": {"on": 0.9, "off": 0.1} if "on" in t else {"off": 1}} for t in ORDERS
    ]
    hard = [{"text": f"{text} please", "label": "on" if "on" in text else "off"} for text in ORDERS]
    write_rows(tmp_path / "a.jsonl", [*({**row, "label": ""} for row in soft), *hard])
    write_rows(tmp_path / "dev.jsonl", [{"text": f"please {h['text']}", "label": h["label"]} for h in hard])
    bundle, report = run(
        tmp_path,
        model("classify"),
        "[training]\nsteps = 12\nlabel_smoothing = 0.1",
        STUDENT,
        section("train", "a.jsonl", weight=1, others="keep"),
        section("dev", "dev.jsonl", others="keep"),
    )
    assert report["data"]["labels"] == 2
    assert list(report["models"]) == ["teacher", "tiny"]
    with edge_agent.load(bundle) as served:
        assert served.manifest.labels == ("off", "on")
        assert served.predict("turn on the light").task.value == "classify"


def test_a_student_of_two_languages_learns_from_parallel_sentences(tmp_path: Path) -> None:
    spanish = {"on": "enciende", "off": "apaga"}
    rows = [{"text": text, "label": "on" if "on" in text else "off"} for text in ORDERS]
    pairs = [
        {"text": f"{spanish[way]} la luz {n}", "translation": f"turn {way} the light {n}"}
        for way in spanish
        for n in range(4)
    ]
    write_rows(tmp_path / "a.jsonl", rows)
    write_rows(tmp_path / "pairs.jsonl", pairs)
    write_rows(tmp_path / "dev.jsonl", [{"text": f"please {r['text']}", "label": r["label"]} for r in rows])
    bundle, report = run(
        tmp_path,
        model("classify", ship="tiny"),
        "[training]\nsteps = 12",
        STUDENT,
        section("train", "a.jsonl", weight=1, others="keep"),
        section("train", "pairs.jsonl", kind="parallel", lang="es", weight=1),
        section("dev", "dev.jsonl", others="keep"),
    )
    assert report["data"]["labels"] == 2
    with edge_agent.load(bundle) as served:
        assert served.predict("apaga la luz").model == "small"
    weights = torch.load(tmp_path / "run" / "tiny.pt", weights_only=True)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


@pytest.mark.parametrize(
    ("train", "dev", "task", "message"),
    [
        ({"weight": 0}, {}, "classify", "no training set has a weight"),
        ({"weight": 1, "file": "dev.jsonl"}, {}, "classify", "no sentence left"),
        ({"weight": 1, "slots": True}, {}, "classify", "slots, which only models of the task intent"),
    ],
)
def test_what_could_only_fail_after_hours_is_refused_before_anything_is_trained(
    tmp_path: Path, train: dict[str, Any], dev: dict[str, Any], task: str, message: str
) -> None:
    slots = [{"type": "way", "start": 5, "end": 7}]
    rows: list[dict[str, object]] = [
        {"text": t, "label": "ab"[n % 2], "slots": slots} for n, t in enumerate(ORDERS)
    ]
    write_rows(tmp_path / "a.jsonl", rows)
    write_rows(tmp_path / "dev.jsonl", [{**row, "text": f"please {row['text']}"} for row in rows])
    with pytest.raises(DataError, match=message):
        run(
            tmp_path,
            model(task),
            "[training]\nsteps = 12",
            section("train", **{"file": "a.jsonl", "others": "keep", **train}),
            section("dev", "dev.jsonl", others="keep", **dev),
        )
    assert not (tmp_path / "run").exists()
