"""A recipe from beginning to end: data → train → calibrate → export → evaluate → bundle and report.

The run folder holds everything: the checkpoint while training goes on (Ctrl-C and start again), the
trained weights, the float32 twin of the bundle, the bundle, and the report. A bundle that misses a gate of
the recipe stays in the run folder under ``rejected/`` and is not written where it would be shipped from.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import platform
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_agent import __version__
from edge_agent.errors import DataError, GateError
from edge_agent.files import write_atomic
from edge_agent.forge.assemble import Trained, choose_golden, write_model
from edge_agent.forge.calibrate import Calibrated, calibrate
from edge_agent.forge.corpus import Corpus, read_corpus
from edge_agent.forge.data.examples import OUT_OF_SCOPE
from edge_agent.forge.data.mixture import Mixture
from edge_agent.forge.encoder import EncoderShape, JointEncoder, load_bert_state
from edge_agent.forge.evaluate import analyse, figures, label_logits, latencies, worst_pairs
from edge_agent.forge.features import Featurizer
from edge_agent.forge.model_card import render_model_card
from edge_agent.forge.quantise import Scheme
from edge_agent.forge.recipe import DataFolders, GateSection, Recipe, read_recipe
from edge_agent.forge.report import write_report
from edge_agent.forge.training import Progress, train
from edge_agent.forge.vocabulary import Vocabulary, choose_vocabulary, read_lexicon
from edge_agent.inference.model import Analysis, Model
from edge_agent.inference.runtime import runtime_info
from edge_agent.inference.tokenizer import WordPiece

_SMOKE_STEPS = 20
_SMOKE_LAYERS = 1
_GOLDEN_SENTENCES = 60
_HEADS_OF_MINILM = 12

StageReport = Callable[[str], None]
ProgressReport = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run made: the bundle's folder, its figures, and the gates that it missed."""

    bundle: Path
    figures: Mapping[str, Any]
    missed: tuple[str, ...]


def run_recipe(
    recipe_path: Path,
    *,
    data: Sequence[Path],
    out: Path,
    smoke: bool = False,
    stage: StageReport = lambda _: None,
    progress: ProgressReport = lambda _: None,
) -> RunResult:
    """Makes the bundle of a recipe under ``out/bundle`` and its report under ``out``.

    Args:
        recipe_path: the TOML file.
        data: folders with the data sets.
        out: the run folder; an interrupted run in it is resumed.
        smoke: a few rows, steps and one layer, to try the whole pipeline within a minute; its gates
            are reported and not enforced.
        stage: told the name of each stage.
        progress: told of each training step.

    Raises:
        DataError: the recipe or its data cannot be used.
        GateError: the model misses a gate.
    """
    recipe = read_recipe(recipe_path)
    if smoke:
        recipe = _smoke(recipe)
    out.mkdir(parents=True, exist_ok=True)
    _seed(recipe.training.seed)
    stage("reading data")
    folders = DataFolders(recipe_path.parent, data)
    corpus = read_corpus(recipe, folders, smoke=smoke)
    stage("choosing the vocabulary")
    trained = _trained(recipe, corpus, folders, out, smoke, stage, progress)
    stage("calibrating and evaluating on the runtime of the device")
    result = _evaluate(trained, corpus, out, _provenance(recipe, recipe_path))
    if result.missed and not smoke:
        raise GateError(
            f"{len(result.missed)} gates missed: {'; '.join(result.missed)}", hint=f"see {out / 'report.md'}"
        )
    return result


def encoder_folder(package: str) -> Path:
    """The checkpoint folder inside an installed package.

    Raises:
        DataError: the package is not installed.
    """
    try:
        root = importlib.resources.files(package.replace("-", "_"))
    except ModuleNotFoundError as error:
        raise DataError(
            f"the encoder's package {package} is not installed", hint="pip install 'edge-agent[forge]'"
        ) from error
    return Path(str(root)) / "model"


