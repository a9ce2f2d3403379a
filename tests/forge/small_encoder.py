"""A small encoder, a vocabulary and batches for it: what the tests of training are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from edge_agent.forge.data.features import IGNORED, Features
from edge_agent.forge.encoders.bert import EncoderShape, JointEncoder
from edge_agent.forge.training.batches import Batch, collate

TOKENS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *(f"word{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(80)),
    *("##ing", "##ed"),
)
LABELS, TAGS = 4, 3


def small_encoder(
    seed: int = 0, *, layers: int = 4, hidden: int = 48, labels: int = LABELS, tags: int = TAGS
) -> JointEncoder:
    """Four layers of 48 with four heads and spread weights, in evaluation mode."""
    torch.manual_seed(seed)
    encoder = JointEncoder(
        EncoderShape(
            vocabulary=len(TOKENS),
            hidden=hidden,
            intermediate=2 * hidden,
            layers=layers,
            heads=4,
            longest=24,
            labels=labels,
            tags=tags,
        )
    )
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    return encoder.eval()


def sentence(words: Sequence[int], label: int = IGNORED, tags: Sequence[int] | None = None) -> Features:
    """[CLS] words [SEP]; words count from 0."""
    ids = (2, *(5 + word for word in words), 3)
    inner = tags if tags is not None else [IGNORED] * len(words)
    return Features(ids, label, (IGNORED, *inner, IGNORED), 1.0, None, None)


def random_batches(seed: int = 0, *, size: int = 8, length: int = 6) -> Iterator[Batch]:
    """Endless batches in which the first word decides the label and each word its tag."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        rows = torch.randint(0, 80, (size, length), generator=generator).tolist()
        yield collate([sentence(row, row[0] % LABELS, [word % TAGS for word in row]) for row in rows])
