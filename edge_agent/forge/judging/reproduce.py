"""A finished bundle on a recipe's split, with the functions that judged it when it was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from edge_agent.errors import DataError
from edge_agent.forge.data.corpus import read_corpus
from edge_agent.forge.data.examples import Example
from edge_agent.forge.data.folders import DataFolders
from edge_agent.forge.judging.evaluate import decided, figures, labelled, read_sentences, worst_pairs
from edge_agent.forge.recipe import read_recipe
from edge_agent.inference.model import Model
from edge_agent.types import Task

_NAMED_AT_MOST = 3


def evaluate_bundle(
    bundle: Path, recipe: Path, data: Sequence[Path], split: Literal["dev", "test"]
) -> dict[str, Any]:
    """The figures of a bundle on a split of a recipe, as ``report.json`` has them for its models.

    Args:
        bundle: a bundle's folder or zip, or a run folder with one.
        recipe: the TOML file that names the data sets.
        data: folders with the data sets.
        split: which one.

    Returns:
        ``model``, ``version``, ``digest``, ``runtime``, ``split``, ``figures`` by group, ``confusions``.

    Raises:
        BundleError: no bundle, a damaged one, or one that does not answer rightly here.
        DataError: the split is empty, or its labels are not the bundle's.
    """
    with Model.load(bundle_of(bundle)) as model:
        manifest = model.manifest
        if manifest.task is Task.EMBED:
            raise DataError(
                f"{manifest.name} is of the task embed, which has no labels",
                hint="`edge-agent model eval` measures it on pairs; the run's report has its figures",
            )
        examples = _examples(recipe, data, split)
        _check_labels(examples, manifest.labels)
        answers = decided(read_sentences(model, examples), manifest.labels, manifest.calibration)
        return {
            "model": manifest.name,
            "version": manifest.version,
            "digest": model.digest,
            "runtime": str(model.runtime),
            "split": split,
            "figures": figures(examples, answers, manifest.labels, macro=manifest.task is Task.CLASSIFY),
            "confusions": worst_pairs(examples, answers),
        }


def _examples(recipe: Path, data: Sequence[Path], split: str) -> tuple[Example, ...]:
    corpus = read_corpus(read_recipe(recipe), DataFolders(recipe.parent, data))
    examples = labelled(corpus.dev if split == "dev" else corpus.test)
    if not examples:
        raise DataError(f"{recipe.name} has no labelled {split} sentences")
    return examples


def bundle_of(path: Path) -> Path:
    """The bundle of a run folder; any other path is taken for the bundle itself."""
    return path / "bundle" if (path / "bundle" / "bundle.json").exists() else path


def _check_labels(examples: Sequence[Example], labels: Sequence[str]) -> None:
    foreign = sorted({example.label for example in examples} - set(labels))
    if foreign:
        named = ", ".join(foreign[:_NAMED_AT_MOST])
        raise DataError(
            f"{len(foreign)} labels of the recipe are none of the bundle's: {named}"
            + (" …" if len(foreign) > _NAMED_AT_MOST else ""),
            hint="give the recipe that the bundle was made by",
        )