def _smoke(recipe: Recipe) -> Recipe:
    training = recipe.training.model_copy(update={"steps": _SMOKE_STEPS})
    return recipe.model_copy(update={"training": training})


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _trained(
    recipe: Recipe,
    corpus: Corpus,
    folders: DataFolders,
    out: Path,
    smoke: bool,
    stage: StageReport,
    progress: ProgressReport,
) -> Trained:
    """Trains, or takes the weights that an earlier run in this folder finished with."""
    state = load_bert_state(encoder_folder(recipe.encoder.package), recipe.model.max_tokens)
    vocabulary = _vocabulary(recipe, corpus, folders, state["words.weight"].numpy())
    _keep_to_what_the_run_began_with(out / "began_with.json", vocabulary, corpus)
    model = _student(recipe, corpus, vocabulary, state, layers=_SMOKE_LAYERS if smoke else None)
    featurizer = Featurizer(
        WordPiece(vocabulary.tokens), corpus.labels, corpus.slot_tags, recipe.model.max_tokens
    )
    finished = out / "trained.pt"
    if finished.exists():
        stage("taking the trained weights of this folder")
        model.load_state_dict(torch.load(finished, weights_only=True))
    else:
        stage(f"training {recipe.training.steps} steps")
        mixture = Mixture(
            corpus.training,
            swap_share=recipe.training.value_swap_share,
            noise_share=recipe.training.noise_share,
            seed=recipe.training.seed,
        )
        train(model, mixture, featurizer, recipe.training, checkpoint=out / "checkpoint.pt", report=progress)
        torch.save(model.state_dict(), finished)
    weights = model.eval().export_weights()
    return Trained(recipe, weights, vocabulary.tokens, corpus.labels, corpus.slot_tags)


def _keep_to_what_the_run_began_with(record: Path, vocabulary: Vocabulary, corpus: Corpus) -> None:
    """Weights of an earlier start belong to its tokens and labels; with others they would mean nothing.

    Raises:
        DataError: the recipe or its data changed since the run in this folder began.
    """
    now = {"tokens": vocabulary.tokens, "labels": corpus.labels, "slot_tags": corpus.slot_tags}
    content = json.dumps(now, ensure_ascii=False).encode()
    if record.exists() and record.read_bytes() != content:
        raise DataError(
            f"{record.parent}: the recipe or its data changed since this run began",
            hint="give another --out, or remove the folder",
        )
    write_atomic(record, content)


def _vocabulary(recipe: Recipe, corpus: Corpus, folders: DataFolders, rows: np.ndarray) -> Vocabulary:
    base_tokens = (
        (encoder_folder(recipe.encoder.package) / "vocab.txt").read_text(encoding="utf-8").splitlines()
    )
    lexicon: dict[str, str] = {}
    if recipe.vocabulary.lexicon is not None:
        lexicon = read_lexicon(folders.recipe_folder / recipe.vocabulary.lexicon)
    other = [text for lang, texts in corpus.texts.items() if lang != "en" for text in texts]
    return choose_vocabulary(
        base_tokens, rows, corpus.texts.get("en", []), other, lexicon, largest=recipe.vocabulary.largest
    )


def _student(
    recipe: Recipe,
    corpus: Corpus,
    vocabulary: Vocabulary,
    state: Mapping[str, torch.Tensor],
    *,
    layers: int | None,
) -> JointEncoder:
    hidden = vocabulary.rows.shape[1]
    all_layers = sum(name.endswith(".query.weight") for name in state)
    shape = EncoderShape(
        vocabulary=len(vocabulary.tokens),
        hidden=hidden,
        intermediate=state["layers.0.intermediate.weight"].shape[0],
        layers=layers or all_layers,
        heads=_HEADS_OF_MINILM,
        longest=recipe.model.max_tokens,
        labels=len(corpus.labels),
        tags=len(corpus.slot_tags),
    )
    model = JointEncoder(shape)
    initial = {**state, "words.weight": torch.from_numpy(vocabulary.rows)}
    own = model.state_dict()
    model.load_state_dict({**own, **{name: tensor for name, tensor in initial.items() if name in own}})
    return model


