"""Golden sentences: proof that this model answers rightly on this machine with this runtime.

Runtimes have been measured to load a file and compute nonsense without an error, so a bundle brings
sentences with the answers of its float32 original, and serves only when they come out the same: equal token
ids, best label, recognition and slots, and logits that point the same way (cosine); or, of a bundle of the
task embed, the same vector. Pure; the sentences are public parts of the bundle, so that messages may name
their labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BundleError, GoldenError
from edge_agent.inference.fields import Fields, parse_object

_MOST_SENTENCES: Final = 1000


@dataclass(frozen=True, slots=True)
class SlotSpan:
    """A slot as golden sentences compare it: name and code-point offsets, end exclusive."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class GoldenSentence:
    """One line of ``golden.jsonl``.

    Attributes:
        number: of the line, from 1.
        text: the sentence.
        lang: its language.
        token_ids: what the tokenizer must give, cut to the model's input where the bundle truncates.
        label_logits: of the float32 reference.
        label: the best label, before the threshold.
        recognized: whether it passes threshold, margin and scope.
        slots: the slots of a recognized intent.
        embedding: of the reference, for the task embed, whose lines have no label and no slots.
    """

    number: int
    text: str
    lang: str
    token_ids: tuple[int, ...]
    label_logits: tuple[float, ...] = ()
    label: str | None = None
    recognized: bool = True
    slots: tuple[SlotSpan, ...] = ()
    embedding: tuple[float, ...] = ()


class Answer(Protocol):
    """What the check needs to know of an answer on this machine."""

    @property
    def token_ids(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def label_logits(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def recognized(self) -> bool: ...  # noqa: D102
    @property
    def slot_spans(self) -> tuple[SlotSpan, ...]: ...  # noqa: D102


class EmbeddingAnswer(Protocol):
    """What the check needs to know of an embedding on this machine."""

    @property
    def token_ids(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def embedding(self) -> NDArray[np.float32]: ...  # noqa: D102


def parse_golden(name: str, content: bytes) -> tuple[GoldenSentence, ...]:
    """Parse a golden file.

    Args:
        name: of the file, for messages.
        content: one JSON object a line, UTF-8.

    Raises:
        BundleError: a line is not of the form, or there is none.
    """
    lines = content.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    if not 1 <= len(lines) <= _MOST_SENTENCES:
        raise BundleError(f"{name}: has {len(lines)} sentences, where 1 to {_MOST_SENTENCES} belong")
    return tuple(_sentence(f"{name}: line {number}", number, line) for number, line in enumerate(lines, 1))


def check_golden(
    sentences: tuple[GoldenSentence, ...], answer: Callable[[str], Answer], *, min_cosine: float
) -> None:
    """Answer every sentence and compare.

    Args:
        sentences: with what is expected.
        answer: the pipeline under test.
        min_cosine: least cosine of label logits with the reference's.

    Raises:
        GoldenError: the first sentence that comes out differently, with what was expected and got.
        RuntimeFailure: the runtime failed.
    """
    for sentence in sentences:
        found = answer(sentence.text)
        reason = _different_ids(sentence, found.token_ids) or _difference(sentence, found, min_cosine)
        if reason:
            raise GoldenError(f"golden sentence {sentence.number} {reason}")


def check_golden_embeddings(
    sentences: tuple[GoldenSentence, ...], embed: Callable[[str], EmbeddingAnswer], *, min_cosine: float
) -> None:
    """Embed every sentence and compare.

    Args:
        sentences: with what is expected.
        embed: the pipeline under test.
        min_cosine: least cosine of embeddings with the reference's.

    Raises:
        GoldenError: the first sentence that comes out differently.
        RuntimeFailure: the runtime failed.
    """
    for sentence in sentences:
        found = embed(sentence.text)
        reason = _different_ids(sentence, found.token_ids)
        likeness = cosine(found.embedding, np.asarray(sentence.embedding, np.float32))
        if reason is None and likeness < min_cosine:
            reason = f"expected a vector within cosine {min_cosine:g} of the reference, got {likeness:.3f}"
        if reason:
            raise GoldenError(f"golden sentence {sentence.number} {reason}")


def cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Cosine of the angle between two vectors; 0 when one is zero or not finite."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not np.isfinite(lengths) or lengths == 0:
        return 0.0
    return float(a @ b) / lengths


def _different_ids(sentence: GoldenSentence, ids: tuple[int, ...]) -> str | None:
    if ids != sentence.token_ids:
        return f"expected {len(sentence.token_ids)} token ids, got {len(ids)}, not the same ones"
    return None


def _difference(sentence: GoldenSentence, found: Answer, min_cosine: float) -> str | None:
    if found.label != sentence.label:
        return f"expected {sentence.label}, got {found.label}"
    if found.recognized != sentence.recognized:
        words = {True: "recognized", False: "not recognized"}
        return f"expected {sentence.label} {words[sentence.recognized]}, got it {words[found.recognized]}"
    if found.slot_spans != sentence.slots:
        return f"expected slots {_shown(sentence.slots)}, got {_shown(found.slot_spans)}"
    likeness = cosine(found.label_logits, np.asarray(sentence.label_logits, np.float32))
    if likeness < min_cosine:
        return f"expected logits within cosine {min_cosine:g} of the reference, got {likeness:.3f}"
    return None


def _shown(slots: tuple[SlotSpan, ...]) -> str:
    return ", ".join(f"{slot.name} {slot.start}-{slot.end}" for slot in slots) or "none"


def _sentence(where: str, number: int, line: bytes) -> GoldenSentence:
    fields = Fields(where, parse_object(where, line))
    if "embedding" in fields.names():
        sentence = GoldenSentence(
            number=number,
            text=fields.text("text"),
            lang=fields.text("lang"),
            token_ids=fields.integers("token_ids"),
            embedding=fields.numbers("embedding"),
        )
        fields.finish()
        return sentence
    sentence = GoldenSentence(
        number=number,
        text=fields.text("text"),
        lang=fields.text("lang"),
        token_ids=fields.integers("token_ids"),
        label_logits=fields.numbers("label_logits"),
        label=fields.text("label"),
        recognized=fields.flag("recognized"),
        slots=tuple(_slot_span(slot) for slot in fields.sections("slots", least=0)),
    )
    fields.finish()
    return sentence


def _slot_span(fields: Fields) -> SlotSpan:
    fields.text("value")
    span = SlotSpan(fields.text("name"), fields.integer("start", 0, 2**31), fields.integer("end", 0, 2**31))
    fields.finish()
    return span
