"""A run's models as points of quality against latency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.forge.judging.relations import quality
from edge_agent.forge.report.plots import Point

QUALITY_WORDS = {
    "intent": "intent accuracy",
    "classify": "accuracy",
    "embed": "cosine with the teacher",
}
_USUAL_LENGTH = 32


def judged_split(found: Mapping[str, Any]) -> str:
    """The split that a run is compared by: test, or dev where test has nothing in scope."""
    model = found["models"][found["model"]["ship"]]
    return "test" if quality(model["quantised"]["test"].get("all", {})) is not None else "dev"


def usual_length(found: Mapping[str, Any]) -> str:
    """The length that latency is compared at: 32 tokens, or the longest below that all models read."""
    lengths = [int(n) for n in found["models"][found["model"]["ship"]]["quantised"]["latency_ms"]]
    return str(max((length for length in lengths if length <= _USUAL_LENGTH), default=min(lengths)))


def time_words(found: Mapping[str, Any]) -> str:
    """Label of the time axis."""
    return f"latency at {usual_length(found)} tokens, ms"


def run_points(found: Mapping[str, Any]) -> list[Point]:
    """Teacher in float32 and quantised, and every student and low-bit model as it serves."""
    split, length = judged_split(found), usual_length(found)
    points = []
    for name, model in found["models"].items():
        if model["role"] == "teacher":
            points.append(_point("fp32", "teacher float32", model["float32"], split, length))
        points.append(_point(name, model["role"], model["quantised"], split, length))
    return [point for point in points if point is not None]


def _point(name: str, kind: str, form: Mapping[str, Any], split: str, length: str) -> Point | None:
    group = form[split].get("all", {})
    value, interval = quality(group), group.get("intent_accuracy_interval") or {}
    if value is None:
        return None
    return Point(name, kind, form["latency_ms"][length], value, interval.get("low"), interval.get("high"))
