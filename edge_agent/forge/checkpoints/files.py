"""Reading the files of a checkpoint folder: JSON objects and tensors. Nothing in them is executed."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edge_agent.errors import DataError

_MOST_JSON_BYTES: Final = 64 << 20
_WEIGHT_FILES: Final = ("model.safetensors", "pytorch_model.bin")
_SAFE: Final = "save it again with transformers as model.safetensors"


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint folder.

    Raises:
        DataError: missing, or not such an object.
    """
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise DataError(f"{path}: larger than {_MOST_JSON_BYTES >> 20} MiB")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing", hint=CHECKPOINT_HINT) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON", hint="copy the file again") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: not a JSON object", hint="copy the file again")
    return value


CHECKPOINT_HINT: Final = (
    "a checkpoint is a folder with config.json, model.safetensors or pytorch_model.bin, "
    "and vocab.txt or tokenizer.json"
)


def weights_file(folder: Path) -> Path:
    """The file that holds the tensors.

    Raises:
        DataError: there is none.
    """
    for name in _WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    for path in sorted(folder.glob("*.index.json")):
        raise DataError(
            f"{path}: the weights are in parts", hint="save them in one file: max_shard_size='9GB'"
        )
    raise DataError(f"{folder}: neither {' nor '.join(_WEIGHT_FILES)} is there", hint=CHECKPOINT_HINT)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a pickled one that holds nothing else, by name.

    Raises:
        DataError: damaged, or more than tensors.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise DataError(f"{path}: damaged, not a safetensors file", hint="copy the file again") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles newer than its own, before it refuses them
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: holds more than weights, or is damaged; it could run code and is not loaded", hint=_SAFE
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise DataError(
            f"{path}: damaged, not a file of PyTorch weights", hint="copy the file again"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise DataError(f"{path}: not a dictionary of tensors", hint=_SAFE)
    return {str(name): tensor for name, tensor in found.items()}
