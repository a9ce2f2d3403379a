"""``.tflite`` with TFLite metadata → a bundle folder that the daemon serves.

The file is kept as it is, byte for byte; its vocabulary is laid beside it, and ``bundle.json`` says how the
two are used. The golden sentences are made by running the file here. They prove that a device computes what
this machine computed, and nothing about whether that is right: only the file's maker could say that.

Everything is made and tried in a temporary folder; where anything is refused, nothing is left on disk.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent import __version__
from edge_agent.errors import BundleError, RuntimeFailure
from edge_agent.inference.archive import MOST_BUNDLE_BYTES
from edge_agent.inference.bundle import Bundle, make_tokenizer, pack, unpack, write_bundle
from edge_agent.inference.decode import decide
from edge_agent.inference.foreign import (
    VOCABULARY_FILE,
    ForeignModel,
    TensorInfo,
    label_file,
    tokenizer_unit,
    understand,
)
from edge_agent.inference.manifest import Calibration, is_version, parse_tokenizer
from edge_agent.inference.model import Model
from edge_agent.inference.runtime import Runner, open_interpreter
from edge_agent.inference.tflite_metadata import ModelMetadata, read_files, read_metadata
from edge_agent.inference.tokenizer import Tokenizer
from edge_agent.inference.variant import TensorNames
from edge_agent.inference.windows import truncate

MODEL_FILE: Final = "model.tflite"
GOLDEN_FILE: Final = "golden.jsonl"
UNKNOWN_LICENCE: Final = "unknown"
UNDETERMINED: Final = "und"
"""The language code of ISO 639-2 for a language that is not known."""

_CALIBRATION: Final = Calibration(temperature=1.0, threshold=0.0, margin=0.0)
_LEAST_COSINE: Final = 0.98
_SURE: Final = 0.05
_SUM_TOLERANCE: Final = 1e-3
_EXAMPLES: Final = (
    "this was a wonderful film with great actors",
    "the food was cold and the waiter was rude",
    "it is raining again and the train is late",
    "please turn on the light in the kitchen",
    "how do I get my money back?",
    "I would like to book a table for two tomorrow at eight",
    "The new phone is OK, but its battery does not last",
    "what time does the bank open on monday",
    "no me gusta nada este hotel",
    "la película es muy buena",
)
_LONG_EXAMPLE: Final = " ".join(_EXAMPLES)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the file does not say, or says otherwise; None takes what it says, or the default.

    Attributes:
        name: of the bundle; else from the file's name.
        version: of the bundle; else the metadata's where it is one, else 1.0.0.
        languages: codes; else undetermined.
        licence: else the metadata's, else unknown.
    """

    name: str | None = None
    version: str | None = None
    languages: tuple[str, ...] = ()
    licence: str | None = None


def import_tflite(path: Path, out: Path, options: ImportOptions) -> Bundle:
    """Make the bundle folder ``out/NAME`` of a file.

    Args:
        path: the ``.tflite`` file.
        out: made if need be.
        options: what the file does not say.

    Raises:
        BundleError: the file is missing, damaged, hostile, not of a kind that is understood, or does not run
            here; or there is such a folder. Nothing is written.
        RuntimeFailure: there is no runtime.
        OSError: the bundle cannot be written.
    """
    target = out / (options.name or _plain_name(path.stem))
    if target.exists():
        raise BundleError(f"{target}: already exists", hint="choose another --name or --out, or remove it")
    try:
        with tempfile.TemporaryDirectory(prefix="edge-agent-") as temporary:
            folder = Path(temporary) / "bundle"
            folder.mkdir()
            _make(path, folder, options)
            archive = pack(folder, Path(temporary) / "bundle.edgemodel")
            out.mkdir(parents=True, exist_ok=True)
            return unpack(archive, target)
    except BundleError as error:
        raise BundleError(f"{path}: {error}", hint=error.hint) from error


