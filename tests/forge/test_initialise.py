"""A student cut out of its teacher computes what the teacher computes, as far as it is given room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edge_agent.forge.encoders.initialise import StudentSize, cut_student, layer_map
from edge_agent.forge.encoders.rebuild import encoder_of
from edge_agent.forge.encoders.weights import EncoderWeights, Linear
from tests.forge.small_encoder import random_batches, small_encoder


def answers(weights: EncoderWeights) -> np.ndarray:
    batch = next(random_batches())
    with torch.no_grad():
        labels, slots = encoder_of(weights)(batch.token_ids, batch.mask)
    assert slots is not None
    return np.concatenate([labels.numpy().ravel(), slots.numpy().ravel()])


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (3, 6, (2, 4, 6)),
        (4, 6, (2, 3, 5, 6)),
        (6, 6, (1, 2, 3, 4, 5, 6)),
        (1, 6, (6,)),
        (4, 24, (6, 12, 18, 24)),
    ],
)
def test_the_layer_map_is_uniform_and_ends_at_the_last_layer(
    student: int, teacher: int, expected: tuple[int, ...]
) -> None:
    assert layer_map(student, teacher) == expected


def test_a_student_of_the_teachers_size_is_the_teacher() -> None:
    teacher = small_encoder().export_weights()
    student, kept = cut_student(teacher, StudentSize(4, 48, 96))
    assert kept.tolist() == list(range(48))
    np.testing.assert_allclose(answers(student), answers(teacher), atol=1e-5)


def test_weights_survive_the_way_to_torch_and_back() -> None:
    teacher = small_encoder()
    again = encoder_of(teacher.export_weights())
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_fewer_layers_are_the_teachers_own() -> None:
    teacher = small_encoder().export_weights()
    student, _ = cut_student(teacher, StudentSize(2, 48, 96))
    assert [layer.query.weight.sum() for layer in student.layers] == [
        teacher.layers[1].query.weight.sum(),
        teacher.layers[3].query.weight.sum(),
    ]


def test_neurons_that_do_nothing_are_the_first_to_go() -> None:
    teacher = small_encoder().export_weights()
    layers = []
    for layer in teacher.layers:
        dead = layer.output.weight.copy()
        dead[:, ::2] = 0
        layers.append(replace(layer, output=Linear(dead, layer.output.bias)))
    teacher = replace(teacher, layers=tuple(layers))
    student, _ = cut_student(teacher, StudentSize(4, 48, 48))
    np.testing.assert_allclose(answers(student), answers(teacher), atol=1e-5)


def test_a_narrower_student_keeps_what_attention_computes_where_its_rank_allows_it() -> None:
    """Coordinates and head dimensions that carry nothing are cut without a loss."""
    teacher = small_encoder().export_weights()
    rows = np.arange(48)
    silent = np.isin(rows % 12, (10, 11))  # two of twelve dimensions of every head
    layers = []
    for layer in teacher.layers:
        for linear in (layer.query, layer.key, layer.value):
            linear.weight[silent], linear.bias[silent] = 0, 0
        layers.append(layer)
    teacher = replace(teacher, layers=tuple(layers))
    student, kept = cut_student(teacher, StudentSize(4, 40, 96))
    assert len(kept) == 40
    assert student.layers[0].query.weight.shape == (40, 40)
    assert cosine(answers(student), answers(teacher)) > 0.75  # the residual stream lost 8 of 48


def test_what_does_not_fit_is_refused() -> None:
    teacher = small_encoder().export_weights()
    with pytest.raises(ValueError, match="does not fit"):
        cut_student(teacher, StudentSize(5, 48, 96))
    with pytest.raises(ValueError, match="do not divide"):
        cut_student(teacher, StudentSize(2, 42, 96))
