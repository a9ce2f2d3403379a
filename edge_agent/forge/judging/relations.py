"""What a model keeps of another: of its teacher, of its own float32 form, of the linear floor."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from typing import Any

from edge_agent.forge.recipe import Recipe

Figures = Mapping[str, Any]


def relations(
    models: Mapping[str, Figures], floor: Figures | None, recipe: Recipe, name: str
) -> dict[str, Any]:
    """The relations of one model, by the names that gates use; None where something was not measured.

    Like is compared with like: a student as it serves with its teacher as it serves. ``speedup`` is the
    geometric mean over the measured lengths; ``size_share`` and ``size_of_int8`` compare the model files.

    Args:
        models: the figures of all models, with their costs.
        floor: those of the linear classifier.
        recipe: says what a low-bit model was made of.
        name: whose relations.
    """
    own = models[name]
    found: dict[str, Any] = {}
    teacher = models.get(own["teacher"] or "")
    origin = models.get(next((low.of for low in recipe.low_bit if low.name == name), ""))
    if teacher is not None:
        found["speedup"] = _speedup(own["quantised"], teacher["quantised"])
        found["size_share"] = _size_share(own, teacher)
    if origin is not None:
        found["size_of_int8"] = _size_share(own, origin)
    for split in ("dev", "test"):
        for relation, value in _of_split(own, teacher, origin, floor, split).items():
            found[f"{split}.{relation}"] = value
            if split == "dev":
                found[relation] = value
    return dict(sorted(found.items()))


def headline(shipped: Figures) -> dict[str, float]:
    """The few figures of the shipped model that model cards and bundles name."""
    dev, test = shipped["quantised"]["dev"], shipped["quantised"]["test"]
    original = shipped["float32"]["dev"]["all"]
    found: dict[str, float | None] = {}
    for group, summary in dev.items():
        if group == "all":
            continue
        for figure in ("intent_accuracy", "slot_f1", "span_f1", "macro_f1", "cosine"):
            found[f"{group}.{figure}"] = summary.get(figure)
    for group, summary in test.items():
        if group != "all":
            found[f"{group}.out_of_scope_accepted"] = summary.get("out_of_scope_accepted")
    found["in_scope_accepted"] = dev["all"].get("in_scope_accepted")
    for figure in ("intent_accuracy", "slot_f1"):
        found[f"int8_loss.{figure}"] = _difference(original.get(figure), dev["all"].get(figure))
    found["int8_agreement"] = shipped["agreement"]["dev"]
    for cost in ("tflite_megabytes", "memory_megabytes", "parameters"):
        found[cost] = shipped["quantised"][cost]
    for length, milliseconds in shipped["quantised"]["latency_ms"].items():
        found[f"latency_ms.{length}"] = milliseconds
    return {name: round(float(value), 5) for name, value in found.items() if value is not None}


def quality(group: Figures) -> float | None:
    """The one figure that models of a task are compared by: accuracy in scope, or the cosine of vectors."""
    accuracy: float | None = group.get("intent_accuracy", group.get("cosine"))
    return accuracy


def _of_split(
    own: Figures, teacher: Figures | None, origin: Figures | None, floor: Figures | None, split: str
) -> dict[str, float | None]:
    served = own["quantised"][split].get("all", {})
    original = own["float32"][split].get("all", {})
    found = {
        "quantised_keeps": _share(quality(served), quality(original)),
        "quantised_keeps_span_f1": _share(served.get("span_f1"), original.get("span_f1")),
    }
    if teacher is not None:
        theirs = teacher["quantised"][split].get("all", {})
        found["keeps"] = _share(quality(served), quality(theirs))
        found["keeps_span_f1"] = _share(served.get("span_f1"), theirs.get("span_f1"))
    if origin is not None:
        found["keeps_of_int8"] = _share(quality(served), quality(origin["quantised"][split].get("all", {})))
    if floor is not None:
        found["over_floor"] = _difference(quality(served), quality(floor[split].get("all", {})))
    return found


def _share(part: float | None, whole: float | None) -> float | None:
    return round(part / whole, 6) if part is not None and whole else None


def _difference(first: float | None, second: float | None) -> float | None:
    return round(first - second, 6) if first is not None and second is not None else None


def _size_share(own: Figures, other: Figures) -> float | None:
    return _share(own["quantised"]["tflite_megabytes"], other["quantised"]["tflite_megabytes"])


def _speedup(own: Figures, other: Figures) -> float | None:
    times, others = own["latency_ms"], other["latency_ms"]
    ratios = [log(others[length] / times[length]) for length in times if length in others and times[length]]
    return round(exp(sum(ratios) / len(ratios)), 4) if ratios else None
