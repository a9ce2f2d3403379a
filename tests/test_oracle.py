"""The reader of weights gives back what the exporter wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_agent.forge.encoders.bert import EncoderShape, JointEncoder
from edge_agent.forge.encoders.rebuild import encoder_of
from edge_agent.forge.encoders.weights import Linear
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.export.tflite import export_encoder
from tests.oracle import read_encoder_weights


@pytest.fixture(scope="module")
def encoder() -> JointEncoder:
    torch.manual_seed(5)
    return JointEncoder(
        EncoderShape(
            vocabulary=50, hidden=32, intermediate=48, layers=2, heads=4, longest=20, labels=6, tags=5
        )
    ).eval()


def test_a_float32_file_gives_back_every_weight(encoder: JointEncoder, tmp_path: Path) -> None:
    weights = encoder.export_weights()
    export_encoder(weights, tmp_path / "m.tflite", scheme=Scheme.FLOAT32)
    found = read_encoder_weights(tmp_path / "m.tflite")
    assert (found.heads, len(found.layers)) == (4, 2)
    assert found.epsilon == pytest.approx(1e-12)
    for name, expected in encoder.state_dict().items():
        actual = encoder_of(found).state_dict()[name]
        np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=1e-6, err_msg=name)


def test_an_int8_file_gives_weights_within_half_a_step(encoder: JointEncoder, tmp_path: Path) -> None:
    weights = encoder.export_weights()
    export_encoder(weights, tmp_path / "m.tflite", scheme=Scheme.INT8_PER_CHANNEL)
    found = read_encoder_weights(tmp_path / "m.tflite")
    _assert_near(found.layers[1].query, weights.layers[1].query)
    _assert_near(found.label_head, weights.label_head)
    step = np.abs(weights.positions).max(axis=1, keepdims=True) / 127
    assert np.all(np.abs(found.positions - weights.positions) <= 0.501 * step)


def test_a_classifier_has_no_slot_head(tmp_path: Path) -> None:
    torch.manual_seed(6)
    plain = JointEncoder(
        EncoderShape(vocabulary=9, hidden=16, intermediate=16, layers=1, heads=2, longest=8, labels=3, tags=0)
    )
    export_encoder(plain.export_weights(), tmp_path / "m.tflite")
    assert read_encoder_weights(tmp_path / "m.tflite").slot_head is None


def _assert_near(found: Linear, expected: Linear) -> None:
    step = np.abs(expected.weight).max(axis=1, keepdims=True) / 127
    assert np.all(np.abs(found.weight - expected.weight) <= 0.501 * step)
    np.testing.assert_allclose(found.bias, expected.bias, rtol=1e-6)
