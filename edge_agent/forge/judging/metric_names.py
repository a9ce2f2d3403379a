"""The names by which a recipe's gates and targets call a run's figures (docs/recipes.md, "Metrics").

    <model>[.float32].<split>.<group>.<figure>     teacher.test.en.intent_accuracy
    <model>[.float32].<cost>                       small.tflite_megabytes, teacher.latency_ms.32
    <model>[.<split>].<relation>                   small.keeps, tiny-int4.test.keeps_of_int8

``<model>`` is ``teacher``, the name of a student or a low-bit model, ``shipped`` for the one that becomes the
bundle, or ``floor`` for the linear classifier; without ``float32`` the figure is that of the file as it
serves. Names without a model are the shipped model's headline. Every name can be checked before training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from edge_agent.errors import DataError
from edge_agent.forge.judging.costs import LENGTHS
from edge_agent.forge.recipe import GateSection, Recipe

SHIPPED = "shipped"
FLOOR = "floor"
SPLITS = ("dev", "test")
FIGURES = (
    "intent_accuracy",
    "accuracy",
    "accepted_accuracy",
    "in_scope_accepted",
    "out_of_scope_accepted",
    "out_of_scope_recall",
    "out_of_scope_argmax_recall",
    "slot_f1",
    "slot_precision",
    "slot_recall",
    "span_f1",
    "span_precision",
    "span_recall",
    "macro_f1",
    "macro_f1_of_present",
    "cosine",
    "spearman",
)
COSTS = (
    "tflite_megabytes",
    "bundle_megabytes",
    "memory_megabytes",
    "parameters",
    *(f"latency_ms.{length}" for length in LENGTHS),
)
RELATIONS = (
    "keeps",
    "keeps_span_f1",
    "quantised_keeps",
    "quantised_keeps_span_f1",
    "keeps_of_int8",
    "over_floor",
)
"""Shares of another model's accuracy kept; on dev where no split is named."""
SHARES = ("speedup", "size_share", "size_of_int8")
"""Relations that no split has a part in."""
_SYNONYMS = {"accuracy": "intent_accuracy"}
_HEADLINE = ("in_scope_accepted", "int8_loss.intent_accuracy", "int8_loss.slot_f1", "int8_agreement")
_NEAR = 3


def check_metric_names(recipe: Recipe) -> None:
    """Sees that every gate and target names a figure that a run of the recipe can have.

    Raises:
        DataError: a name that no figure has; the hint lists near ones.
    """
    known = set(known_names(recipe))
    for section in (*recipe.gates, *recipe.targets):
        if section.metric not in known:
            raise DataError(
                f"no figure is called {section.metric}", hint=f"near are: {near_names(section.metric, known)}"
            )


def near_names(name: str, known: Sequence[str] | set[str]) -> str:
    """The known names that are most like a wrong one, as one line."""
    near = get_close_matches(name, sorted(known), n=_NEAR, cutoff=0.4)
    return ", ".join(near) or "none; see docs/recipes.md, Metrics"


def known_names(recipe: Recipe) -> Iterator[str]:
    """Every name that a gate or target of the recipe may use."""
    models = ["teacher", *(s.name for s in recipe.student), *(s.name for s in recipe.low_bit), SHIPPED]
    places = [f"{split}.{group}" for split in SPLITS for group in _groups(recipe, split)]
    for model in models:
        for form in (model, f"{model}.float32"):
            yield from (f"{form}.{place}.{figure}" for place in places for figure in FIGURES)
            yield from (f"{form}.{cost}" for cost in COSTS)
        yield from (f"{model}.{relation}" for relation in (*RELATIONS, *SHARES))
        yield from (f"{model}.{split}.{relation}" for split in SPLITS for relation in RELATIONS)
    yield from (f"{FLOOR}.{place}.{figure}" for place in places for figure in FIGURES)
    yield from (*_HEADLINE, *COSTS)
    for group in _groups(recipe, "dev"):
        yield from (f"{group}.intent_accuracy", f"{group}.slot_f1", f"{group}.span_f1", f"{group}.macro_f1")
    for group in _groups(recipe, "test"):
        yield f"{group}.out_of_scope_accepted"


def look_up(found: Mapping[str, Any], name: str) -> float | None:
    """A figure of a finished run by its name; None where the run has none of that name.

    Args:
        found: the content of ``report.json``.
        name: as above.
    """
    headline: Mapping[str, float] = found["headline"]
    if name in headline:
        return headline[name]
    head, _, rest = name.partition(".")
    if head == FLOOR:
        return _figure(found["floor"] or {}, rest)
    model = found["models"].get(found["model"]["ship"] if head == SHIPPED else head)
    if model is None:
        return None
    if rest.startswith("float32."):
        return _of_form(model["float32"], rest.removeprefix("float32."))
    relations: Mapping[str, float | None] = model["relations"]
    if rest in relations:
        return relations[rest]
    return _of_form(model["quantised"], rest)


def judged(found: Mapping[str, Any], section: GateSection) -> dict[str, Any]:
    """A gate or target against what the run reached.

    Returns:
        ``metric``, ``value`` (or None), ``at_least``, ``at_most``, ``met``, ``short_by``: how far the value
        is on the wrong side, 0 where it is met, None where it was not measured; and ``tried``, in words.
    """
    value = look_up(found, section.metric)
    short: float | None = None
    if value is not None:
        below = (section.at_least or 0.0) - value if section.at_least is not None else 0.0
        above = value - (section.at_most or 0.0) if section.at_most is not None else 0.0
        short = round(max(0.0, below, above), 6)
    return {
        "metric": section.metric,
        "value": value,
        "at_least": section.at_least,
        "at_most": section.at_most,
        "met": short == 0.0,
        "short_by": short,
        "tried": section.tried,
    }


def in_words(gate: Mapping[str, Any]) -> str:
    """One line about a gate or target that :func:`judged` looked at."""
    asked = " and ".join(
        f"{words} {gate[key]:g}"
        for key, words in (("at_least", "at least"), ("at_most", "at most"))
        if gate[key] is not None
    )
    if gate["value"] is None:
        return f"{gate['metric']} was not measured, {asked} is asked"
    return f"{gate['metric']} is {gate['value']:.4f}, {asked} is asked"


def _of_form(form: Mapping[str, Any], rest: str) -> float | None:
    cost, _, length = rest.partition(".")
    if cost == "latency_ms":
        return _number(form["latency_ms"].get(length))
    if cost in form and not length:
        return _number(form[cost])
    return _figure(form, rest)


def _figure(form: Mapping[str, Any], rest: str) -> float | None:
    """``<split>.<group>.<figure>``; a group's name may have dots of its own."""
    split, _, rest = rest.partition(".")
    group, _, figure = rest.rpartition(".")
    summary = form.get(split, {}).get(group, {}) if split in SPLITS else {}
    return _number(summary.get(_SYNONYMS.get(figure, figure)))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _groups(recipe: Recipe, split: str) -> list[str]:
    sections = [section for section in recipe.data if section.use == split]
    names = {part for s in sections for part in (s.lang, s.name, f"{s.name}/{s.lang}")}
    return ["all", *sorted(names)]
