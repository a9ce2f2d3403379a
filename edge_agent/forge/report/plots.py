"""The plots of a report and of the benchmark page; the only file that draws."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.files import write_atomic

_INK, _FAINT = "#333333", "#bbbbbb"
_DPI = 130
_FEW = 10
_STYLES = {
    "teacher float32": ("o", "#777777"),
    "teacher": ("o", "#1f5fa8"),
    "student": ("s", "#d1701a"),
    "low-bit": ("^", "#2b8a3e"),
}
"""Marker and colour by what a point stands for; told apart without colours, too."""


@dataclass(frozen=True, slots=True)
class Point:
    """A model in a plot of quality against latency.

    Attributes:
        name: beside the point.
        kind: ``teacher float32``, ``teacher``, ``student`` or ``low-bit``.
        milliseconds: latency.
        quality: 0..1.
        low: lower end of its interval, or None.
        high: upper end.
    """

    name: str
    kind: str
    milliseconds: float
    quality: float
    low: float | None = None
    high: float | None = None


def plot_reliability(path: Path, curves: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Accuracy against confidence, before and after calibration; a dot's area is its share of sentences.

    Bins of few sentences say little: they are faint, and no line leads through them.
    """
    figure, axes = _axes("confidence of the best label", "share that is right", "Reliability on dev")
    axes.plot([0, 1], [0, 1], color=_FAINT, linestyle="--", label="perfectly calibrated", zorder=1)
    for name, colour in (("before", "#d1701a"), ("after", "#1f5fa8")):
        points = curves[name]
        many = [p for p in points if p["sentences"] >= _FEW]
        few = [p for p in points if p["sentences"] < _FEW]
        xs, ys = [p["confidence"] for p in many], [p["accuracy"] for p in many]
        axes.plot(xs, ys, color=colour, linewidth=1.4, label=f"{name} calibration", zorder=2)
        axes.scatter(xs, ys, s=[14 + 160 * p["share"] for p in many], color=colour, alpha=0.6, zorder=3)
        few_xs, few_ys = [p["confidence"] for p in few], [p["accuracy"] for p in few]
        axes.scatter(few_xs, few_ys, s=12, facecolors="none", edgecolors=colour, alpha=0.6, zorder=3)
    axes.scatter([], [], s=12, facecolors="none", edgecolors=_INK, label=f"fewer than {_FEW} sentences")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    _save(figure, path)


