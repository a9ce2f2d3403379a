"""The values that cross module borders: what a model answers.

Frozen and without behaviour beyond what their fields imply. The JSON that MQTT and the command line
show of them is made in :mod:`edge_agent.link.envelope`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Task(str, Enum):
    """What a bundle's model does (PROTOCOL §3)."""

    INTENT = "intent"
    CLASSIFY = "classify"
    EMBED = "embed"


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece of the text that fills a slot of the intent.

    Attributes:
        name: slot name, e.g. ``area``.
        value: the exact slice ``text[start:end]``.
        start: offset of the first character, in Unicode code points of the text.
        end: offset past the last character.
        confidence: mean probability of the slot's tokens, 0..1.
    """

    name: str
    value: str
    start: int
    end: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """A label with its calibrated probability, 0..1."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one text.

    Attributes:
        model: the bundle's name.
        version: the bundle's version.
        task: intent, classify or embed.
        recognized: False when the best label is under the threshold, closer to the second than the
            margin, or the out-of-scope class; always True for an embedding.
        label: the intent or class; None when not recognized and for an embedding.
        confidence: calibrated probability of the best label, recognized or not; None for an embedding.
        alternatives: further labels, best first, without ``label`` itself.
        slots: in the order of the text; empty when not recognized and for classifiers.
        truncated: the text was longer than the model and its end was not read.
        tokenize_ms: time for text → token ids, milliseconds.
        invoke_ms: time in the runtime, milliseconds.
        embedding: of the task embed, a vector of length 1; None for the other tasks.
    """

    model: str
    version: str
    task: Task
    recognized: bool
    label: str | None
    confidence: float | None
    alternatives: tuple[Ranked, ...]
    slots: tuple[Slot, ...]
    truncated: bool
    tokenize_ms: float
    invoke_ms: float
    embedding: tuple[float, ...] | None = None
