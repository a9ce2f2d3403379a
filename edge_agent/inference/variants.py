"""Which file of a bundle serves here, its content, and whether its outputs are what the bundle promises."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge_agent.errors import BundleError
from edge_agent.inference.bundle import Bundle
from edge_agent.inference.manifest import Manifest
from edge_agent.inference.pieces import join_pieces
from edge_agent.inference.runtime import Runner, RuntimeInfo
from edge_agent.inference.variant import Variant
from edge_agent.types import Task

LABEL_OUTPUT: Final = "label_logits"
SLOT_OUTPUT: Final = "slot_logits"
EMBEDDING_OUTPUT: Final = "embedding"


def choose_variant(manifest: Manifest, runtime: RuntimeInfo) -> Variant:
    """The first variant that the runtime computes rightly.

    Raises:
        BundleError: there is none.
    """
    for variant in manifest.variants:
        if runtime.name in variant.runtimes and runtime.features.issuperset(variant.features):
            return variant
    needs = "; ".join(
        f"{v.file} needs {'/'.join(v.runtimes)} {' '.join(v.features)}" for v in manifest.variants
    )
    raise BundleError(f"{manifest.name}: no file of the bundle runs on {runtime} ({needs})")


def model_of(bundle: Bundle, variant: Variant) -> Path | bytes:
    """What a runtime loads of a variant: its file, or the bytes that its pieces make.

    Raises:
        BundleError: the pieces do not belong to the file that they are of.
        OSError: a file cannot be read.
    """
    if variant.base is None:
        return bundle.file(variant.file)
    told = bundle.file(variant.file).read_bytes()
    with bundle.file(variant.base).open("rb") as base:
        return join_pieces(variant.file, told, base)


def check_outputs(file: str, runner: Runner, manifest: Manifest) -> None:
    """Refuse a file whose outputs are not those of the manifest.

    Raises:
        BundleError: one is missing, or has another width.
    """
    if manifest.task is Task.EMBED:
        shape = runner.output_shapes.get(EMBEDDING_OUTPUT)
        if not shape or shape[-1] < 1:
            raise BundleError(f"{file}: has no output {EMBEDDING_OUTPUT} of a fixed width")
        return
    widths = {LABEL_OUTPUT: len(manifest.labels)}
    if manifest.slot_tags:
        widths[SLOT_OUTPUT] = len(manifest.slot_tags)
    for name, width in widths.items():
        shape = runner.output_shapes.get(name)
        if not shape:
            raise BundleError(f"{file}: has no output {name}")
        if shape[-1] != width:
            raise BundleError(f"{file}: {name} has {shape[-1]} columns where bundle.json has {width}")
