"""The models that are served: every bundle in the settings' folders, under its name.

A bundle that cannot be served takes only itself out: it stays in the catalogue with the reason, for
``health`` and for the answer ``model_unavailable``. When a newer version on disk turns out bad, the one in
memory goes on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_agent.errors import EdgeAgentError, RequestError, RuntimeFailure
from edge_agent.log import get_logger
from edge_agent.types import Prediction, Task

_MANIFEST = "bundle.json"
_RECIPE_SUFFIX = ".toml"


class Servable(Protocol):
    """What the daemon needs of a loaded model."""

    @property
    def batch_size(self) -> int:
        """How many texts gain from being asked together; 1 for none."""

    def predict(self, text: str, *, top_k: int = 3) -> Prediction:
        """Understands one text."""

    def predict_many(
        self, texts: Sequence[str], top_ks: Sequence[int]
    ) -> Sequence[Prediction | RequestError | RuntimeFailure]:
        """Understands several, in their order; where one fails, its error stands in its place."""

    def close(self) -> None:
        """Frees what it holds."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A sentence whose right answer is known: a canary.

    Attributes:
        text: the sentence.
        label: the right answer; None where none must be recognized, and for an embedding.
        embedding: the right vector, of a model of the task embed, else empty.
        min_cosine: least cosine between it and the answer.
    """

    text: str
    label: str | None
    embedding: tuple[float, ...] = ()
    min_cosine: float = 0.0

    def fault(self, prediction: Prediction) -> str | None:
        """What is wrong with an answer to this sentence, or None."""
        if prediction.label != self.label:
            return f"expected {self.label or 'nothing'}, got {prediction.label or 'nothing'}"
        if self.embedding:
            likeness = _cosine(self.embedding, prediction.embedding or ())
            if not likeness >= self.min_cosine:
                return f"expected a vector within cosine {self.min_cosine:g}, got {likeness:.3f}"
        return None


@dataclass(frozen=True, slots=True)
class Served:
    """A model in memory, and what ``info`` says of it."""

    name: str
    version: str
    task: Task
    languages: tuple[str, ...]
    digest: str
    model: Servable
    canaries: tuple[Expected, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of the catalogue: what serves, what is wrong with it on disk, or both."""

    name: str
    served: Served | None
    fault: str | None = None


Catalogue = Mapping[str, Entry]


class Loader(Protocol):
    """Where models come from; the real one is :class:`BundleLoader`."""

    def digest(self, path: Path) -> str:
        """Checks a bundle's files and names its content."""

    def load(self, path: Path) -> Served:
        """Loads a bundle and lets it answer its golden sentences."""


class BundleLoader:
    """Loads real bundles."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def digest(self, path: Path) -> str:
        """Checks a bundle's files and names its content.

        Raises:
            BundleError: it is missing, altered, foreign or unknown.
        """
        from edge_agent.inference.bundle import read_bundle

        return read_bundle(path).digest

    def load(self, path: Path) -> Served:
        """Loads a bundle and lets it answer its golden sentences.

        Raises:
            BundleError: it is missing, altered, foreign, unknown, or answers wrongly.
            RuntimeFailure: there is no runtime, or it failed.
        """
        from edge_agent.inference.golden import parse_golden
        from edge_agent.inference.model import Model

        model = Model.load(path, threads=self._threads)
        manifest = model.manifest
        golden = parse_golden(manifest.golden.file, model.bundle.file(manifest.golden.file).read_bytes())
        return Served(
            name=manifest.name,
            version=manifest.version,
            task=manifest.task,
            languages=tuple(manifest.languages),
            digest=model.digest,
            model=model,
            canaries=tuple(
                Expected(s.text, s.label if s.recognized else None, s.embedding, manifest.golden.min_cosine)
                for s in golden
            ),
        )


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """Cosine of two vectors; 0 where they have no angle."""
    lengths = math.hypot(*left) * math.hypot(*right)
    if len(left) != len(right) or not lengths:
        return 0.0
    return sum([a * b for a, b in zip(left, right, strict=True)]) / lengths


def load_catalogue(
    directories: Iterable[Path],
    loader: Loader,
    current: Catalogue | None = None,
    *,
    anew: bool = False,
    on_loaded: Callable[[], None] = lambda: None,
) -> dict[str, Entry]:
    """Every bundle of the folders, loaded where it is new or changed.

    Args:
        directories: in the order of precedence.
        loader: opens bundles.
        current: what is served now; an unchanged bundle stays the very same object.
        anew: what is unchanged is loaded again, too, since the loader is another one.
        on_loaded: called after each bundle, however it went.

    Returns:
        The new catalogue; what only ``current`` has is not in it and not closed.
    """
    log = get_logger()
    catalogue: dict[str, Entry] = {}
    for name, path in find_bundles(directories):
        if name in catalogue:
            log.info("model.shadowed", name=name, path=str(path))
            continue
        before = (current or {}).get(name)
        catalogue[name] = _entry(name, path, loader, before.served if before else None, anew=anew)
        on_loaded()
    return catalogue


def find_bundles(directories: Iterable[Path]) -> list[tuple[str, Path]]:
    """Names and folders of all bundles, in the order of precedence; a directory may be a bundle itself."""
    found: list[tuple[str, Path]] = []
    for directory in directories:
        try:
            if (directory / _MANIFEST).is_file():
                found.append((_name_of(directory), directory))
                continue
            folders = sorted(child for child in directory.iterdir() if _may_be_bundle(child))
        except OSError:
            continue
        # A link into the store may turn to another version between the check and the load.
        found += [(_name_of(each), each.resolve() if each.is_symlink() else each) for each in folders]
    return found


def _may_be_bundle(path: Path) -> bool:
    """A visible folder with files in it: one that lost its ``bundle.json`` is worth a word.

    Recipes, which lie beside the bundles in a source tree, are no bundle.
    """
    if path.name.startswith(".") or path.name == "lost+found" or not path.is_dir():
        return False
    try:
        return any(child.is_file() and child.suffix != _RECIPE_SUFFIX for child in path.iterdir())
    except OSError:
        return True


def _name_of(folder: Path) -> str:
    """The name a bundle gives itself, else its folder's; the loader checks it properly."""
    try:
        name = json.loads((folder / _MANIFEST).read_bytes())["name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        name = None
    return _readable(name if isinstance(name, str) and name else folder.resolve().name)


def _readable(text: str) -> str:
    """Without halves of surrogate pairs: a folder's name may be no UTF-8, and ``health`` must be."""
    return text.encode("utf-8", "replace").decode()


def _entry(name: str, path: Path, loader: Loader, before: Served | None, *, anew: bool) -> Entry:
    log = get_logger(name=name)
    try:
        if before is not None and not anew and loader.digest(path) == before.digest:
            return Entry(name, before)
        served = loader.load(path)
    except Exception as error:
        reason = str(error) if isinstance(error, EdgeAgentError) else f"internal: {type(error).__name__}"
        log.error(
            "model.failed",
            path=str(path),
            reason=reason,
            kept=before is not None,
            exc_info=not isinstance(error, EdgeAgentError),
        )
        kept = f"; {before.version} goes on" if before else ""
        return Entry(name, before, _readable(f"model {name}: {reason}{kept}"))
    log.info("model.loaded", version=served.version, digest=served.digest, path=str(path))
    return Entry(name, served)
