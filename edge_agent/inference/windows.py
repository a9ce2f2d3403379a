"""Texts longer than the model: cut at a word, or read in overlapping windows and pooled.

Pure. Label logits are pooled by their mean, which keeps the scale that the calibration was fitted on and
does not favour the loudest window. A token's slot logits are those of the window in which it stands nearest
to the centre, where it has context on both sides. Embeddings are pooled by the direction of their mean.

``head`` and ``tail`` are how many tokens of its own a tokenizer puts before and after those of the text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.inference.tokenizer import Encoding


def truncate(encoding: Encoding, max_tokens: int, *, head: int = 1, tail: int = 1) -> Encoding:
    """The first tokens and [SEP], at most ``max_tokens``; cut between words unless one word fills it all."""
    length = len(encoding.ids)
    if length <= max_tokens:
        return encoding
    most = end = max_tokens - tail
    while end > head and encoding.words[end] == encoding.words[end - 1]:
        end -= 1
    end = end if end > head else most
    last = length - tail
    return Encoding(
        (*encoding.ids[:end], *encoding.ids[last:]),
        (*encoding.spans[:end], *encoding.spans[last:]),
        (*encoding.words[:end], *encoding.words[last:]),
    )


def window_starts(length: int, max_tokens: int, stride: int, *, head: int = 1, tail: int = 1) -> list[int]:
    """Where windows of ``max_tokens`` - ``head`` - ``tail`` tokens begin, the last of them full, too.

    Args:
        length: tokens of the text, [CLS] and [SEP] included; more than ``max_tokens``.
        max_tokens: of a window with its own [CLS] and [SEP].
        stride: tokens from one start to the next, at most those of a window, so that none is left out.
        head: tokens before those of the text.
        tail: tokens after them.
    """
    last = length - tail - (max_tokens - head - tail)
    return [*range(head, last, stride), last]


def cut_windows(
    ids: Sequence[int], max_tokens: int, stride: int, *, head: int = 1, tail: int = 1
) -> list[tuple[int, ...]]:
    """The token ids of each window, with its own [CLS] and [SEP]; of a text longer than ``max_tokens``."""
    content, last = max_tokens - head - tail, len(ids) - tail
    return [
        (*ids[:head], *ids[start : start + content], *ids[last:])
        for start in window_starts(len(ids), max_tokens, stride, head=head, tail=tail)
    ]


def mean_logits(windows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of the windows' label logits, [labels]."""
    mean: NDArray[np.float32] = np.stack(windows).mean(axis=0, dtype=np.float32)
    return mean


def mean_direction(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The vector of length 1 in the direction of the mean of unit vectors along ``vectors``, float32.

    A vector of length 0 or with a number that is none gives one that is not finite.
    """
    stacked = np.stack(vectors).astype(np.float64)
    with np.errstate(all="ignore"):
        stacked /= np.linalg.norm(stacked, axis=1, keepdims=True)
        mean = stacked.mean(axis=0)
        direction: NDArray[np.float32] = (mean / np.linalg.norm(mean)).astype(np.float32)
    return direction


def pool_slots(length: int, starts: list[int], windows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Slot logits [length, tags] of a whole text from those of its windows, nearest centre first.

    Args:
        length: tokens of the text, [CLS] and [SEP] included.
        starts: first token of each window.
        windows: slot logits of each, [its tokens + 2, tags]; its [CLS] and [SEP] are left out.
    """
    pooled = np.zeros((length, windows[0].shape[1]), np.float32)
    nearest = np.full(length, np.inf)
    for start, logits in zip(starts, windows, strict=True):
        content = logits[1:-1]
        distance = np.abs(np.arange(len(content)) - (len(content) - 1) / 2)
        part = slice(start, start + len(content))
        closer = distance < nearest[part]
        pooled[part][closer] = content[closer]
        nearest[part][closer] = distance[closer]
    return pooled
