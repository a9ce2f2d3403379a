"""What a model costs where it serves: time, memory, size.

Times are taken in turns over all models of a run, so that what else the machine does falls on each of them
alike and their ratios hold on a busy machine, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edge_agent.forge.encoders.weights import EncoderWeights, MobileEncoderWeights
from edge_agent.forge.judging.memory import memory_megabytes
from edge_agent.inference.bundle import read_bundle, read_tokenizer
from edge_agent.inference.model import Model
from edge_agent.types import Task

LENGTHS = (8, 16, 32, 64, 128)
"""Tokens, [CLS] and [SEP] counted."""
_ROUNDS = 25


def latencies(models: Mapping[str, Model], rounds: int = _ROUNDS) -> dict[str, dict[str, float]]:
    """Median milliseconds in the runtime, one thread, by model and number of tokens.

    Lengths beyond a model's own longest input are left out.
    """
    words = {name: _whole_word(model) for name, model in models.items()}
    table: dict[str, dict[str, float]] = {name: {} for name in models}
    for length in LENGTHS:
        times: dict[str, list[float]] = {
            name: [] for name, model in models.items() if length <= model.manifest.input.max_tokens
        }
        for _ in range(rounds):
            for name, found in times.items():
                text = f"{words[name]} " * (length - 2)
                _invoke_ms(models[name], text)  # the first call after another length allocates
                found.append(_invoke_ms(models[name], text))
        for name, found in times.items():
            table[name][str(length)] = round(median(found), 4)
    return table


def _invoke_ms(model: Model, text: str) -> float:
    if model.manifest.task is Task.EMBED:
        return model.embed(text).invoke_ms
    return model.analyse(text, top_k=0).invoke_ms


def costs(bundle: Path, weights: EncoderWeights | MobileEncoderWeights) -> dict[str, Any]:
    """Sizes and memory of a written bundle.

    Returns:
        ``tflite_megabytes``, ``bundle_megabytes`` (a million bytes each), ``memory_megabytes`` (or None).
    """
    manifest = read_bundle(bundle).manifest
    model = bundle / manifest.variants[0].file
    return {
        "tflite_megabytes": round(model.stat().st_size / 1e6, 4),
        "bundle_megabytes": folder_megabytes(bundle),
        "memory_megabytes": memory_megabytes(bundle),
        "parameters": parameter_count(weights),
    }


def folder_megabytes(folder: Path) -> float:
    """Size of a folder's files in megabytes of a million bytes."""
    return round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6, 4)


def parameter_count(weights: EncoderWeights | MobileEncoderWeights) -> int:
    """Numbers that were trained: all arrays of the encoder and its heads."""
    return sum(array.size for array in _arrays(weights))


def _arrays(value: object) -> Iterator[np.ndarray]:
    """Every array in a tree of dataclasses and tuples."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _arrays(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _arrays(getattr(value, field.name))


def _whole_word(model: Model) -> str:
    """A word that is one token, so that n of them are n tokens."""
    settings = model.manifest.tokenizer
    tokenizer = read_tokenizer(model.bundle)
    for line in model.bundle.file(settings.vocabulary).read_text(encoding="utf-8").split("\n"):
        if line.isascii() and line.isalpha() and line.islower() and len(tokenizer.encode(line).ids) == 3:
            return line
    return "a"
