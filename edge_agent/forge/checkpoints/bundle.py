"""A checkpoint folder → an int8 bundle that passes its golden sentences on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from edge_agent import __version__
from edge_agent.errors import DataError
from edge_agent.files import sync_folder, write_atomic
from edge_agent.forge.checkpoints.card import render_card
from edge_agent.forge.checkpoints.checkpoint import Checkpoint, load_checkpoint
from edge_agent.forge.checkpoints.golden import Comparison, Original, compare
from edge_agent.forge.checkpoints.outputs import Outputs, outputs_of
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.export.tflite import export_encoder
from edge_agent.forge.judging.assemble import least_cosine
from edge_agent.inference.bundle import write_bundle
from edge_agent.inference.model import Model
from edge_agent.inference.runtime import runtime_info

_SCHEME: Final = Scheme.INT8_PER_CHANNEL
_BATCH: Final = 4
_MODEL_FILE, _GOLDEN_FILE, _VOCABULARY_FILE = "model.tflite", "golden.jsonl", "vocab.txt"
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the maker says of the bundle; see :func:`import_checkpoint`."""

    name: str
    version: str
    languages: Sequence[str]
    licence: str


def import_checkpoint(
    folder: Path,
    out: Path,
    *,
    name: str | None = None,
    version: str = "1.0.0",
    labels: Sequence[str] | None = None,
    languages: Sequence[str] = ("und",),
    licence: str | None = None,
) -> Path:
    """Makes a bundle of a Hugging Face checkpoint.

    Sequence classification becomes the task classify, the bare encoder the task embed, and token
    classification the task intent with one intent, which is always recognized, and the tags as slots.

    Args:
        folder: the checkpoint; see :func:`~edge_agent.forge.checkpoints.checkpoint.load_checkpoint`.
        out: the bundle's folder, which must not exist; on a refusal it still does not.
        name: of the model; None for the checkpoint folder's.
        version: semantic version.
        labels: in place of the checkpoint's, in their order; None to keep those.
        languages: that it understands; ``und`` where nobody said.
        licence: of the weights; None for what the folder's README.md says, if anything.

    Returns:
        ``out``.

    Raises:
        DataError: the checkpoint is not supported, or does not fit what was wished for.
        GateError: the int8 file answers otherwise than its original.
        BundleError: a name, version or label that bundles cannot have.
    """
    if out.exists():
        raise DataError(f"{out}: exists already", hint="choose another folder with --out, or remove it")
    checkpoint = load_checkpoint(folder)
    outputs = outputs_of(folder, checkpoint, labels)
    wishes = _Wishes(name or plain_name(folder), version, languages, licence or _licence(folder))
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _write(staged, folder, checkpoint, outputs, wishes)
        staged.chmod(0o755)
        staged.rename(out)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    sync_folder(out.parent)
    return out


def _write(staged: Path, folder: Path, checkpoint: Checkpoint, outputs: Outputs, wishes: _Wishes) -> None:
    encoder = replace(checkpoint, state=outputs.in_order(checkpoint.state)).build()
    export_encoder(encoder.export_weights(), staged / _MODEL_FILE, scheme=_SCHEME, batch=_BATCH)
    tokens = "".join(f"{token}\n" for token in checkpoint.tokenizer.tokens)
    write_atomic(staged / _VOCABULARY_FILE, tokens.encode())
    write_atomic(staged / _GOLDEN_FILE, b"")
    manifest = _manifest(folder, checkpoint, outputs, wishes)
    write_bundle(staged, manifest)
    original = Original(encoder, checkpoint.tokenizer.word_piece(), outputs.labels, outputs.slot_tags)
    with Model.load(staged, check_golden=False) as served:
        compared = compare(
            original, served, max_tokens=manifest["input"]["max_tokens"], min_cosine=least_cosine(_SCHEME)
        )
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in compared.golden)
    write_atomic(staged / _GOLDEN_FILE, lines.encode())
    manifest["metrics"] = _metrics(compared, staged / _MODEL_FILE)
    write_atomic(staged / "MODEL_CARD.md", render_card(manifest, checkpoint).encode())
    write_bundle(staged, manifest)
    Model.load(staged).close()


def _metrics(compared: Comparison, model: Path) -> dict[str, Any]:
    return {
        "agreement_with_float32": {
            "sentences": compared.sentences,
            "same_answer": compared.agreeing,
            "mean_cosine": round(compared.mean_cosine, 5),
            "least_cosine": round(compared.least_cosine, 5),
        },
        "model_bytes": model.stat().st_size,
    }


def _manifest(folder: Path, checkpoint: Checkpoint, outputs: Outputs, wishes: _Wishes) -> dict[str, Any]:
    tokenizer = checkpoint.tokenizer
    max_tokens = min(tokenizer.max_tokens, checkpoint.shape.longest)
    return {
        "format": 1,
        "name": wishes.name,
        "version": wishes.version,
        "task": outputs.task.value,
        "languages": list(wishes.languages),
        "labels": list(outputs.labels),
        "out_of_scope": None,
        "slot_tags": list(outputs.slot_tags),
        "tokenizer": {
            "type": "wordpiece",
            "vocabulary": _VOCABULARY_FILE,
            "lowercase": tokenizer.lowercase,
            "strip_accents": tokenizer.strip_accents,
            "max_word_characters": tokenizer.max_word_characters,
        },
        "calibration": {"temperature": 1.0, "threshold": 0.0, "margin": 0.0},
        "input": {
            "max_tokens": max_tokens,
            "beyond": "truncate",  # as the checkpoint was trained; windows would be a guess
            "window_stride": max(1, max_tokens // 2),
        },
        "variants": [
            {
                "file": _MODEL_FILE,
                "runtime": ["ai-edge-litert"],
                "features": [_SCHEME.value],
                "dynamic_length": True,
                "metrics": {},
            }
        ],
        "golden": {"file": _GOLDEN_FILE, "min_cosine": least_cosine(_SCHEME)},
        "metrics": {},
        "teacher": None,
        "provenance": _provenance(folder, checkpoint),
        "licence": wishes.licence,
    }


def plain_name(folder: Path) -> str:
    """A name that a bundle can have, after the folder's."""
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_")
    return name[:64] or "model"


def _provenance(folder: Path, checkpoint: Checkpoint) -> Mapping[str, Any]:
    digest = hashlib.sha256()
    with checkpoint.weights.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    runtime = runtime_info()
    return {
        "imported_from": folder.resolve().name,
        "family": checkpoint.family,
        "architecture": checkpoint.use.value,
        "weights_sha256": digest.hexdigest(),
        "edge_agent": __version__,
        "torch": str(torch.__version__),
        "runtime": str(runtime),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def _licence(folder: Path) -> str:
    """What the front matter of the folder's README.md says."""
    path = folder / "README.md"
    head = path.read_text(encoding="utf-8", errors="replace")[:4096] if path.is_file() else ""
    found = re.match(r"---\n(?:.*\n)*?license:[ \t]*([\w.+-]+)[ \t]*\n(?:.*\n)*?---", head)
    return found[1] if found else "unknown: see the checkpoint's own"