def plot_out_of_scope(
    path: Path,
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    chosen: Mapping[str, Mapping[str, Any]],
) -> None:
    """Recall of out of scope against acceptance in scope, by split; a cross marks the chosen threshold."""
    figure, axes = _axes(
        "in-scope sentences answered, %", "out-of-scope sentences turned away, %", "Out of scope"
    )
    marks: list[tuple[float, float]] = []
    below: list[float] = []
    for name, colour in (("dev", "#d1701a"), ("test", "#1f5fa8")):
        if not curves.get(name):
            continue
        xs = [100 * point["in_scope_accepted"] for point in curves[name]]
        ys = [100 * point["out_of_scope_recall"] for point in curves[name]]
        axes.plot(xs, ys, color=colour, linewidth=1.6, label=name)
        x, y = 100 * chosen[name]["in_scope_accepted"], 100 * chosen[name]["out_of_scope_recall"]
        axes.plot(
            [x], [y], marker="X", markersize=9, color=colour, linestyle="", label=f"{name}, as it ships"
        )
        marks.append((x, y))
        below += [own_y for own_x, own_y in zip(xs, ys, strict=True) if own_x <= 99.5]
    axes.set_xlim(max(0.0, min(80.0, *(10 * (x // 10) - 10 for x, _ in marks))), 100.6)
    low = min([y for _, y in marks] + below)
    axes.set_ylim(max(0.0, min(80.0, 10 * (low // 10) - 10)), 101)
    axes.legend(loc="lower left", frameon=False)
    _save(figure, path)


def plot_pareto(path: Path, panels: Mapping[str, Sequence[Point]], quality: str, milliseconds: str) -> None:
    """Quality against latency, one panel a recipe, with the front of models that no other one beats.

    Args:
        path: the PNG file.
        panels: the points of each recipe, by its name.
        quality: label of the vertical axes.
        milliseconds: label of the horizontal axes, which are logarithmic.
    """
    from matplotlib.figure import Figure  # slow to import, and only reports draw

    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    size = (6.2, 4.6) if len(panels) == 1 else (3.1 * columns, 2.7 * rows + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        name = list(panels)[index]
        _draw_panel(axes, name, panels[name])
        axes.set_xlabel(milliseconds if index >= len(panels) - columns else "")
        axes.set_ylabel(quality if index % columns == 0 else "")
    _legend_below(figure, [point.kind for points in panels.values() for point in points])
    _save(figure, path)


def front(points: Sequence[Point]) -> list[Point]:
    """The points that none of the others beats in both latency and quality, fastest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.milliseconds, -p.quality)):
        if not best or point.quality > best[-1].quality:
            best.append(point)
    return best


def _draw_panel(axes: Any, title: str, points: Sequence[Point]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    _dress(axes, title)
    axes.set_xscale("log")
    line = front(points)
    axes.plot(
        [p.milliseconds for p in line], [100 * p.quality for p in line], color=_FAINT, linewidth=1.2, zorder=1
    )
    for point in points:
        marker, colour = _STYLES[point.kind]
        if point.low is not None and point.high is not None:
            axes.plot(
                [point.milliseconds] * 2,
                [100 * point.low, 100 * point.high],
                color=colour,
                alpha=0.35,
                zorder=2,
            )
        axes.plot(
            [point.milliseconds], [100 * point.quality], marker=marker, color=colour, markersize=7, zorder=3
        )
    _room(axes, points)
    low, high = axes.get_xlim()
    axes.set_xticks([t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= t <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    _name_points(axes, points)


def _room(axes: Any, points: Sequence[Point]) -> None:
    """Limits that leave place for names and do not blow up differences of nothing."""
    times = [p.milliseconds for p in points]
    axes.set_xlim(min(times) / 2.2, max(times) * 1.5)
    ends = [100 * v for p in points for v in (p.quality, p.low, p.high) if v is not None]
    low, high = min(ends), max(ends)
    margin = max(0.12 * (high - low), 0.5)
    axes.set_ylim(low - margin, high + margin)
    axes.set_yticks([tick for tick in axes.get_yticks() if low - margin <= tick <= 100])


def _name_points(axes: Any, points: Sequence[Point]) -> None:
    """Each name beside its point: left where another point stands right, lower where two would meet."""
    from matplotlib.patheffects import withStroke

    low, high = axes.get_ylim()
    step = (high - low) / 13
    placed: list[tuple[bool, float, float]] = []
    for point in sorted(points, key=lambda p: (-p.quality, p.milliseconds)):
        y, left = 100 * point.quality, _is_crowded_right(point, points, step)
        while any(
            side == left and abs(y - other) < step and 0.4 < point.milliseconds / x < 2.5
            for side, x, other in placed
        ):
            y -= step / 4
        placed.append((left, point.milliseconds, y))
        axes.annotate(
            point.name,
            (point.milliseconds, y),
            xytext=(-6 if left else 6, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=8,
            color=_INK,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=4,
        )


def _is_crowded_right(point: Point, points: Sequence[Point], step: float) -> bool:
    """Whether a name right of the point would lie on another one, or beyond the right edge."""
    slowest = max(other.milliseconds for other in points)
    if point.milliseconds == slowest and len(points) > 1:
        return True
    return any(
        1.0 < other.milliseconds / point.milliseconds < 1.5
        and abs(other.quality - point.quality) * 100 < step
        for other in points
        if other is not point
    )


def _legend_below(figure: Any, kinds: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker=marker, color=colour, linestyle="", label=_LEGEND[kind])
        for kind, (marker, colour) in _STYLES.items()
        if kind in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


_LEGEND = {
    "teacher float32": "teacher, float32",
    "teacher": "teacher, int8",
    "student": "student, int8",
    "low-bit": "low-bit",
}


def _axes(x_label: str, y_label: str, title: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # slow to import, and only reports draw

    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    _dress(axes, title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def _dress(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=11, color=_INK)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=9, colors=_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _save(figure: Any, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI, metadata={"Software": None})
    write_atomic(path, content.getvalue())
