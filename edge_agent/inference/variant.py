"""The files with a bundle's model: what each is, and what a runtime must be and compute rightly to run it.

An entry of ``variants`` in ``bundle.json``, parsed strictly. Which of them serves here is chosen in
:mod:`edge_agent.inference.variants`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge_agent.inference.fields import Fields

FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""What a bundle's files may be called."""

_INPUTS: Final = ("token_ids", "mask", "segment_ids")
_OUTPUTS: Final = ("label_logits", "label_probabilities")


@dataclass(frozen=True, slots=True)
class TensorNames:
    """The names of a foreign file's tensors, by what they are to us.

    Attributes:
        inputs: of ``token_ids``, and of ``mask`` (1 for every token, 0 for padding) and ``segment_ids``
            (all 0) where the file takes them, int32 [1, length] each.
        outputs: of ``label_logits`` or ``label_probabilities``, float32 [1, labels].
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Variant:
    """One file with the model, and what a runtime must be and support to run it.

    Attributes:
        file: its name.
        runtimes: which may run it.
        features: what they must compute rightly.
        dynamic_length: it takes any length; else inputs are padded to its own.
        metrics: of this file.
        tensors: the names of its tensors, or None where they are those of the contract.
        base: the bundle's file that it takes pieces from (:mod:`edge_agent.inference.pieces`), or None where
            it stands for itself.
    """

    file: str
    runtimes: tuple[str, ...]
    features: tuple[str, ...]
    dynamic_length: bool
    metrics: Mapping[str, Any]
    tensors: TensorNames | None = None
    base: str | None = None


def parse_variant(fields: Fields) -> Variant:
    """One entry of ``variants``.

    Raises:
        BundleError: a key is missing, unknown or wrong.
    """
    variant = Variant(
        file=fields.text("file", FILE_NAME),
        runtimes=fields.texts("runtime"),
        features=fields.texts("features", least=0),
        dynamic_length=fields.flag("dynamic_length"),
        metrics=fields.mapping("metrics"),
        tensors=_tensors(fields.section("tensors")) if "tensors" in fields.names() else None,
        base=fields.text("base", FILE_NAME) if "base" in fields.names() else None,
    )
    fields.finish()
    if variant.tensors and variant.dynamic_length:
        raise fields.error("dynamic_length", "is true, where the tensors have names of their own")
    if variant.base == variant.file:
        raise fields.error("base", "is the file itself")
    return variant


def _tensors(fields: Fields) -> TensorNames:
    names = TensorNames(
        inputs=_names(fields.section("inputs"), _INPUTS),
        outputs=_names(fields.section("outputs"), _OUTPUTS),
    )
    fields.finish()
    if _INPUTS[0] not in names.inputs:
        raise fields.error("inputs", f"has no {_INPUTS[0]}")
    if len(names.outputs) != 1:
        raise fields.error("outputs", f"is not one of {' and '.join(_OUTPUTS)}")
    return names


def _names(fields: Fields, keys: tuple[str, ...]) -> dict[str, str]:
    names = {key: fields.text(key) for key in keys if key in fields.names()}
    fields.finish()
    if len(set(names.values())) != len(names):
        raise fields.error(keys[-1], "is the name of another tensor, too")
    return names
