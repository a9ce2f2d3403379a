"""A student's first weights: cut out of its teacher, not drawn at random.

* **Layers**: every other layer or so, as DistilBERT does (Sanh et al. 2019); the very layers that the student
  is then held to by TinyBERT's uniform mapping g(m) = m · N / M (Jiao et al. 2020).
* **Width**: the coordinates of the residual stream that carry most. A choice of coordinates, unlike a
  rotation, goes through layer norms unharmed.
* **Heads**: of each head, the best approximation of lower rank of what it computes, QᵀK and OV, by singular
  value decomposition (Eckart and Young 1936).
* **Feed-forward**: the neurons with the largest product of incoming and outgoing weights.

Distillation mends what the cuts broke, in a few hundred steps instead of a pretraining. Pure NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.forge.encoders.weights import EncoderWeights, FloatArray, LayerWeights, Linear, Norm

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StudentSize:
    """The sizes that a student may choose; heads stay as many as the teacher's.

    Attributes:
        layers: number of layers, at most the teacher's.
        hidden: width; a multiple of the number of heads.
        intermediate: width of the feed-forward layers.
    """

    layers: int
    hidden: int
    intermediate: int


def layer_map(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """For each student layer the teacher's layer that it stands for, both counted from 1."""
    return tuple(-(-number * teacher_layers // student_layers) for number in range(1, student_layers + 1))


def cut_student(teacher: EncoderWeights, size: StudentSize) -> tuple[EncoderWeights, Indices]:
    """The teacher's weights cut to a student's size, and the coordinates that were kept.

    Args:
        teacher: a trained encoder.
        size: of the student.

    Returns:
        The student's weights, and the kept coordinates of the residual stream, [size.hidden], ascending.

    Raises:
        ValueError: as :func:`check_size`.
    """
    check_size(teacher, size)
    kept = _important_coordinates(teacher, size.hidden)
    chosen = [teacher.layers[n - 1] for n in layer_map(size.layers, len(teacher.layers))]
    student = replace(
        teacher,
        words=_columns(teacher.words, kept),
        positions=_columns(teacher.positions, kept),
        embedding_norm=_cut_norm(teacher.embedding_norm, kept),
        layers=tuple(_cut_layer(layer, kept, teacher.heads, size.intermediate) for layer in chosen),
        label_head=_cut_inputs(teacher.label_head, kept),
        slot_head=None if teacher.slot_head is None else _cut_inputs(teacher.slot_head, kept),
    )
    return student, kept


def check_size(teacher: EncoderWeights, size: StudentSize) -> None:
    """Whether a student of that size can be cut out of a teacher.

    Raises:
        ValueError: larger than the teacher, or a width that the heads do not divide.
    """
    intermediate = len(teacher.layers[0].intermediate.bias)
    if not (
        1 <= size.layers <= len(teacher.layers)
        and size.hidden <= teacher.hidden
        and size.intermediate <= intermediate
    ):
        raise ValueError(
            f"a student of {size.layers} × {size.hidden}/{size.intermediate} does not fit into its teacher "
            f"of {len(teacher.layers)} × {teacher.hidden}/{intermediate}"
        )
    if size.hidden % teacher.heads:
        raise ValueError(f"{teacher.heads} heads do not divide the width {size.hidden}")


def _important_coordinates(teacher: EncoderWeights, width: int) -> Indices:
    """By the gain that each coordinate leaves a norm with, times the weights that read it from there."""
    scores = np.zeros(teacher.hidden)
    norms = [teacher.embedding_norm, *(layer.output_norm for layer in teacher.layers[:-1])]
    for norm, layer in zip(norms, teacher.layers, strict=True):
        readers = (layer.query.weight, layer.key.weight, layer.value.weight)
        scores += np.abs(norm.gain) * sum(np.linalg.norm(weight, axis=0) for weight in readers)
        scores += np.abs(layer.attention_norm.gain) * np.linalg.norm(layer.intermediate.weight, axis=0)
    return np.sort(np.argsort(-scores, kind="stable")[:width])


def _cut_layer(layer: LayerWeights, kept: Indices, heads: int, intermediate: int) -> LayerWeights:
    size = len(kept) // heads
    query, key = _cut_scores(_cut_inputs(layer.query, kept), _cut_inputs(layer.key, kept), heads, size)
    value, output = _cut_context(
        _cut_inputs(layer.value, kept), _cut_outputs(layer.attention_output, kept), heads, size
    )
    norms = np.linalg.norm(layer.intermediate.weight, axis=1) * np.linalg.norm(layer.output.weight, axis=0)
    neurons = np.sort(np.argsort(-norms, kind="stable")[:intermediate])
    return LayerWeights(
        query=query,
        key=key,
        value=value,
        attention_output=output,
        attention_norm=_cut_norm(layer.attention_norm, kept),
        intermediate=_cut_outputs(_cut_inputs(layer.intermediate, kept), neurons),
        output=_cut_inputs(_cut_outputs(layer.output, kept), neurons),
        output_norm=_cut_norm(layer.output_norm, kept),
    )


def _cut_scores(query: Linear, key: Linear, heads: int, size: int) -> tuple[Linear, Linear]:
    """Of each head, rank ``size`` of (W_q x + b_q)ᵀ(W_k y + b_k), rescaled for the new 1/√d."""
    old = len(query.bias) // heads
    if old == size:
        return query, key
    stretch = (size / old) ** 0.25  # on both sides; the runtime divides by √size instead of √old
    queries, keys = [], []
    for left, right in zip(_by_head(query, heads), _by_head(key, heads), strict=True):
        u, singular, v = np.linalg.svd(left.T @ right, full_matrices=False)
        root = np.sqrt(singular[:size])[:, None] * stretch
        queries.append(root * u[:, :size].T)
        keys.append(root * v[:size])
    return _joined(queries), _joined(keys)


def _cut_context(value: Linear, output: Linear, heads: int, size: int) -> tuple[Linear, Linear]:
    """Of each head, rank ``size`` of W_o (W_v x + b_v)."""
    old = len(value.bias) // heads
    if old == size:
        return value, output
    values, outputs = [], []
    for number, inner in enumerate(_by_head(value, heads)):
        outer = output.weight[:, number * old : (number + 1) * old].astype(np.float64)
        u, singular, v = np.linalg.svd(outer @ inner, full_matrices=False)
        root = np.sqrt(singular[:size])
        values.append(root[:, None] * v[:size])
        outputs.append(u[:, :size] * root)
    return _joined(values), Linear(np.concatenate(outputs, axis=1).astype(np.float32), output.bias)


def _by_head(linear: Linear, heads: int) -> NDArray[np.float64]:
    """Weights with the bias as a last column, [heads, size, inputs + 1]."""
    joined = np.concatenate([linear.weight, linear.bias[:, None]], axis=1).astype(np.float64)
    return joined.reshape(heads, -1, joined.shape[1])


def _joined(parts: list[NDArray[np.float64]]) -> Linear:
    joined = np.concatenate(parts, axis=0).astype(np.float32)
    return Linear(np.ascontiguousarray(joined[:, :-1]), np.ascontiguousarray(joined[:, -1]))


def _columns(matrix: FloatArray, kept: Indices) -> FloatArray:
    return np.ascontiguousarray(matrix[:, kept])


def _cut_inputs(linear: Linear, kept: Indices) -> Linear:
    return Linear(_columns(linear.weight, kept), linear.bias)


def _cut_outputs(linear: Linear, kept: Indices) -> Linear:
    return Linear(np.ascontiguousarray(linear.weight[kept]), np.ascontiguousarray(linear.bias[kept]))


def _cut_norm(norm: Norm, kept: Indices) -> Norm:
    return Norm(np.ascontiguousarray(norm.gain[kept]), np.ascontiguousarray(norm.offset[kept]))