def _evaluate(trained: Trained, corpus: Corpus, out: Path, provenance: dict[str, Any]) -> RunResult:
    """Calibrates on dev, writes both bundles, judges them on dev and, once, on test."""
    recipe = trained.recipe
    work = out / "float32", out / "rejected"
    for folder in work:
        shutil.rmtree(folder, ignore_errors=True)
    float32, int8 = work
    calibrated = _calibrate(trained, corpus, int8)
    write_model(float32, trained, Scheme.FLOAT32, calibrated=calibrated)
    write_model(int8, trained, Scheme.INT8_PER_CHANNEL, calibrated=calibrated)
    with (
        Model.load(float32, check_golden=False) as reference,
        Model.load(int8, check_golden=False) as served,
    ):
        dev_reference, dev_served = analyse(reference, corpus.dev), analyse(served, corpus.dev)
        test_reference, test_served = analyse(reference, corpus.test), analyse(served, corpus.test)
        golden = choose_golden(corpus.dev, dev_reference, served, most=_GOLDEN_SENTENCES)
        found: dict[str, Any] = {
            "dev": figures(corpus.dev, dev_served),
            "dev_float32": figures(corpus.dev, dev_reference),
            "test": figures(corpus.test, test_served),
            "test_float32": figures(corpus.test, test_reference),
            "calibration": {
                "temperature": calibrated.temperature,
                "threshold": calibrated.threshold,
                "margin": recipe.calibration.margin,
                "error_before": calibrated.error_before,
                "error_after": calibrated.error_after,
            },
            "confusions": worst_pairs(corpus.dev, dev_served),
            "latency_ms_by_tokens": latencies(served),
            "slots_not_found": corpus.slots_not_found,
            "provenance": provenance,
            "agreement": _agreement([*dev_reference, *test_reference], [*dev_served, *test_served]),
        }
    metrics = _headline(found)
    write_model(
        int8,
        trained,
        Scheme.INT8_PER_CHANNEL,
        calibrated=calibrated,
        golden=golden,
        card=render_model_card(recipe, trained.labels, found),
        metrics=metrics,
        provenance=provenance,
    )
    with Model.load(int8):  # its own golden sentences, on this machine
        pass
    metrics["bundle_megabytes"] = sum(file.stat().st_size for file in int8.iterdir()) / 1e6
    missed = tuple(text for gate in recipe.gates if (text := _missed(gate, metrics)))
    found["headline"], found["missed_gates"] = metrics, list(missed)
    write_report(out, recipe, found, corpus, dev_served)
    bundle = int8
    if not missed:
        bundle = out / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        int8.rename(bundle)
    return RunResult(bundle, found, missed)


def _calibrate(trained: Trained, corpus: Corpus, folder: Path) -> Calibrated:
    """On the logits of the quantised model, since that is what will decide."""
    write_model(folder, trained, Scheme.INT8_PER_CHANNEL, calibrated=None)
    with Model.load(folder, check_golden=False) as model:
        logits = label_logits(analyse(model, corpus.dev))
    index = {label: number for number, label in enumerate(trained.labels)}
    section = trained.recipe.calibration
    return calibrate(
        logits,
        np.asarray([index[example.label] for example in corpus.dev]),
        sources=[example.source for example in corpus.dev],
        out_of_scope=index.get(OUT_OF_SCOPE),
        margin=section.margin,
        accept_in_scope=section.accept_in_scope,
        accept_out_of_scope=section.accept_out_of_scope,
    )


def _headline(found: Mapping[str, Any]) -> dict[str, float]:
    """The few figures that gates and model cards name."""
    headline: dict[str, float] = {}
    for group, summary in found["dev"].items():
        if summary["intent_accuracy"] is not None and group != "all":
            headline[f"{group}.intent_accuracy"] = summary["intent_accuracy"]
            if summary["slots"] is not None:
                headline[f"{group}.slot_f1"] = summary["slots"]["f1"]
    inside, inside32 = found["dev"]["all"], found["dev_float32"]["all"]
    headline["in_scope_accepted"] = inside["in_scope_accepted"]
    headline["int8_loss.intent_accuracy"] = inside32["intent_accuracy"] - inside["intent_accuracy"]
    if inside["slots"] is not None:
        headline["int8_loss.slot_f1"] = inside32["slots"]["f1"] - inside["slots"]["f1"]
    for group, summary in found["test"].items():
        if summary["out_of_scope_accepted"] is not None and group != "all":
            headline[f"{group}.out_of_scope_accepted"] = summary["out_of_scope_accepted"]
    headline["int8_agreement"] = found["agreement"]
    return {name: round(float(value), 5) for name, value in headline.items()}


def _missed(gate: GateSection, metrics: Mapping[str, float]) -> str | None:
    value = metrics.get(gate.metric)
    if value is None:
        return f"{gate.metric} was not measured"
    if gate.at_least is not None and value < gate.at_least:
        return f"{gate.metric} is {value:.4f}, at least {gate.at_least} is asked"
    if gate.at_most is not None and value > gate.at_most:
        return f"{gate.metric} is {value:.4f}, at most {gate.at_most} is asked"
    return None


def _agreement(reference: Sequence[Analysis], served: Sequence[Analysis]) -> float:
    return float(np.mean([a.label == b.label for a, b in zip(reference, served, strict=True)]))


def _provenance(recipe: Recipe, recipe_path: Path) -> dict[str, Any]:
    runtime = runtime_info()
    return {
        "recipe": recipe_path.name,
        "encoder": recipe.encoder.origin,
        "encoder_licence": recipe.encoder.licence,
        "data": sorted({f"{section.file} ({section.licence})" for section in recipe.data}),
        "seed": recipe.training.seed,
        "steps": recipe.training.steps,
        "edge_agent": __version__,
        "torch": str(torch.__version__),
        "runtime": f"{runtime.name} {runtime.version}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