def _make(path: Path, folder: Path, options: ImportOptions) -> None:
    """Fill ``folder`` with a whole, tried bundle."""
    content = _read(path)
    metadata = read_metadata(content)
    names = (*tokenizer_unit(metadata).vocabularies[:1], label_file(metadata))
    files = read_files(content, names)
    (folder / MODEL_FILE).write_bytes(content)
    inputs, outputs, features = _describe(folder / MODEL_FILE)
    model = understand(metadata, inputs, outputs, files)
    (folder / VOCABULARY_FILE).write_bytes(model.vocabulary)
    tokenizer = _tokenizer(model)
    role = _try(folder / MODEL_FILE, model, tokenizer)
    tensors = TensorNames(model.inputs, {role: model.output})
    manifest = _manifest(path, content, metadata, model, tensors, features, options)
    _write_golden(folder, model, tokenizer, tensors, manifest["languages"][0])
    (folder / "MODEL_CARD.md").write_text(_card(path, metadata, model, manifest), encoding="utf-8")
    write_bundle(folder, manifest)
    Model.load(folder).close()


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise BundleError("is missing, or not a file")
        if path.stat().st_size > MOST_BUNDLE_BYTES // 2:
            raise BundleError(f"is larger than {MOST_BUNDLE_BYTES // 2} bytes")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot be read ({error.strerror})") from error


def _describe(file: Path) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...], list[str]]:
    """Inputs, outputs, and what a runtime must compute rightly."""
    try:
        interpreter = open_interpreter(file, threads=1, backend=None)
        details = interpreter.get_tensor_details()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except RuntimeFailure as error:
        raise BundleError(str(error), hint=error.hint) from error
    scales = [len(d["quantization_parameters"]["scales"]) for d in details if d["dtype"] is np.int8]
    feature = "float32" if not scales else "int8-per-channel" if max(scales) > 1 else "int8-per-tensor"
    return tuple(map(_tensor_info, inputs)), tuple(map(_tensor_info, outputs)), [feature]


def _tensor_info(details: Mapping[str, Any]) -> TensorInfo:
    shape = tuple(int(size) for size in details["shape"])
    return TensorInfo(str(details["name"]), np.dtype(details["dtype"]).name, shape)


def _tokenizer(model: ForeignModel) -> Tokenizer:
    try:
        return make_tokenizer(parse_tokenizer(model.tokenizer), model.vocabulary)
    except ValueError as error:
        raise BundleError(f"its vocabulary or its tokenizer is not one: {error}") from error


def _try(file: Path, model: ForeignModel, tokenizer: Tokenizer) -> str:
    """Whether the file runs and takes every id; what its output is: logits or probabilities."""
    runner = _runner(file, model, tokenizer, TensorNames(model.inputs, {"label_logits": model.output}))
    last = tokenizer.vocabulary_size - 1
    _run(runner, [tokenizer.pad_id], "does not run here")
    _run(runner, [last], f"its vocabulary goes up to id {last}, which the model does not know")
    values = np.stack([_run(runner, ids, "does not run here") for _, ids in _examples(model, tokenizer)])
    runner.close()
    if not np.isfinite(values).all():
        raise BundleError("computes numbers that are none")
    if values.min() >= 0 and np.abs(values.sum(axis=1) - 1).max() <= _SUM_TOLERANCE:
        return "label_probabilities"
    if values.min() >= 0 and values.max() <= 1:
        raise BundleError(
            "its output is neither logits nor probabilities that sum to 1",
            hint="a model that says yes or no to each label by itself cannot be served",
        )
    return "label_logits"


def _run(runner: Runner, ids: Sequence[int], reason: str) -> NDArray[np.float32]:
    """The output [labels] for these ids, or a refusal for this reason."""
    try:
        return runner.run(ids)["label_logits"].reshape(-1)
    except RuntimeFailure as error:
        raise BundleError(f"{reason} ({error})") from error


def _runner(file: Path, model: ForeignModel, tokenizer: Tokenizer, tensors: TensorNames) -> Runner:
    return Runner(
        file,
        dynamic_length=False,
        pad_id=tokenizer.pad_id,
        vocabulary_size=tokenizer.vocabulary_size,
        max_tokens=model.length,
        tensors=tensors,
    )


def _examples(model: ForeignModel, tokenizer: Tokenizer) -> list[tuple[str, tuple[int, ...]]]:
    """Sentences with their token ids, the last of them too long for many models."""
    return [
        (
            text,
            truncate(tokenizer.encode(text), model.length, head=tokenizer.head, tail=tokenizer.tail).ids,
        )
        for text in (*_EXAMPLES, _LONG_EXAMPLE)
    ]


