"""Variety for distillation: words exchanged for their neighbours in the teacher's embedding.

TinyBERT's data augmentation (Jiao et al. 2020, §3.3) without a second model: a whole word gives way to one of
the words whose embeddings are nearest by cosine. Done on token ids, so that every token keeps its place. What
the new sentence means is the teacher's to say, so its hard labels are taken away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from edge_agent.forge.data.features import IGNORED
from edge_agent.forge.encoders.weights import FloatArray
from edge_agent.forge.training.batches import Batch

_NEIGHBOURS = 8
_SHORTEST_WORD = 3
_ROWS_AT_ONCE = 1024


class WordReplacer:
    """Replaces words of a batch.

    Args:
        tokens: WordPiece tokens in the order of their ids.
        rows: their embeddings, [tokens, hidden].
        neighbours: how many nearest words one is exchanged for.
    """

    def __init__(self, tokens: Sequence[str], rows: FloatArray, *, neighbours: int = _NEIGHBOURS) -> None:
        words = [n for n, token in enumerate(tokens) if token.isalpha() and len(token) >= _SHORTEST_WORD]
        self._continues = np.asarray([token.startswith("##") for token in tokens])
        self._is_word = np.zeros(len(tokens), bool)
        self._is_word[words] = True
        self._nearest = np.zeros((len(tokens), 0), np.int64)
        if len(words) > neighbours:
            self._nearest = np.zeros((len(tokens), neighbours), np.int64)
            self._nearest[words] = np.asarray(words)[_nearest(rows[words], neighbours)]

    def vary(self, batch: Batch, generator: np.random.Generator, *, sentences: float, words: float) -> Batch:
        """The batch with some of its words replaced.

        Args:
            batch: only sentences that teacher and student read alike are touched.
            generator: of the choices.
            sentences: chance of a sentence to be varied.
            words: chance of each of its words.
        """
        ids = batch.token_ids.cpu().numpy()
        chosen = (generator.random(len(ids)) < sentences) & batch.aligned.cpu().numpy()
        following = np.zeros_like(self._continues[ids])
        following[:, :-1] = self._continues[ids[:, 1:]]
        places = self._is_word[ids] & ~following & chosen[:, None] & (generator.random(ids.shape) < words)
        if not self._nearest.shape[1] or not places.any():
            return batch
        picks = generator.integers(0, self._nearest.shape[1], ids.shape)
        varied = torch.from_numpy(np.where(places, self._nearest[ids, picks], ids)).to(batch.token_ids.device)
        touched = torch.from_numpy(places.any(axis=1)).to(batch.token_ids.device)
        return replace(
            batch,
            token_ids=varied,
            teacher_ids=torch.where(touched[:, None], varied, batch.teacher_ids),
            labels=batch.labels.masked_fill(touched, IGNORED),
            tags=batch.tags.masked_fill(touched[:, None], IGNORED),
        )


def _nearest(rows: FloatArray, count: int) -> NDArray[np.int64]:
    """For each row the ``count`` others with the highest cosine, [rows, count]."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units = rows / np.maximum(lengths, 1e-9)
    found = np.zeros((len(rows), count), np.int64)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, min(start + _ROWS_AT_ONCE, len(rows)))
        cosines = units[part] @ units.T
        cosines[np.arange(part.stop - start), np.arange(start, part.stop)] = -np.inf
        found[part] = np.argpartition(-cosines, count, axis=1)[:, :count]
    return found
