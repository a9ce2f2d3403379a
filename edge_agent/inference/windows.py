"""Texts longer than the model: cut at a word, or read in overlapping windows and pooled.

Pure. Label logits are pooled by their mean, which keeps the scale that the calibration was fitted on and
does not favour the loudest window. A token's slot logits are those of the window in which it stands nearest
to the centre, where it has context on both sides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.inference.tokenizer import Encoding


def truncate(encoding: Encoding, max_tokens: int) -> Encoding:
    """The first tokens and [SEP], at most ``max_tokens``; cut between words unless one word fills it all."""
    if len(encoding.ids) <= max_tokens:
        return encoding
    end = max_tokens - 1
    while end > 1 and encoding.words[end] == encoding.words[end - 1]:
        end -= 1
    end = end if end > 1 else max_tokens - 1
    return Encoding(
        (*encoding.ids[:end], encoding.ids[-1]),
        (*encoding.spans[:end], encoding.spans[-1]),
        (*encoding.words[:end], encoding.words[-1]),
    )


def window_starts(length: int, max_tokens: int, stride: int) -> list[int]:
    """Where windows of ``max_tokens`` - 2 tokens begin, the last of them full, too.

    Args:
        length: tokens of the text, [CLS] and [SEP] included; more than ``max_tokens``.
        max_tokens: of a window with its own [CLS] and [SEP].
        stride: tokens from one start to the next, at most ``max_tokens`` - 2, so that none is left out.
    """
    last = length - 1 - (max_tokens - 2)
    return [*range(1, last, stride), last]


def mean_logits(windows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of the windows' label logits, [labels]."""
    mean: NDArray[np.float32] = np.stack(windows).mean(axis=0, dtype=np.float32)
    return mean


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
