"""What a checkpoint's outputs are called in a bundle: its task, labels and slot tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from edge_agent.errors import DataError
from edge_agent.forge.checkpoints.checkpoint import Checkpoint
from edge_agent.forge.checkpoints.config import Use
from edge_agent.types import Task

_ONLY_INTENT: Final = "slots"
"""The one intent of a model that only finds slots; it is in every answer."""
_BIO: Final = "models with BIO tags are supported"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Task, labels and slot tags of the bundle.

    Attributes:
        task: classify, intent or embed.
        labels: in the order of the label head's rows; empty for embed.
        slot_tags: "O" first; empty where there are none.
        tag_rows: for each slot tag, its row in the checkpoint's head.
    """

    task: Task
    labels: tuple[str, ...] = ()
    slot_tags: tuple[str, ...] = ()
    tag_rows: tuple[int, ...] = ()

    def in_order(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """An encoder's state with the slot head's rows in the order of the bundle's tags."""
        heads = {name: state[name][list(self.tag_rows)] for name in state if name.startswith("slot_head.")}
        return {**state, **heads}


def outputs_of(folder: Path, checkpoint: Checkpoint, wished: Sequence[str] | None) -> Outputs:
    """What a bundle of this checkpoint answers with.

    Args:
        folder: of the checkpoint, for messages.
        checkpoint: what it holds.
        wished: labels in place of its own; None to keep those.

    Raises:
        DataError: it has not learned a task, other labels were wished for, or its tags are not BIO.
    """
    config = folder / "config.json"
    if checkpoint.use is Use.PRETRAINING:
        raise DataError(
            f"{config}: a pretrained encoder that has not learned a task",
            hint="train it on yours: forge train, with the folder as the recipe's encoder.checkpoint",
        )
    if checkpoint.use is Use.ENCODER:
        return Outputs(Task.EMBED, _chosen(folder, wished, ()))
    if checkpoint.use is Use.CLASSIFY:
        return Outputs(Task.CLASSIFY, _chosen(folder, wished, checkpoint.labels))
    rows = _rows(config, checkpoint.labels)
    tags = tuple(_slot_tag(config, checkpoint.labels[row]) for row in rows)
    if len(set(tags)) != len(tags):
        raise DataError(f"{config}: id2label has tags that differ in case or punctuation only")
    return Outputs(Task.INTENT, _chosen(folder, wished, (_ONLY_INTENT,)), tags, rows)


def _chosen(folder: Path, wished: Sequence[str] | None, own: tuple[str, ...]) -> tuple[str, ...]:
    if wished is None:
        return own
    if len(wished) != len(own):
        raise DataError(
            f"{folder}: {len(wished)} labels given, where the model has {len(own)}",
            hint=f"its own are {', '.join(own) or 'none'}"[:200],
        )
    return tuple(wished)


def _rows(config: Path, names: tuple[str, ...]) -> tuple[int, ...]:
    """The rows of the head, that of "O" first."""
    if "O" not in names:
        raise DataError(f"{config}: id2label has no tag O", hint=_BIO)
    return (names.index("O"), *(row for row, name in enumerate(names) if name != "O"))


def _slot_tag(config: Path, name: str) -> str:
    """``B-PER`` → ``B-per``: slot names are lower case letters, digits and underscores."""
    if name == "O":
        return name
    found = re.fullmatch(r"([BI])-(.+)", name)
    slot = re.sub(r"[^a-z0-9_]+", "_", found[2].lower()).strip("_") if found else ""
    if not found or not slot:
        raise DataError(f"{config}: the tag {name!r:.60} is neither O nor B-… nor I-…", hint=_BIO)
    return f"{found[1]}-{slot}"
