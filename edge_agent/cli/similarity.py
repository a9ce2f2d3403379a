"""Pairs of texts with their likeness against a model of the task embed, for ``edge-agent model eval``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from edge_agent.cli.evaluation import read_objects
from edge_agent.errors import DataError
from edge_agent.inference.metrics import Latency, latency
from edge_agent.inference.similarity import spearman

if TYPE_CHECKING:
    from edge_agent.inference.model import Model


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts, and how alike people find them, on any scale."""

    text: str
    text2: str
    score: float


@dataclass(frozen=True, slots=True)
class Likeness:
    """Spearman correlation of cosines with scores (None where all are the same), and latency of one text."""

    pairs: int
    spearman: float | None
    latency: Latency

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a JSON-lines file, plain or ``.xz``.

    Raises:
        DataError: it cannot be read, or a line has not the form.
    """
    for number, row in enumerate(read_objects(path), start=1):
        try:
            pair = Pair(str(row["text"]), str(row["text2"]), float(row["score"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _no_pair(path, number) from error
        if not pair.text.strip() or not pair.text2.strip() or not isfinite(pair.score):
            raise _no_pair(path, number)
        yield pair


def evaluate_pairs(model: Model, pairs: Sequence[Pair]) -> Likeness:
    """Embeds both texts of every pair.

    Raises:
        DataError: there are fewer than two pairs, which have no order.
    """
    if len(pairs) < 2:
        raise DataError("there are not two pairs to evaluate", hint="name a file with some by --data")
    cosines: list[float] = []
    milliseconds: list[float] = []
    for pair in pairs:
        begun = perf_counter()
        left, right = model.embed(pair.text).embedding, model.embed(pair.text2).embedding
        milliseconds.append((perf_counter() - begun) * 1e3 / 2)
        cosines.append(float(left @ right))
    found = spearman(cosines, [pair.score for pair in pairs])
    return Likeness(len(pairs), found, latency(milliseconds))


def _no_pair(path: Path, number: int) -> DataError:
    return DataError(
        f"{path}: pair {number} is not of the form",
        hint='a model of the task embed is measured on {"text", "text2", "score"}',
    )
