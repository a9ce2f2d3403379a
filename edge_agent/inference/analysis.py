"""What one run of a model says of one text, before it is put into the words of a prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.inference.decode import Decision
from edge_agent.inference.golden import SlotSpan
from edge_agent.inference.tokenizer import Encoding
from edge_agent.types import Slot


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything that one run says of one text: what predictions, golden checks and evaluation read.

    Attributes:
        encoding: the tokens that were read, [CLS] and [SEP] included, after truncation.
        label_logits: float32 [labels], uncalibrated, pooled over windows.
        slot_logits: float32 [tokens, tags], or None for a model without slots.
        decision: label, confidence, ranking.
        slots: of a recognized intent, else empty.
        truncated: the end of the text was not read.
        tokenize_ms: time for text → token ids.
        invoke_ms: time in the runtime.
    """

    encoding: Encoding
    label_logits: NDArray[np.float32]
    slot_logits: NDArray[np.float32] | None
    decision: Decision
    slots: tuple[Slot, ...]
    truncated: bool
    tokenize_ms: float
    invoke_ms: float

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The token ids that were read."""
        return self.encoding.ids

    @property
    def label(self) -> str:
        """The best label, before threshold, margin and scope."""
        return self.decision.best

    @property
    def recognized(self) -> bool:
        """Whether the best label is the answer."""
        return self.decision.recognized

    @property
    def slot_spans(self) -> tuple[SlotSpan, ...]:
        """The slots without value and confidence."""
        return tuple(SlotSpan(slot.name, slot.start, slot.end) for slot in self.slots)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a run of a model of the task embed says of one text.

    Attributes:
        encoding: the tokens that were read, after truncation.
        embedding: float32 [hidden], of length 1, pooled over windows.
        truncated: the end of the text was not read.
        tokenize_ms: time for text → token ids.
        invoke_ms: time in the runtime.
    """

    encoding: Encoding
    embedding: NDArray[np.float32]
    truncated: bool
    tokenize_ms: float
    invoke_ms: float

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The token ids that were read."""
        return self.encoding.ids
