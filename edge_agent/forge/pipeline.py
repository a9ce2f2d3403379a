"""A recipe from beginning to end: data → teacher → students → low-bit models → judged, reported, bundled.

The run folder holds everything: checkpoints while training goes on (Ctrl-C and start again), the trained
weights of every model, its float32 and quantised bundles, the report, and the bundle that ships. A bundle
that misses a gate of the recipe stays in the run folder under ``rejected/`` and is not written where it would
be shipped from.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_agent import __version__
from edge_agent.errors import DataError, GateError
from edge_agent.files import write_atomic
from edge_agent.forge import head_start
from edge_agent.forge.data.checks import check_lengths
from edge_agent.forge.data.corpus import Corpus, read_corpus
from edge_agent.forge.data.examples import read_text
from edge_agent.forge.data.folders import DataFolders
from edge_agent.forge.data.vocabulary import Vocabulary
from edge_agent.forge.encoders.family import Encoder
from edge_agent.forge.foundation import fresh_encoder, load_foundation, run_vocabulary
from edge_agent.forge.judging.judge import RunResult, judge
from edge_agent.forge.judging.metric_names import check_metric_names
from edge_agent.forge.recipe import Recipe, read_recipe
from edge_agent.forge.stages import check_stages, run_stages
from edge_agent.forge.training.loop import Progress, steps_of
from edge_agent.forge.workshop import Workshop
from edge_agent.inference.runtime import runtime_info
from edge_agent.inference.tokenizer import WordPiece

RUN_RECORD = "run.json"
_SMOKE_STEPS = 12
_SMOKE_LAYERS = 2

StageReport = Callable[[str], None]
ProgressReport = Callable[[Progress], None]


def run_recipe(
    recipe_path: Path,
    *,
    data: Sequence[Path],
    out: Path,
    smoke: bool = False,
    stage: StageReport = lambda _: None,
    progress: ProgressReport = lambda _: None,
) -> RunResult:
    """Makes the models of a recipe, and the bundle of the one that ships under ``out/bundle``.

    Args:
        recipe_path: the TOML file.
        data: folders with the data sets.
        out: the run folder; an interrupted run in it is resumed.
        smoke: a few rows, steps and layers, to try the whole pipeline within a minute; its gates are
            reported and not enforced.
        stage: told the name of each stage.
        progress: told of each training step.

    Raises:
        DataError: the recipe or its data cannot be used.
        GateError: the model misses a gate.
    """
    recipe = read_recipe(recipe_path)
    folders = DataFolders(recipe_path.parent, data)
    return run(recipe, folders, out=out, name=recipe_path.name, smoke=smoke, stage=stage, progress=progress)


def run(
    recipe: Recipe,
    folders: DataFolders,
    *,
    out: Path,
    name: str,
    smoke: bool = False,
    stage: StageReport = lambda _: None,
    progress: ProgressReport = lambda _: None,
) -> RunResult:
    """As :func:`run_recipe`, of a recipe in memory; ``name`` is what the provenance calls it."""
    check_metric_names(recipe)
    if smoke:
        recipe = _smoke(recipe)
    _seed(recipe.training.seed)
    stage("reading data")
    corpus = read_corpus(recipe, folders, smoke=smoke)
    stage("choosing the vocabulary")
    checkpoint = load_foundation(recipe, folders)
    vocabulary = run_vocabulary(recipe, corpus, folders, checkpoint)
    corpus = _with_lengths(corpus, recipe, vocabulary)
    for finding in corpus.findings:
        stage(f"{finding.severity}: {finding.message}")
    layers = _SMOKE_LAYERS if smoke else None
    encoder = fresh_encoder(recipe, corpus, vocabulary, checkpoint, layers=layers)
    shop = Workshop(recipe, corpus, vocabulary, out, _digest(recipe), stage, progress)
    _begin(shop, encoder, _record(recipe, folders, name, smoke))
    candidates = run_stages(shop, encoder)
    stage("calibrating and evaluating on the runtime of the device")
    result = judge(
        candidates,
        corpus,
        recipe,
        out,
        provenance=_provenance(shop, name),
        enforce=not smoke,
        stage=stage,
    )
    if result.missed and not smoke:
        raise GateError(
            f"{len(result.missed)} gates missed: {'; '.join(result.missed)}", hint=f"see {out / 'report.md'}"
        )
    return result


def run_again(
    out: Path,
    change: Callable[[Recipe], Recipe],
    *,
    data: Sequence[Path] = (),
    stage: StageReport = lambda _: None,
    progress: ProgressReport = lambda _: None,
) -> RunResult:
    """Runs the recipe of a run folder once more with a change; models that it does not touch are kept.

    Args:
        out: a folder in which a run was begun.
        change: of its recipe.
        data: folders with the data sets; without, those that the run was begun with.
        stage: told the name of each stage.
        progress: told of each training step.

    Raises:
        DataError: no run was begun there; else as :func:`run_recipe`.
    """
    path = out / RUN_RECORD
    if not path.exists():
        raise DataError(f"{out}: not a run folder of forge", hint="give the --out of a `forge train`")
    try:
        record = json.loads(read_text(path))
        recipe = Recipe.model_validate(record["recipe"])
        folders = DataFolders(
            Path(record["recipe_folder"]), list(data) or [Path(folder) for folder in record["data"]]
        )
        name, smoke = str(record["name"]), bool(record["smoke"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: damaged, or of another version of edge-agent", hint="train again into another folder"
        ) from error
    return run(change(recipe), folders, out=out, name=name, smoke=smoke, stage=stage, progress=progress)


def _begin(shop: Workshop, encoder: Encoder, record: bytes) -> None:
    """Begins a run in its folder, or goes on with it; what is refused leaves the folder as it was.

    Raises:
        DataError: something of the run cannot be made, or was made otherwise.
    """
    check_stages(shop, encoder)
    shop.out.mkdir(parents=True, exist_ok=True)
    _keep_to_what_the_run_began_with(shop.out / "began_with.json", shop.vocabulary, shop.corpus)
    write_atomic(shop.out / RUN_RECORD, record)


def _record(recipe: Recipe, folders: DataFolders, name: str, smoke: bool) -> bytes:
    """What a run needs to be run again."""
    content = {
        "recipe": recipe.model_dump(mode="json"),
        "recipe_folder": str(folders.recipe_folder.resolve()),
        "data": [str(folder.resolve()) for folder in folders.data],
        "name": name,
        "smoke": smoke,
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _smoke(recipe: Recipe) -> Recipe:
    """The same stages with a few steps each; students and low-bit models as small as can be."""
    short = {"steps": _SMOKE_STEPS, "epochs": 0.0}
    trains = bool(recipe.training.steps or recipe.training.epochs)
    return recipe.model_copy(
        update={
            "training": recipe.training.model_copy(update=short if trains else {}),
            "student": tuple(s.model_copy(update={**short, "layers": 1}) for s in recipe.student),
            "low_bit": tuple(s.model_copy(update=short) for s in recipe.low_bit),
        }
    )


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _digest(recipe: Recipe) -> str:
    """Changes with what the training reads: its data sections, which hold their sha256, and the mixture.

    Where a file can be fetched from changes nothing.
    """
    sections = [
        s.model_dump(mode="json", exclude_defaults=True, exclude={"address", "address_sha256", "origin"})
        for s in recipe.data
        if s.use == "train"
    ]
    mixture = recipe.training.model_dump(mode="json", include={"value_swap_share", "noise_share", "balance"})
    return hashlib.sha256(json.dumps([sections, mixture], sort_keys=True).encode()).hexdigest()


def _with_lengths(corpus: Corpus, recipe: Recipe, vocabulary: Vocabulary) -> Corpus:
    """The corpus with what there is to say of the lengths of its texts in tokens."""
    tokenizer = WordPiece(vocabulary.tokens)
    examples = [example for entry in corpus.training for example in entry.examples]
    findings = check_lengths(
        [*examples, *corpus.dev, *corpus.test],
        lambda text: len(tokenizer.encode(text).ids),
        max_tokens=recipe.model.max_tokens,
        windows=recipe.model.beyond == "window",
    )
    return replace(corpus, findings=(*corpus.findings, *findings))


def _keep_to_what_the_run_began_with(record: Path, vocabulary: Vocabulary, corpus: Corpus) -> None:
    """Weights of an earlier start belong to its tokens and labels; with others they would mean nothing.

    Raises:
        DataError: the recipe or its data changed since the run in this folder began.
    """
    now = {"tokens": vocabulary.tokens, "labels": corpus.labels, "slot_tags": corpus.slot_tags}
    content = json.dumps(now, ensure_ascii=False).encode()
    has_weights = any(record.parent.glob("*.pt"))
    if has_weights and record.exists() and record.read_bytes() != content:
        raise DataError(
            f"{record.parent}: the recipe or its data changed since this run began",
            hint="give another --out, or remove the folder",
        )
    write_atomic(record, content)


def _provenance(shop: Workshop, name: str) -> dict[str, Any]:
    recipe, runtime = shop.recipe, runtime_info()
    training = recipe.training
    start = head_start.in_words(recipe, shop.out)
    return {
        "recipe": name,
        "encoder": recipe.encoder.origin,
        "encoder_licence": recipe.encoder.licence,
        "data": sorted({f"{section.file} ({section.licence})" for section in recipe.data}),
        "seed": recipe.training.seed,
        "steps": steps_of(training, shop.rows) if training.steps or training.epochs else 0,
        **({"teacher": start} if start else {}),
        "edge_agent": __version__,
        "torch": str(torch.__version__),
        "runtime": f"{runtime.name} {runtime.version}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
