"""The comparison runs, and the script that it compares with answers rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.inference.model import Model
from tests.tiny_bundle import build_tiny_bundle

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is of the dependency group bench")
pytest.importorskip("onnx", reason="onnx is of the dependency group bench")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_bundle(tmp_path_factory.mktemp("peers") / "tiny", max_tokens=128)


def test_the_onnx_file_has_the_weights_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    from tests.benchmarks.onnx_model import LENGTH, write_onnx

    session = onnxruntime.InferenceSession(str(write_onnx(bundle / "model.tflite", tmp_path)))
    with Model.load(bundle) as model:
        analysis = model.analyse("turn on the lamp in the kitchen")
    ids = np.zeros((1, LENGTH), np.int64)
    ids[0, : len(analysis.token_ids)] = analysis.token_ids
    mask = (np.arange(LENGTH) < len(analysis.token_ids)).astype(np.int64)[None]
    logits = session.run(["label_logits"], {"input_ids": ids, "attention_mask": mask})[0][0]
    assert np.abs(logits - analysis.label_logits).mean() < 0.02 * np.ptp(analysis.label_logits)


@pytest.mark.slow
def test_daemon_and_script_give_the_same_labels_on_both_brokers(bundle: Path) -> None:
    from tests.benchmarks.compare_peers import compare

    found = compare(bundle, rounds=1, requests=3)
    assert {(each.answerer, each.broker) for each in found.measured} == {
        (answerer, broker) for answerer in ("user's script", "edge-agentd") for broker in ("default", "ours")
    }
    assert all(each.times.count == 3 for each in found.measured)
    assert found.same_label >= 0.9
    assert len(found.ratios) == 3
