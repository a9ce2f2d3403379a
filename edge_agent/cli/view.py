"""Results drawn for people: intent, slots, confidence and latency of one answer in a line or two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

_LABEL_WIDTH = 26
_NOT_RECOGNIZED = "not recognized"
_OUT_OF_SCOPE = "out_of_scope"
_SHOWN_NUMBERS = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What people want to see of a result or an error of PROTOCOL §1.

    Attributes:
        label: the intent or class, or None when it was not recognized.
        guess: the best alternative, which is all there is when nothing was recognized.
        confidence: of the best guess, 0..1.
        vector: an embedding, or None for a model with labels.
        slots: names and values, in the order of the text.
        milliseconds: what the answer took, as the caller measured it or the result tells.
        error: message of an error answer, else None.
    """

    label: str | None
    guess: str | None
    confidence: float
    slots: tuple[tuple[str, str], ...]
    milliseconds: float
    error: str | None = None
    vector: tuple[float, ...] | None = None

    @classmethod
    def of(cls, payload: Mapping[str, Any], milliseconds: float | None = None) -> Answer:
        """Reads a result or an error; a latency given here goes before the one in the result."""
        if "error" in payload:
            error = payload["error"]
            return cls(None, None, 0.0, (), milliseconds or 0.0, f"{error['message']} ({error['code']})")
        took = payload["timing_ms"]["total"] if milliseconds is None else milliseconds
        if "embedding" in payload:
            return cls(None, None, 0.0, (), took, vector=tuple(payload["embedding"]))
        alternatives = payload["alternatives"]
        return cls(
            label=payload.get("intent") or payload.get("label"),
            guess=alternatives[0]["label"] if alternatives else None,
            confidence=payload["confidence"],
            slots=tuple((slot["name"], slot["value"]) for slot in payload.get("slots", ())),
            milliseconds=took,
        )


def draw_answer(answer: Answer) -> Text:
    """One line: label, confidence, latency, slots."""
    from rich.text import Text

    line = Text()
    if answer.error is not None:
        return line.append(f"error: {answer.error}", "red")
    if answer.vector is not None:
        return _draw_vector(line, answer.vector, answer.milliseconds)
    if answer.label is None:
        line.append(f"{_NOT_RECOGNIZED:<{_LABEL_WIDTH}}", "yellow")
    else:
        line.append(f"{answer.label:<{_LABEL_WIDTH}}", "bold green")
    line.append(f" {answer.confidence:>4.0%}")
    line.append(f"  {answer.milliseconds:>8.1f} ms  ", "dim")
    if answer.label is None and answer.guess is not None:
        out_of_scope = answer.guess == _OUT_OF_SCOPE
        return line.append("out of scope" if out_of_scope else f"best guess {answer.guess}", "dim")
    for position, (name, value) in enumerate(answer.slots):
        line.append("  " if position else "").append(f"{name}=", "cyan").append(value)
    return line


def _draw_vector(line: Text, vector: tuple[float, ...], milliseconds: float) -> Text:
    """How many numbers, and the first of them: enough to see that two texts differ."""
    numbers = " ".join(f"{number:+.3f}" for number in vector[:_SHOWN_NUMBERS])
    line.append(f"{f'a vector of {len(vector)} numbers':<{_LABEL_WIDTH}}", "bold green")
    line.append(f"       {milliseconds:>8.1f} ms  ", "dim")
    return line.append(numbers + (" …" if len(vector) > _SHOWN_NUMBERS else ""))


def draw_headings(question_width: int) -> Text:
    """What stands above exchanges that are drawn side by side."""
    from rich.text import Text

    return Text(f"{'question':<{question_width}}{'intent':<{_LABEL_WIDTH}} sure   round trip  slots", "dim")


def draw_exchange(question: str, answer: Answer, question_width: int = 0) -> Text:
    """A question with its answer: beside it where a width for questions is given, else under it."""
    from rich.cells import cell_len
    from rich.text import Text

    text = Text()
    if question_width:
        text.append(question + " " * max(1, question_width - cell_len(question)), "bold")
    else:
        text.append(question, "bold").append("\n  ")
    return text.append_text(draw_answer(answer))
