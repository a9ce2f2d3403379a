"""What quantisation-aware training simulates is what the exported file computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_agent.forge.encoders.family import Encoder
from edge_agent.forge.encoders.rebuild import encoder_of
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.export.tflite import LABEL_OUTPUT_NAME, SLOT_OUTPUT_NAME, export_encoder
from edge_agent.forge.training.qat import FakeQuantised, QuantisationAware, fake_quantised_rows
from edge_agent.inference.runtime import Runner
from tests.forge.small_encoder import TOKENS, random_batches, small_encoder

SCHEMES = [Scheme.INT8_PER_CHANNEL, Scheme.INT4_PER_CHANNEL]
SENTENCES = np.random.default_rng(0).integers(5, 85, (12, 7)).tolist()


def answers(model: Encoder) -> np.ndarray:
    """All logits of each sentence, [sentences, values]."""
    mask = torch.ones(1, 7, dtype=torch.bool)
    with torch.no_grad():
        outputs = [model(torch.tensor([ids]), mask) for ids in SENTENCES]
    return np.stack([torch.cat([labels.flatten(), slots.flatten()]).numpy() for labels, slots in outputs])


def file_answers(path: Path) -> np.ndarray:
    run = Runner(path, vocabulary_size=len(TOKENS), max_tokens=24)
    outputs = [run.run(ids) for ids in SENTENCES]
    run.close()
    both = (LABEL_OUTPUT_NAME, SLOT_OUTPUT_NAME)
    return np.stack([np.concatenate([found[name].ravel() for name in both]) for found in outputs])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_file_computes_what_training_simulated(tmp_path: Path, scheme: Scheme) -> None:
    """To the last digits, but for the odd sentence in which an activation stands between two steps."""
    model = small_encoder()
    plain = answers(model)
    aware = QuantisationAware(model, scheme)
    simulated = answers(model)
    export_encoder(aware.finish().export_weights(), tmp_path / "m.tflite", scheme=scheme)
    off = np.abs(file_answers(tmp_path / "m.tflite") - simulated).max(axis=1)
    assert np.median(off) < 1e-4
    assert off.max() < 0.02 * np.abs(simulated).max()
    assert np.median(off) < 0.1 * np.median(np.abs(plain - simulated))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rounded_weights_are_rounded_to_themselves(scheme: Scheme) -> None:
    model = small_encoder()
    QuantisationAware(model, scheme).finish()
    once = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    twice = QuantisationAware(encoder_of(model.export_weights()), scheme).finish().state_dict()
    assert set(twice) == set(small_encoder().state_dict())
    for name, tensor in once.items():
        torch.testing.assert_close(twice[name], tensor, rtol=1e-5, atol=1e-7)


def test_a_weight_takes_fifteen_values_a_row_at_four_bits_and_its_gradient_passes() -> None:
    weight = torch.randn(3, 200, requires_grad=True)
    rounded = FakeQuantised(4)(weight)
    assert all(len(torch.unique(row)) <= 15 for row in rounded.detach())
    rounded.sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_a_row_of_zeros_stays_a_row_of_zeros() -> None:
    assert torch.equal(FakeQuantised(4)(torch.zeros(2, 5)), torch.zeros(2, 5))
    assert torch.equal(fake_quantised_rows(torch.zeros(2, 5)), torch.zeros(2, 5))


def test_activations_are_within_one_step_of_what_they_were() -> None:
    states = torch.randn(4, 7, 64) * 3 + 1
    off = (fake_quantised_rows(states) - states).abs().amax(dim=-1)
    span = states.amax(dim=-1).clamp(min=0) - states.amin(dim=-1).clamp(max=0)
    assert bool((off <= span / 255).all())


def test_training_under_four_bits_finds_a_better_model_than_rounding_afterwards() -> None:
    teacher = small_encoder()
    batch = next(random_batches(9))

    def gap(model: Encoder) -> Tensor:
        with torch.no_grad():
            target = teacher.trace(batch.token_ids, batch.mask).states[-1]
        return (model.trace(batch.token_ids, batch.mask).states[-1] - target).square().mean()

    rounded = QuantisationAware(encoder_of(teacher.export_weights()), Scheme.INT4_PER_CHANNEL).finish()
    model = encoder_of(teacher.export_weights())
    aware = QuantisationAware(model, Scheme.INT4_PER_CHANNEL)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(40):
        optimiser.zero_grad()
        gap(model).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert gap(aware.finish()).item() < 0.7 * gap(rounded).item()


def test_float32_is_not_trained_for() -> None:
    with pytest.raises(ValueError, match="float32"):
        QuantisationAware(small_encoder(), Scheme.FLOAT32)
