"""The exported file computes what the trained encoder computes."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_agent.forge.encoders.bert import EncoderShape, JointEncoder
from edge_agent.forge.export.flatbuffer import Quantized
from edge_agent.forge.export.quantise import Scheme, bits_of, dequantise, finer, largest_value, quantise
from edge_agent.forge.export.tflite import LABEL_OUTPUT_NAME, SLOT_OUTPUT_NAME, export_encoder
from edge_agent.inference.runtime import Runner

VOCABULARY = 120


@pytest.fixture(scope="module")
def encoder() -> JointEncoder:
    torch.manual_seed(3)
    return JointEncoder(
        EncoderShape(
            vocabulary=VOCABULARY,
            hidden=64,
            intermediate=128,
            layers=3,
            heads=4,
            longest=40,
            labels=7,
            tags=5,
        )
    ).eval()


def runner(path: Path) -> Runner:
    return Runner(path, threads=1, dynamic_length=True, pad_id=0, vocabulary_size=VOCABULARY, max_tokens=40)


def reference(encoder: JointEncoder, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        labels, slots = encoder(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))
    assert slots is not None
    return labels[0].numpy(), slots[0].numpy()


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left.ravel() @ right.ravel() / np.linalg.norm(left) / np.linalg.norm(right))


@pytest.mark.parametrize("length", [3, 11, 40, 4])
def test_a_float32_file_equals_the_encoder_at_every_length(
    encoder: JointEncoder, tmp_path: Path, length: int
) -> None:
    export_encoder(encoder.export_weights(), tmp_path / "m.tflite", scheme=Scheme.FLOAT32)
    ids = np.random.default_rng(length).integers(0, VOCABULARY, length).tolist()
    run = runner(tmp_path / "m.tflite")
    outputs = run.run(ids)
    labels, slots = reference(encoder, ids)
    np.testing.assert_allclose(outputs[LABEL_OUTPUT_NAME].reshape(-1), labels, atol=1e-4)
    np.testing.assert_allclose(outputs[SLOT_OUTPUT_NAME].reshape(length, -1), slots, atol=1e-4)
    run.close()


@pytest.mark.parametrize("scheme", [Scheme.INT8_PER_CHANNEL, Scheme.INT8_PER_TENSOR])
def test_an_int8_file_points_the_same_way_as_the_encoder(
    encoder: JointEncoder, tmp_path: Path, scheme: Scheme
) -> None:
    export_encoder(encoder.export_weights(), tmp_path / "m.tflite", scheme=scheme)
    run = runner(tmp_path / "m.tflite")
    for seed in range(10):
        ids = np.random.default_rng(seed).integers(0, VOCABULARY, 12).tolist()
        found = run.run(ids)[SLOT_OUTPUT_NAME].reshape(-1)
        expected = reference(encoder, ids)[1].reshape(-1)
        assert cosine(found, expected) > 0.995
    run.close()


@pytest.mark.parametrize("scheme", [Scheme.INT8_PER_CHANNEL, Scheme.INT4_PER_CHANNEL])
def test_a_quantised_file_computes_with_the_very_weights_that_quantising_gave(
    encoder: JointEncoder, tmp_path: Path, scheme: Scheme
) -> None:
    export_encoder(encoder.export_weights(), tmp_path / "m.tflite", scheme=scheme)
    simulated = with_quantised_weights(encoder, scheme)
    run = runner(tmp_path / "m.tflite")
    for seed in range(10):
        ids = np.random.default_rng(seed).integers(0, VOCABULARY, 12).tolist()
        outputs = run.run(ids)
        for name, expected in zip(
            (LABEL_OUTPUT_NAME, SLOT_OUTPUT_NAME), reference(simulated, ids), strict=True
        ):
            assert cosine(outputs[name], expected) > 0.999
    run.close()


def with_quantised_weights(encoder: JointEncoder, scheme: Scheme) -> JointEncoder:
    """A copy whose matrices and tables are what the scheme makes of them."""
    simulated = deepcopy(encoder)
    for name, parameter in simulated.named_parameters():
        if parameter.dim() == 2:
            fine = name.startswith(("positions", "label_head", "slot_head"))
            quantised = quantise(parameter.detach().numpy(), finer(scheme) if fine else scheme)
            assert isinstance(quantised, Quantized)
            parameter.data = torch.from_numpy(dequantise(quantised))
    return simulated


def test_int4_halves_the_file(tmp_path: Path) -> None:
    wide = EncoderShape(
        vocabulary=6000, hidden=384, intermediate=1536, layers=3, heads=12, longest=64, labels=60, tags=40
    )
    weights = JointEncoder(wide).export_weights()
    sizes = []
    for scheme in (Scheme.INT4_PER_CHANNEL, Scheme.INT8_PER_CHANNEL):
        export_encoder(weights, tmp_path / "m.tflite", scheme=scheme)
        sizes.append((tmp_path / "m.tflite").stat().st_size)
    assert sizes[0] <= 0.62 * sizes[1]


@pytest.mark.parametrize("length", [3, 12, 40])
def test_a_batch_computes_what_its_sentences_compute_alone(
    encoder: JointEncoder, tmp_path: Path, length: int
) -> None:
    export_encoder(encoder.export_weights(), tmp_path / "m.tflite", batch=4)
    run = runner(tmp_path / "m.tflite")
    assert run.batch_size == 4
    batch = np.random.default_rng(length).integers(0, VOCABULARY, (4, length)).tolist()
    together = run.run_batch(batch)
    for row, ids in enumerate(batch):
        alone = run.run(ids)
        np.testing.assert_allclose(together[LABEL_OUTPUT_NAME][row], alone[LABEL_OUTPUT_NAME][0], atol=1e-4)
        slots = together[SLOT_OUTPUT_NAME].reshape(4, length, -1)[row]
        np.testing.assert_allclose(slots, alone[SLOT_OUTPUT_NAME].reshape(length, -1), atol=1e-4)
    run.close()


def test_a_second_graph_shares_the_constants_of_the_first(encoder: JointEncoder, tmp_path: Path) -> None:
    export_encoder(encoder.export_weights(), tmp_path / "one.tflite")
    export_encoder(encoder.export_weights(), tmp_path / "two.tflite", batch=4)
    weights = sum(parameter.numel() for parameter in encoder.parameters())
    added = (tmp_path / "two.tflite").stat().st_size - (tmp_path / "one.tflite").stat().st_size
    assert added < weights


def test_a_file_without_that_graph_takes_no_batches(encoder: JointEncoder, tmp_path: Path) -> None:
    export_encoder(encoder.export_weights(), tmp_path / "m.tflite")
    run = runner(tmp_path / "m.tflite")
    assert run.batch_size == 1
    with pytest.raises(ValueError, match="a batch is"):
        run.run_batch([[1, 2], [3, 4]])
    run.close()


def test_padding_in_a_training_batch_changes_nothing(encoder: JointEncoder) -> None:
    ids = [2, 9, 8, 7, 3]
    padded = torch.tensor([[*ids, 0, 0, 0], [2, 5, 6, 7, 8, 9, 10, 3]])
    mask = torch.tensor([[True] * 5 + [False] * 3, [True] * 8])
    with torch.no_grad():
        labels, slots = encoder(padded, mask)
    alone_labels, alone_slots = reference(encoder, ids)
    np.testing.assert_allclose(labels[0].numpy(), alone_labels, atol=1e-5)
    assert slots is not None
    np.testing.assert_allclose(slots[0, :5].numpy(), alone_slots, atol=1e-5)


def test_heads_that_do_not_divide_the_width_are_refused_and_no_file_is_left(tmp_path: Path) -> None:
    odd = JointEncoder(
        EncoderShape(vocabulary=10, hidden=6, intermediate=8, layers=1, heads=3, longest=8, labels=2, tags=0)
    )
    broken = replace(odd.export_weights(), heads=4)
    with pytest.raises(ValueError, match="do not divide"):
        export_encoder(broken, tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", [Scheme.INT8_PER_CHANNEL, Scheme.INT4_PER_CHANNEL])
@settings(deadline=None, max_examples=60)
@given(weight=arrays(np.float32, (4, 9), elements=st.floats(-50, 50, width=32)))
def test_quantised_weights_are_within_half_a_step_of_the_originals(
    scheme: Scheme, weight: np.ndarray
) -> None:
    quantised = quantise(weight, scheme)
    assert isinstance(quantised, Quantized)
    assert quantised.bits == bits_of(scheme)
    assert np.abs(quantised.values.astype(int)).max() <= largest_value(quantised.bits)
    assert np.all(np.abs(dequantise(quantised) - weight) <= quantised.scales[:, None] * 0.5001)
