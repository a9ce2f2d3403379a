"""Judging models of the task embed: how near their vectors are to those of the float32 teacher.

A student that reads another language is compared with what the teacher makes of the parallel sentence.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.forge.data.examples import Example
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.judging.assemble import Candidate, write_model
from edge_agent.forge.judging.candidates import Splits, describe
from edge_agent.forge.judging.evaluate import groups
from edge_agent.inference.model import Model
from edge_agent.inference.similarity import spearman

Vectors = NDArray[np.float32]
_PAIRS = 2_000


def teacher_vectors(teacher: Candidate, splits: Splits, folder: Path) -> dict[str, Vectors]:
    """What the float32 teacher makes of each sentence, [sentences, hidden] by split."""
    write_model(folder / "float32", teacher.trained, Scheme.FLOAT32, calibrated=None)
    return {
        name: _vectors(folder / "float32", [example.teacher_text or example.text for example in examples])
        for name, examples in splits.items()
    }


def judge_embedder(
    candidate: Candidate, splits: Splits, folder: Path, reference: Mapping[str, Vectors]
) -> dict[str, Any]:
    """Writes both bundles of a model and judges them; figures as ``report.json`` has them."""
    found = describe(candidate) | {"calibration": None, "agreement": {"dev": None, "test": None}}
    for form, scheme in (("quantised", candidate.scheme), ("float32", Scheme.FLOAT32)):
        write_model(folder / form, candidate.trained, scheme, calibrated=None)
        found[form] = {
            name: embedding_figures(
                examples, _vectors(folder / form, [example.text for example in examples]), reference[name]
            )
            for name, examples in splits.items()
        }
    return found


def embedding_figures(
    examples: Sequence[Example], vectors: Vectors, reference: Vectors
) -> dict[str, dict[str, Any]]:
    """By group: mean cosine with the reference, and Spearman's correlation of sentence similarities.

    Args:
        examples: the sentences.
        vectors: the model's, of length 1, [sentences, hidden].
        reference: the teacher's, of length 1, [sentences, the teacher's hidden]; of another width the
            cosine is None.
    """
    found = {}
    for name, indices in groups(examples).items():
        if not len(indices):
            continue
        own, theirs = vectors[indices], reference[indices]
        alike = own.shape[1] == theirs.shape[1]
        found[name] = {
            "sentences": len(indices),
            "cosine": float((own * theirs).sum(axis=1).mean()) if alike else None,
            "spearman": _spearman(own, theirs),
        }
    return found


def _vectors(bundle: Path, texts: Sequence[str]) -> Vectors:
    with Model.load(bundle, check_golden=False) as model:
        rows = [model.embed(text).embedding for text in texts]
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 0), np.float32)


def _spearman(own: Vectors, theirs: Vectors) -> float | None:
    """Rank correlation of the similarities of pairs of sentences, as both models see them."""
    if len(own) < 3:
        return None
    generator = random.Random(0)
    pairs = np.asarray([generator.sample(range(len(own)), 2) for _ in range(_PAIRS)])
    alike = [(vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(axis=1).tolist() for vectors in (own, theirs)]
    return spearman(alike[0], alike[1])