def _write_golden(
    folder: Path, model: ForeignModel, tokenizer: Tokenizer, tensors: TensorNames, language: str
) -> None:
    """Those examples of which the model is sure enough that another processor's rounding changes nothing."""
    runner = _runner(folder / MODEL_FILE, model, tokenizer, tensors)
    lines: list[tuple[float, str]] = []
    for text, ids in _examples(model, tokenizer):
        logits = runner.run(ids)["label_logits"].reshape(-1)
        decision = decide(logits, model.labels, _CALIBRATION, out_of_scope=None, top_k=1)
        line = {
            "text": text,
            "lang": language,
            "token_ids": list(ids),
            "label_logits": [round(float(logit), 5) for logit in logits],
            "label": decision.best,
            "recognized": decision.recognized,
            "slots": [],
        }
        ahead = decision.confidence - decision.alternatives[0].confidence
        lines.append((ahead, json.dumps(line, ensure_ascii=False) + "\n"))
    runner.close()
    sure = [line for ahead, line in lines if ahead >= _SURE] or [max(lines)[1]]
    (folder / GOLDEN_FILE).write_text("".join(sure), encoding="utf-8")


def _manifest(
    path: Path,
    content: bytes,
    metadata: ModelMetadata,
    model: ForeignModel,
    tensors: TensorNames,
    features: Sequence[str],
    options: ImportOptions,
) -> dict[str, Any]:
    version = metadata.version if is_version(metadata.version) else "1.0.0"
    variant = {
        "file": MODEL_FILE,
        "runtime": ["ai-edge-litert", "tflite-runtime"],
        "features": list(features),
        "dynamic_length": False,
        "metrics": {},
        "tensors": {"inputs": dict(tensors.inputs), "outputs": dict(tensors.outputs)},
    }
    return {
        "format": 1,
        "name": options.name or _plain_name(path.stem),
        "version": options.version or version,
        "task": "classify",
        "languages": list(options.languages) or [UNDETERMINED],
        "labels": list(model.labels),
        "out_of_scope": None,
        "slot_tags": [],
        "tokenizer": dict(model.tokenizer),
        "calibration": {"temperature": 1.0, "threshold": 0.0, "margin": 0.0},
        "input": {
            "max_tokens": model.length,
            "beyond": "truncate",
            "window_stride": max(1, model.length // 2 - 1),
        },
        "variants": [variant],
        "golden": {"file": GOLDEN_FILE, "min_cosine": _LEAST_COSINE},
        "metrics": {},
        "teacher": None,
        "provenance": {
            "made_by": f"edge-agent {__version__}, bundle import",
            "imported_from": path.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "metadata": {
                "name": metadata.name,
                "description": metadata.description,
                "version": metadata.version,
                "author": metadata.author,
            },
        },
        "licence": options.licence or " ".join(metadata.licence.split())[:200] or UNKNOWN_LICENCE,
    }


def _plain_name(stem: str) -> str:
    """A bundle's name of any file's name."""
    return re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")[:64] or "imported"


def _card(path: Path, metadata: ModelMetadata, model: ForeignModel, manifest: Mapping[str, Any]) -> str:
    folded = "are folded to small ones" if model.tokenizer["lowercase"] else "are kept as they are"
    licence = manifest["licence"]
    unknown = (
        " The file does not say; ask its maker before you pass it on." if licence == UNKNOWN_LICENCE else ""
    )
    return f"""# {manifest["name"]} {manifest["version"]}

Imported from `{path.name}`, a {model.kind} with {len(model.labels)} labels that reads {model.length} tokens.
The file itself is unchanged. What its TFLite metadata says of it:

> {" ".join((metadata.name + ". " + metadata.description).split()) or "nothing"}

- **Labels**: {", ".join(model.labels[:20])}{" …" if len(model.labels) > 20 else ""}
- **Letters**: capital letters {folded}, as the vocabulary suggests; the metadata does not tell.
- **Longer texts** are cut, and the answer says so.
- **Confidence** is the model's own: nothing here was calibrated, and every answer counts as recognized.
- **Golden sentences** were made on import, by running the file itself. They prove that a device computes what
  that machine computed, not that the answers are right.
- **Figures**: none are known here. `edge-agent model eval` measures it on sentences of yours.
- **Licence**: {licence}.{unknown}
"""
