"""A model that answers at once, or does what a test tells it to; and a loader of such models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edge_agent.errors import BundleError, RequestError, RuntimeFailure
from edge_agent.service.models import Expected, Served
from edge_agent.types import Prediction, Ranked, Task


class FakeModel:
    """A :class:`~edge_agent.service.models.Servable` whose label is the first word of the text.

    Args:
        name: of the model.
        before: called with each text first; what it raises, ``predict`` raises.
        batch_size: as a real model has it.
    """

    def __init__(
        self, name: str = "home", before: Callable[[str], None] = lambda _: None, *, batch_size: int = 1
    ) -> None:
        self.name = name
        self.batch_size = batch_size
        self.batches: list[tuple[str, ...]] = []
        self.before = before
        self.texts: list[str] = []
        self.is_closed = False

    def predict(self, text: str, *, top_k: int = 3) -> Prediction:
        assert not self.is_closed, "a closed model was asked"
        self.texts.append(text)
        self.before(text)
        others = tuple(Ranked(f"other{number}", 0.01) for number in range(top_k))
        return Prediction(
            self.name, "1.0.0", Task.INTENT, True, text.split(maxsplit=1)[0], 0.9, others, (), False, 0.1, 0.2
        )

    def predict_many(
        self, texts: Sequence[str], top_ks: Sequence[int]
    ) -> list[Prediction | RequestError | RuntimeFailure]:
        self.batches.append(tuple(texts))
        answers: list[Prediction | RequestError | RuntimeFailure] = []
        for text, top_k in zip(texts, top_ks, strict=True):
            try:
                answers.append(self.predict(text, top_k=top_k))
            except (RequestError, RuntimeFailure) as error:
                answers.append(error)
        return answers

    def close(self) -> None:
        self.is_closed = True


def served(model: FakeModel, *, version: str = "1.0.0", canary: Expected | None = None) -> Served:
    """The model as the catalogue holds it."""
    return Served(
        model.name,
        version,
        Task.INTENT,
        ("en",),
        f"sha256:{version}",
        model,
        (canary or Expected("sing", "sing"),),
    )


class FakeLoader:
    """A :class:`~edge_agent.service.models.Loader`: a folder's file ``version`` is all there is to it."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def digest(self, path: Path) -> str:
        return f"sha256:{self._version(path)}"

    def load(self, path: Path) -> Served:
        version = self._version(path)
        self.loaded.append(f"{path.name} {version}")
        return served(FakeModel(path.name), version=version)

    def _version(self, path: Path) -> str:
        try:
            version = (path / "version").read_text()
        except OSError as error:
            raise BundleError(f"{path}: missing") from error
        if version == "bad":
            raise BundleError(f"{path}: altered")
        if version == "bug":
            raise ZeroDivisionError("of the loader")
        return version
