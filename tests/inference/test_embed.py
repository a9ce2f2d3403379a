"""The task embed, from the bundle to the vector."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edge_agent
from edge_agent.errors import BundleError, ErrorCode, GoldenError, RequestError
from edge_agent.inference.bundle import write_bundle
from edge_agent.inference.model import Model
from edge_agent.inference.similarity import spearman
from edge_agent.inference.windows import cut_windows, mean_direction
from edge_agent.types import Prediction, Task
from tests.inference.support import snapshot
from tests.tiny_bundle import build_tiny_bundle, tiny_manifest
from tests.tiny_embed_bundle import (
    HIDDEN,
    TOKENIZER,
    build_tiny_embed_bundle,
    reference_embedding,
    word_vectors,
)
from tests.tiny_graphs import Array, write_embedder

LONG = "turn on the lamp the fan the music and play off la luz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_embed_bundle(tmp_path_factory.mktemp("embed") / "tiny-embed")


def vector(prediction: Prediction) -> Array:
    assert prediction.embedding is not None
    return np.array(prediction.embedding, np.float32)


def test_a_prediction_has_the_vector_and_nothing_of_labels(folder: Path) -> None:
    with edge_agent.load(folder) as model:
        prediction = model.predict("turn off the fan")
    expected = reference_embedding(TOKENIZER.encode("turn off the fan").ids)
    np.testing.assert_allclose(vector(prediction), expected, atol=1e-6)
    assert np.linalg.norm(vector(prediction)) == pytest.approx(1.0, abs=1e-6)
    assert prediction.task is Task.EMBED
    assert (prediction.recognized, prediction.label, prediction.confidence) == (True, None, None)
    assert (prediction.alternatives, prediction.slots, prediction.truncated) == ((), (), False)


def test_other_tasks_have_no_vector(tiny_bundle: Path) -> None:
    with edge_agent.load(tiny_bundle) as model:
        assert model.predict("turn on the fan").embedding is None
        with pytest.raises(ValueError, match="not of the task embed"):
            model.embed("turn on the fan")


def test_a_model_that_embeds_has_no_labels_to_analyse(folder: Path) -> None:
    with Model.load(folder) as model, pytest.raises(ValueError, match="has no labels"):
        model.analyse("turn on the fan")


def test_a_long_text_is_cut_and_says_so(folder: Path) -> None:
    with Model.load(folder) as model:
        prediction = model.predict(LONG)
        kept = (*TOKENIZER.encode(LONG).ids[:7], TOKENIZER.sep_id)
        np.testing.assert_allclose(vector(prediction), reference_embedding(kept), atol=1e-6)
        assert prediction.truncated


def test_windows_are_pooled_to_a_vector_of_length_one(tmp_path: Path) -> None:
    ids = TOKENIZER.encode(LONG).ids
    windows = cut_windows(ids, 8, 4)
    mean = np.mean([reference_embedding(window) for window in windows], axis=0)
    with Model.load(build_tiny_embed_bundle(tmp_path / "windows", beyond="window")) as model:
        prediction = model.predict(LONG)
    assert len(windows) == 3
    assert not prediction.truncated
    np.testing.assert_allclose(vector(prediction), mean / np.linalg.norm(mean), atol=1e-6)


def test_many_texts_are_embedded_in_their_order(folder: Path) -> None:
    texts = ["turn on the lamp", " ", "play music"]
    with Model.load(folder) as model:
        first, second, third = model.predict_many(texts, [3, 3, 3])
        assert first.embedding == model.predict(texts[0]).embedding  # type: ignore[union-attr]
        assert third.embedding == model.predict(texts[2]).embedding  # type: ignore[union-attr]
    assert isinstance(second, RequestError)
    assert second.code is ErrorCode.EMPTY_TEXT


def test_texts_of_one_length_are_embedded_together(tmp_path: Path) -> None:
    texts = ["turn on", "play music", "the lamp", "off fan", "turn", "luz de"]
    with Model.load(build_tiny_embed_bundle(tmp_path / "batch", batch=4)) as model:
        assert model.batch_size == 4
        together = model.predict_many(texts, [3] * len(texts))
        for text, answer in zip(texts, together, strict=True):
            assert isinstance(answer, Prediction)
            np.testing.assert_allclose(vector(answer), vector(model.predict(text)), atol=1e-6)


@pytest.mark.parametrize("batch", [0, 4])
def test_a_vector_of_length_zero_is_a_failure_and_no_answer(tmp_path: Path, batch: int) -> None:
    folder = build_tiny_embed_bundle(tmp_path / "zero", batch=batch)
    write_embedder(folder / "model.tflite", np.zeros_like(word_vectors()), batch=batch)
    _rewrite(folder)
    with Model.load(folder, check_golden=False) as model:
        answers = model.predict_many(["play music"] * 4, [3] * 4)
        assert [str(answer) for answer in answers] == ["the model computed a vector without a direction"] * 4


def test_a_wrong_vector_on_this_machine_is_a_golden_error(tmp_path: Path) -> None:
    wrong = build_tiny_embed_bundle(tmp_path / "wrong", wrong_golden=True)
    before = snapshot(tmp_path)
    with pytest.raises(GoldenError, match="golden sentence 2 expected a vector within cosine"):
        Model.load(wrong)
    assert snapshot(tmp_path) == before


def test_other_token_ids_are_a_golden_error(tmp_path: Path) -> None:
    folder = build_tiny_embed_bundle(tmp_path / "wrong")
    _change_golden(folder, {"token_ids": [2, 5, 3]})
    with pytest.raises(GoldenError, match="golden sentence 1 expected 3 token ids, got 6"):
        Model.load(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"embedding": [1.0, 0.0]}, f"line 1: not an embedding of {HIDDEN} numbers"),
        ({"embedding": "x"}, "embedding is not a list of numbers"),
        ({"label": "HassTurnOn"}, "unknown key 'label'"),
    ],
)
def test_a_golden_line_that_is_not_of_the_form_is_refused(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    folder = build_tiny_embed_bundle(tmp_path / "wrong")
    _change_golden(folder, change)
    with pytest.raises(BundleError, match=reason):
        Model.load(folder)


def test_a_golden_line_of_another_task_is_refused(tmp_path: Path) -> None:
    embeds = build_tiny_embed_bundle(tmp_path / "embeds")
    labels = build_tiny_bundle(tmp_path / "labels")
    first, second = (folder / "golden.jsonl" for folder in (embeds, labels))
    embedded, labelled = first.read_bytes(), second.read_bytes()
    first.write_bytes(labelled)
    second.write_bytes(embedded)
    for folder, reason in ((embeds, "not one logit for each label"), (labels, "not one logit")):
        _rewrite(folder)
        with pytest.raises(BundleError, match=reason):
            Model.load(folder)


def test_a_file_without_the_output_is_refused(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "labels")
    write_bundle(
        folder, tiny_manifest() | {"task": "embed", "labels": [], "slot_tags": [], "out_of_scope": None}
    )
    with pytest.raises(BundleError, match="has no output embedding"):
        Model.load(folder)


def test_vectors_that_cancel_out_have_no_direction() -> None:
    one = np.array([1.0, 0.0], np.float32)
    assert not np.isfinite(mean_direction([one, -one])).all()
    np.testing.assert_allclose(mean_direction([one, np.array([0.0, 3.0], np.float32)]), [0.7071068] * 2)


def test_spearman_looks_at_the_order_and_shares_ranks_of_equals() -> None:
    assert spearman([1, 2, 3], [10, 20, 1000]) == pytest.approx(1.0)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert spearman([1, 2, 2, 4], [1, 2, 3, 4]) == pytest.approx(0.9486833)
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    with pytest.raises(ValueError, match="equally many"):
        spearman([1, 2], [1])


def _change_golden(folder: Path, change: dict[str, object]) -> None:
    file = folder / "golden.jsonl"
    first, *others = file.read_text().splitlines(keepends=True)
    file.write_text(json.dumps(json.loads(first) | change) + "\n" + "".join(others))
    _rewrite(folder)


def _rewrite(folder: Path) -> None:
    """Makes a changed folder a right bundle again."""
    manifest = json.loads((folder / "bundle.json").read_bytes())
    write_bundle(folder, manifest)
