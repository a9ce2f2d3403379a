"""A corpus and models of a few kilobytes that nobody trained, for tests of judging and reporting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from edge_agent.forge.data.corpus import Corpus
from edge_agent.forge.data.examples import OUT_OF_SCOPE, Example, Span
from edge_agent.forge.data.mixture import WeightedSet
from edge_agent.forge.encoders.bert import EncoderShape, JointEncoder
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.judging.assemble import Candidate, Trained
from edge_agent.forge.judging.judge import RunResult, judge
from edge_agent.forge.recipe import Recipe

ROOMS = ("kitchen", "bedroom", "hall", "garage")
ORDERS = {"TurnOn": "turn on the light in the", "TurnOff": "switch off the lamp of the"}
TOKENS = (
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", *ROOMS, "turn", "on", "the", "light", "in", "switch", "off", "lamp",
    "of", "sing", "a", "song", "tell", "me", "joke", "please", "now", "nice", "room", "was", "bad", "dirty",
)  # fmt: skip


def recipe(task: str = "intent", **changes: Any) -> Recipe:
    """A recipe with a teacher, a student and a low-bit model, checked as one that was read."""
    languages = ("en", "es")
    data = [
        {"use": use, "kind": "table", "file": f"toy/{lang}.csv", "lang": lang, "licence": "CC0"}
        for use in ("train", "dev", "test")
        for lang in languages
    ]
    values: dict[str, Any] = {
        "model": {
            "name": "toy",
            "version": "0.1.0",
            "task": task,
            "languages": languages,
            "licence": "Apache-2.0",
            "max_tokens": 32,
        },
        "encoder": {"package": "none", "origin": "nowhere", "licence": "CC0"},
        "data": data,
        "training": {"steps": 1},
        "student": [{"name": "small", "layers": 1}],
        "low_bit": [{"name": "small-int4", "of": "small"}],
    }
    model = {**values["model"], **changes.pop("model", {})}
    return Recipe.model_validate({**values, **changes, "model": model})


def intent_corpus() -> Corpus:
    """Two orders in two languages with their rooms, and songs and jokes that are out of scope."""
    orders = tuple(
        _order(label, words, room, lang)
        for room in ROOMS
        for label, words in ORDERS.items()
        for lang in ("en", "es")
    )
    others = tuple(
        Example(text, OUT_OF_SCOPE, "en", (), "chat")
        for text in ("sing a song", "tell me a joke", "sing me a song now", "tell a joke please")
    )
    tags = ("O", "B-area", "I-area")
    return _corpus((*orders, *others), ("TurnOff", "TurnOn", OUT_OF_SCOPE), tags)


def opinion_corpus() -> Corpus:
    """Opinions of two kinds where the model knows three."""
    texts = {"positive": ("nice room", "the room was nice"), "negative": ("bad room", "the room was dirty")}
    examples = tuple(
        Example(text, label, lang, None, "toy")
        for label, own in texts.items()
        for text in own
        for lang in ("en", "es")
    )
    return _corpus(examples, ("negative", "neutral", "positive"), ())


def sentence_corpus() -> Corpus:
    """Sentences without labels, for embeddings."""
    examples = tuple(
        Example(f"{words} {room}", "", "en", None, "toy") for words in ORDERS.values() for room in ROOMS
    )
    return _corpus(examples, (), ())


def candidates(own: Recipe, corpus: Corpus) -> list[Candidate]:
    """The recipe's three models with random weights."""
    torch.manual_seed(3)
    return [
        Candidate("teacher", "teacher", _trained(own, corpus, 2), Scheme.INT8_PER_CHANNEL),
        Candidate("small", "student", _trained(own, corpus, 1), Scheme.INT8_PER_CHANNEL, "teacher"),
        Candidate("small-int4", "low-bit", _trained(own, corpus, 1), Scheme.INT4_PER_CHANNEL, "small"),
    ]


def judged(own: Recipe, corpus: Corpus, out: Path, *, enforce: bool = True) -> RunResult:
    """The recipe's models, judged into a run folder."""
    out.mkdir(parents=True, exist_ok=True)
    return judge(
        candidates(own, corpus),
        corpus,
        own,
        out,
        provenance={"recipe": "toy.toml", "seed": 1, "encoder": "nowhere", "machine": "x86"},
        enforce=enforce,
        stage=lambda _: None,
    )


def _order(label: str, words: str, room: str, lang: str) -> Example:
    text = f"{words} {room}"
    return Example(text, label, lang, (Span("area", len(text) - len(room), len(text)),), "toy")


def _corpus(examples: Sequence[Example], labels: tuple[str, ...], tags: tuple[str, ...]) -> Corpus:
    return Corpus(
        training=(WeightedSet(1.0, examples),),
        dev=tuple(examples),
        test=tuple(reversed(examples)),
        labels=labels,
        slot_tags=tags,
        texts={},
        left_out=0,
        slots_not_found=0,
    )


def _trained(own: Recipe, corpus: Corpus, layers: int) -> Trained:
    shape = EncoderShape(
        vocabulary=len(TOKENS),
        hidden=16,
        intermediate=32,
        layers=layers,
        heads=2,
        longest=own.model.max_tokens,
        labels=len(corpus.labels),
        tags=len(corpus.slot_tags),
    )
    encoder = JointEncoder(shape).eval()
    with torch.no_grad():  # logits that differ by sentence, so that there is something to judge
        encoder.words.weight.mul_(3.0)
        encoder.label_head.weight.mul_(6.0)
    return Trained(own, encoder.export_weights(), TOKENS, corpus.labels, corpus.slot_tags)
