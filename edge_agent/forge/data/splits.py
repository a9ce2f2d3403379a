"""Which rows of one file are for training, which for dev and which for test: decided by their text alone.

A text's place is a hash of it, folded, so every section that reads the file decides alike, on every machine,
whatever the order of the rows, and two rows with one text never part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from edge_agent.forge.data.examples import UNLABELLED, Example
from edge_agent.forge.data.home_assistant import fold

Use = Literal["train", "dev", "test"]
_FEWEST_TO_HOLD_OUT = 5
_HASH_RANGE = float(1 << 64)


def text_key(text: str) -> str:
    """A text without what makes no difference: case, accents, width of white space."""
    return " ".join(fold(text).split())


def unique_texts(examples: Iterable[Example]) -> set[str]:
    """The keys of texts, for finding sentences that stand in two splits."""
    return {text_key(example.text) for example in examples}


def place(key: str) -> float:
    """A text key's place in 0 ≤ x < 1: the first 64 bits of its SHA-1."""
    return int.from_bytes(hashlib.sha1(key.encode(), usedforsecurity=False).digest()[:8], "big") / _HASH_RANGE


def split_by_text(
    examples: Sequence[Example], *, dev: float, test: float, stratified: bool
) -> dict[Use, list[Example]]:
    """Parts examples into training, dev and test.

    Args:
        examples: of one file; those without a label go to training, unless none has one.
        dev: share of the texts for dev, 0..1.
        test: share of the texts for test.
        stratified: take the shares of each label's texts, at least one of a label with five; else a text's
            place alone decides, so a file that grows never moves a text.
    """
    none_labelled = all(example.label == UNLABELLED for example in examples)
    labels = {text_key(e.text): e.label for e in reversed(examples) if none_labelled or e.label != UNLABELLED}
    uses = _by_rank(labels, dev, test) if stratified else {k: _by_place(k, dev, test) for k in labels}
    parts: dict[Use, list[Example]] = {"train": [], "dev": [], "test": []}
    for example in examples:
        to_training = example.label == UNLABELLED and not none_labelled
        use: Use = "train" if to_training else uses[text_key(example.text)]
        parts[use].append(example)
    return parts


def _by_place(key: str, dev: float, test: float) -> Use:
    at = place(key)
    return "dev" if at < dev else "test" if at < dev + test else "train"


def _by_rank(labels: Mapping[str, str], dev: float, test: float) -> dict[str, Use]:
    by_label: dict[str, list[str]] = {}
    for key, label in labels.items():
        by_label.setdefault(label, []).append(key)
    uses: dict[str, Use] = dict.fromkeys(labels, "train")
    for keys in by_label.values():
        keys.sort(key=place)
        for_dev, for_test = _count(keys, dev), _count(keys, test)
        uses.update(dict.fromkeys(keys[:for_dev], "dev"))
        uses.update(dict.fromkeys(keys[for_dev : for_dev + for_test], "test"))
    return uses


def _count(keys: Sequence[str], share: float) -> int:
    if share == 0 or len(keys) < _FEWEST_TO_HOLD_OUT:
        return 0
    return max(1, round(share * len(keys)))
