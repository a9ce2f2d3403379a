"""A second file for 32-bit ARM in a finished bundle: the same weights for tflite-runtime, told by pieces.

The pieces are about 1 % of the model's file, so every bundle can have them. Their figures are measured on
that runtime, elsewhere, by ``edge-agent model eval --json``, and written here into ``bundle.json`` and the
card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_agent.errors import DataError
from edge_agent.files import write_atomic
from edge_agent.forge.export.pieces import tell_by_pieces
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.export.row_scales import with_row_scales_apart
from edge_agent.inference.bundle import Bundle, read_bundle, write_bundle
from edge_agent.inference.manifest import MANIFEST_NAME
from edge_agent.inference.pieces import SUFFIX

RUNTIME = "tflite-runtime"
_CARD = "MODEL_CARD.md"
_HEADING = "## On 32-bit ARM"
_FIGURES = ("intent_accuracy", "in_scope_accepted", "slot_f1")


def add_old_runtime_variant(folder: Path) -> Bundle:
    """Writes the file for tflite-runtime into a bundle; one that it has already is made anew.

    Args:
        folder: of a bundle whose first file holds int8 weights with a scale for each row.

    Raises:
        BundleError: it is no bundle, or a damaged one.
        DataError: its first file is of another kind.
        OSError: it cannot be written.
    """
    variant = read_bundle(folder).manifest.variants[0]
    if variant.features != (Scheme.INT8_PER_CHANNEL.value,) or variant.tensors or variant.base:
        raise DataError(
            f"{folder.name}: {variant.file} is not of int8 weights with a scale for each row",
            hint="only such a file has a second form for tflite-runtime",
        )
    content = (folder / variant.file).read_bytes()
    file = f"{Path(variant.file).stem}.{RUNTIME}{SUFFIX}"
    write_atomic(folder / file, tell_by_pieces(with_row_scales_apart(content), content))
    entry = {
        "file": file,
        "base": variant.file,
        "runtime": ["ai-edge-litert", RUNTIME],
        "features": [Scheme.INT8_PER_TENSOR.value],
        "dynamic_length": True,
        "metrics": {},
    }
    manifest = _manifest(folder)
    manifest["variants"] = [*(v for v in manifest["variants"] if v["file"] != file), entry]
    return write_bundle(folder, manifest)


def write_measured(folder: Path, measured: Mapping[str, Any]) -> Bundle:
    """Writes the figures of a bundle's file for tflite-runtime into ``bundle.json`` and the model card.

    Args:
        folder: the bundle.
        measured: what ``edge-agent model eval --json`` printed of this very bundle on that runtime.

    Raises:
        BundleError: it is no bundle, or a damaged one.
        DataError: the figures are of another bundle, or of another runtime.
        OSError: it cannot be written.
    """
    bundle = read_bundle(folder)
    runtime = str(measured.get("runtime"))
    if not runtime.startswith(RUNTIME):
        raise DataError(f"the figures are of {runtime}, not of {RUNTIME}")
    if measured.get("digest") != bundle.digest:
        raise DataError(
            f"the figures are of another bundle than {folder}", hint="run `edge-agent model eval` on it again"
        )
    metrics = {**_named(measured["figures"]), "runtime": runtime, "data": _data_names(measured["data"])}
    manifest = _manifest(folder)
    for entry in manifest["variants"]:
        if RUNTIME in entry["runtime"]:
            entry["metrics"] = metrics
            break
    card = folder / _CARD
    write_atomic(card, _with_section(card.read_text(encoding="utf-8"), metrics).encode())
    return write_bundle(folder, manifest)


def _manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / MANIFEST_NAME).read_bytes())
    return content


def _named(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """``en.slot_f1`` and the like, of what was measured."""
    found = {
        f"{group}.{figure}": summary["slots"]["f1"] if figure == "slot_f1" else summary[figure]
        for group, summary in figures.items()
        for figure in _FIGURES
        if figure != "slot_f1" or summary["slots"]
    }
    return {name: round(value, 5) for name, value in found.items() if value is not None}


def _data_names(paths: Sequence[str]) -> list[str]:
    """A data set's folder and file; where the folder lay is nobody's business."""
    return ["/".join(Path(path).parts[-2:]) for path in paths]


def _with_section(card: str, metrics: Mapping[str, Any]) -> str:
    """The card with the section on 32-bit ARM at its end; an older one is replaced."""
    before, found, after = card.partition(_HEADING)
    rest = after.partition("\n## ")
    kept = before.rstrip() + (f"\n\n## {rest[2]}".rstrip() if found and rest[1] else "")
    groups = sorted({name.rpartition(".")[0] for name in metrics if "." in name})
    rows = [
        " | ".join([group, *(_percent(metrics.get(f"{group}.{figure}")) for figure in _FIGURES)])
        for group in groups
    ]
    lines = [
        _HEADING,
        "",
        f"There {metrics['runtime']} serves the same weights from a second file, with the rows' scales as "
        "operators of their own. Measured on x86-64 with that runtime, on "
        f"{', '.join(metrics['data'])}:",
        "",
        "| language | intent accuracy | accepted | slot F1 |",
        "|---|---|---|---|",
        *(f"| {row} |" for row in rows),
    ]
    return f"{kept}\n\n" + "\n".join(lines) + "\n"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}%"
