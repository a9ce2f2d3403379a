"""Tensors on disk: the whole new file or the old one, power cut or not; nothing in them is executed."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edge_agent.errors import DataError
from edge_agent.files import sync_folder


def save_tensors(content: Mapping[str, Any], path: Path) -> None:
    """Writes tensors and plain values to ``path``, by way of ``<stem>.partial`` beside it.

    Not by :func:`~edge_agent.files.write_atomic`, which wants the bytes: a checkpoint has hundreds of MB.
    """
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(dict(content), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def load_tensors(path: Path, device: torch.device | None = None) -> dict[str, Any]:
    """What :func:`save_tensors` wrote.

    Raises:
        DataError: damaged; the hint says what to remove.
    """
    try:
        found = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise DataError(f"{path}: damaged", hint=_START_ANEW) from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: damaged", hint=_START_ANEW)
    return found


_START_ANEW = "remove it and run the same command: what it held is trained anew, what else is there is kept"
