"""What an imported model says of a few sentences in float32, and which of them become its golden sentences.

Nobody gave us texts of the model's own domain. That the file computes on a device what the checkpoint
computes can be shown with any sentences; how good the model is cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from edge_agent.errors import GateError
from edge_agent.forge.encoders.family import Encoder
from edge_agent.inference.decode import Decision, decide, decode_slots
from edge_agent.inference.golden import SlotSpan, cosine
from edge_agent.inference.manifest import Calibration
from edge_agent.inference.model import Model
from edge_agent.inference.tokenizer import Encoding, WordPiece
from edge_agent.types import Slot

SENTENCES: Final = (
    ("en", "Turn on the light in the kitchen, please."),
    ("en", "The room was clean, but the staff were rude and the breakfast was cold."),
    ("en", "I love this place and will come back next summer!"),
    ("en", "Angela Merkel met Barack Obama in Berlin on Tuesday."),
    ("en", "My card was stolen yesterday, what should I do now?"),
    ("en", "Book a table for two at an Italian restaurant tonight."),
    ("en", "The company reported a loss of 3.5 million dollars."),
    ("en", "It is raining in London and the trains are late."),
    ("es", "Apaga la luz del salón, por favor."),
    ("es", "El hotel estaba muy bien situado y el personal fue amable."),
    ("es", "No volvería nunca: la comida llegó fría y tarde."),
    ("es", "La reunión con Siemens en Madrid es el lunes a las diez."),
)
"""Of everyday English and Spanish, with names, places and opinions among them."""

_NEUTRAL: Final = Calibration(temperature=1.0, threshold=0.0, margin=0.0)
_ROOM: Final = 0.25
"""Golden sentences keep this share of the way from the least cosine to 1 as room for other processors."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the float32 original says of one text.

    Attributes:
        encoding: its tokens.
        vector: what a quantised file is compared by: the embedding, the slots' logits, or the labels'.
        label_logits: [labels]; empty for a bare encoder.
        decision: on them; None for a bare encoder.
        slots: found in the text.
    """

    encoding: Encoding
    vector: NDArray[np.float32]
    label_logits: NDArray[np.float32]
    decision: Decision | None
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Original:
    """The checkpoint's model in PyTorch, float32.

    Attributes:
        encoder: with its heads, ready to evaluate.
        tokenizer: as the device runs it.
        labels: of the bundle; empty for a bare encoder.
        slot_tags: of the bundle; empty where there are none.
    """

    encoder: Encoder
    tokenizer: WordPiece
    labels: tuple[str, ...]
    slot_tags: tuple[str, ...]

    def answer(self, text: str) -> Answer:
        """Tokens, logits or vector, decision and slots of one text."""
        encoding = self.tokenizer.encode(text)
        ids = torch.tensor([encoding.ids])
        mask = torch.ones_like(ids, dtype=torch.bool)
        nothing = np.zeros(0, np.float32)
        with torch.no_grad():
            if not self.labels:
                vector: NDArray[np.float32] = self.encoder.embed(ids, mask)[0].numpy()
                return Answer(encoding, vector, nothing, None, ())
            labels, tags = self.encoder(ids, mask)
        label_logits: NDArray[np.float32] = labels[0].numpy()
        decision = decide(label_logits, self.labels, _NEUTRAL, out_of_scope=None)
        if tags is None:
            return Answer(encoding, label_logits, label_logits, decision, ())
        slot_logits: NDArray[np.float32] = tags[0].numpy()
        slots = decode_slots(text, encoding, slot_logits, self.slot_tags)
        return Answer(encoding, slot_logits.reshape(-1), label_logits, decision, slots)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The quantised file beside its original.

    Attributes:
        golden: lines of the golden file, sentences on which both agree.
        sentences: how many were asked.
        agreeing: how many got the same label and slots.
        mean_cosine: of the two outputs, over the sentences.
        least_cosine: of the worst sentence.
    """

    golden: tuple[dict[str, Any], ...]
    sentences: int
    agreeing: int
    mean_cosine: float
    least_cosine: float


def compare(original: Original, served: Model, *, max_tokens: int, min_cosine: float) -> Comparison:
    """Asks both models the built-in sentences.

    Args:
        original: the reference.
        served: the bundle on its way, on this machine's runtime.
        max_tokens: longer sentences are left out.
        min_cosine: least mean cosine; golden sentences lie above it.

    Raises:
        GateError: the file answers otherwise than its original.
    """
    golden: list[dict[str, Any]] = []
    cosines: list[float] = []
    agreeing = 0
    for lang, text in SENTENCES:
        answer = original.answer(text)
        if len(answer.encoding.ids) > max_tokens:
            continue
        found, same = _served(served, text, answer)
        cosines.append(cosine(found, answer.vector))
        agreeing += same
        if same and cosines[-1] >= min_cosine + _ROOM * (1 - min_cosine):
            golden.append(_line(lang, text, answer))
    mean = float(np.mean(cosines)) if cosines else 0.0
    if not golden or mean < min_cosine:
        raise GateError(
            f"the int8 file answers otherwise than its original: mean cosine {mean:.3f}, the same answer to "
            f"{agreeing} of {len(cosines)} sentences",
            hint="weights with outliers lose too much in int8; train it on with quantisation: forge train",
        )
    return Comparison(tuple(golden), len(cosines), agreeing, mean, min(cosines))


def _served(served: Model, text: str, answer: Answer) -> tuple[NDArray[np.float32], bool]:
    """The served model's output, and whether its label and slots are those of the original."""
    if answer.decision is None:
        return served.embed(text).embedding, True
    analysis = served.analyse(text)
    vector = analysis.label_logits
    if analysis.slot_logits is not None:
        vector = analysis.slot_logits.reshape(-1)
    same = analysis.label == answer.decision.best and analysis.slot_spans == _spans(answer.slots)
    return vector, same


def _spans(slots: tuple[Slot, ...]) -> tuple[SlotSpan, ...]:
    return tuple(SlotSpan(slot.name, slot.start, slot.end) for slot in slots)


def _line(lang: str, text: str, answer: Answer) -> dict[str, Any]:
    line: dict[str, Any] = {"text": text, "lang": lang, "token_ids": list(answer.encoding.ids)}
    if answer.decision is None:
        return line | {"embedding": [round(float(value), 5) for value in answer.vector]}
    return line | {
        "label_logits": [round(float(logit), 4) for logit in answer.label_logits],
        "label": answer.decision.best,
        "recognized": answer.decision.recognized,
        "slots": [
            {"name": slot.name, "value": slot.value, "start": slot.start, "end": slot.end}
            for slot in answer.slots
        ],
    }
