"""The latest live sentences and what was answered, so that a new model can answer them beside the old one.

They are the user's text. So there are none unless the settings ask for them, they lie in memory only and in a
bounded number, their text is in no repr, log, metric or ``diagnostics``, and :meth:`Shadow.clear` forgets
them. A core dump would hold them as it holds every request; the unit allows none (``LimitCORE=0``).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from edge_agent.types import Prediction, Task

LONGEST_CHARACTERS: Final = 1000
"""A longer text is not kept: a model reads its beginning only, and a thousand of them would be megabytes."""


@dataclass(frozen=True, slots=True)
class ShadowSentence:
    """A live sentence and the answer that it got.

    Attributes:
        text: of the user; no repr shows it.
        recognized: whether the model that served understood it.
        label: the intent or class, or None.
        slots: names and values, in the order of the text; pieces of it, so no repr shows them either.
    """

    text: str = field(repr=False)
    recognized: bool
    label: str | None
    slots: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(slots=True)
class _Ring:
    version: str
    sentences: deque[ShadowSentence] = field(repr=False)


class Shadow:
    """Rings of sentences, one for each model. The worker notes, any thread takes.

    Args:
        sentences: kept for each model, the latest; from :func:`shadow_of`, so at least one.
    """

    def __init__(self, sentences: int) -> None:
        self._most = sentences
        self._rings: dict[str, _Ring] = {}
        self._lock = Lock()

    def note(self, text: str, prediction: Prediction) -> None:
        """A sentence was answered.

        A ring holds answers of one version: with the first one of another version it begins anew. Embeddings
        are not kept, since the vectors of two models need not be alike; their golden sentences judge them.
        """
        if prediction.task is Task.EMBED or len(text) > LONGEST_CHARACTERS:
            return
        slots = tuple([(slot.name, slot.value) for slot in prediction.slots])
        sentence = ShadowSentence(text, prediction.recognized, prediction.label, slots)
        with self._lock:
            ring = self._rings.get(prediction.model)
            if ring is None or ring.version != prediction.version:
                ring = _Ring(prediction.version, deque(maxlen=self._most))
                self._rings[prediction.model] = ring
            ring.sentences.append(sentence)

    def take(self, model: str) -> tuple[ShadowSentence, ...]:
        """The latest sentences of a model, the oldest first; they stay."""
        with self._lock:
            ring = self._rings.get(model)
            return () if ring is None else tuple(ring.sentences)

    def clear(self, model: str | None = None) -> None:
        """Forgets the sentences of a model, or all: after a switch, when a model goes, on request."""
        with self._lock:
            if model is None:
                self._rings.clear()
            else:
                self._rings.pop(model, None)


def shadow_of(sentences: int) -> Shadow | None:
    """The rings that the setting ``updates.shadow_sentences`` asks for; None for 0, which then costs nothing.

    Args:
        sentences: to be kept for each model.
    """
    return Shadow(sentences) if sentences > 0 else None
