"""A model that says back what it was told: what then is left to measure is the link and the worker."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.types import Prediction, Task

NAME = "echo"
VERSION = "1.0.0"


class EchoModel:
    """Answers at once with the text as its label; what the daemon serves a model for."""

    batch_size = 1

    def predict(self, text: str, *, top_k: int = 3) -> Prediction:  # noqa: ARG002
        """The text itself."""
        return Prediction(NAME, VERSION, Task.CLASSIFY, True, text, 1.0, (), (), False, 0.0, 0.0)

    def predict_many(self, texts: Sequence[str], top_ks: Sequence[int]) -> list[Prediction]:
        """Each text itself."""
        return [self.predict(text, top_k=top_k) for text, top_k in zip(texts, top_ks, strict=True)]

    def close(self) -> None:
        """Holds nothing."""
