"""Several runs side by side: ``BENCHMARKS.md``, ``benchmarks.json`` and one Pareto plot.

Everything is read from the runs' own ``report.json``; nothing is measured here, and no figure is chosen by
how it looks: each run is shown on its test split, or on dev where its test has nothing in scope.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_agent.errors import DataError
from edge_agent.files import write_atomic
from edge_agent.forge.report.pareto import judged_split, run_points
from edge_agent.forge.report.plots import plot_pareto
from edge_agent.forge.report.tables import (
    number,
    percent,
    present,
    short_scheme,
    table,
    target_cells,
    with_interval,
)

Found = Mapping[str, Any]

_LENGTHS = ("16", "32", "128")
_LEFT_OUT_OF_JSON = ("reliability", "out_of_scope_curves")
_INTRODUCTION = """\
Runs of the recipes in `models/recipes`, judged by `edge-agent forge` with the code and the runtime of the
device. A **teacher** is the fine-tuned encoder, a **student** a smaller one that learned from it, **low-bit**
one whose training simulated fewer bits. Every figure is of the file as it serves, but for the rows `float32`.
Brackets hold 95 % bootstrap intervals; a share of fewer than 100 sentences, or of 0 or 100 %, has Wilson's.
Models, thresholds and settings were chosen on dev; nothing was chosen
on a test split. The linear classifier over n-grams, trained on the same sentences, is the floor."""
_LEGEND = """\
*Accuracy* is over the sentences in scope, all labels competing; *span F1* over (name, exact place) in all of
them, as seqeval counts; *turned away* is the share of out-of-scope sentences that the threshold does not let
through, *by label* the share that gets the label `out_of_scope`."""


def read_runs(folders: Sequence[Path]) -> dict[str, Found]:
    """The reports of run folders by the names of their models, in the order given.

    Raises:
        DataError: a folder without a report, a report of another form, or two of one name.
    """
    runs: dict[str, Found] = {}
    for folder in folders:
        path = folder / "report.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            name = found["model"]["name"]
            found["models"][found["model"]["ship"]]["relations"].items()
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror})", hint="name folders that `forge train` finished"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: not the report of a run by this version", hint="run its recipe again"
            ) from error
        if name in runs:
            raise DataError(f"{folder}: a second run of {name}", hint="name one run of each model")
        runs[name] = found
    return runs


def write_benchmarks(folder: Path, runs: Mapping[str, Found]) -> None:
    """Writes ``BENCHMARKS.md``, ``benchmarks.json`` and ``pareto.png``.

    Args:
        folder: created where absent.
        runs: as :func:`read_runs` gives them, at least one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    panels = {name: points for name, found in runs.items() if (points := run_points(found))}
    if panels:
        plot_pareto(folder / "pareto.png", panels, "quality, %", "latency at 32 tokens, ms")
    content = json.dumps({name: _figures_of(found) for name, found in runs.items()}, indent=1)
    write_atomic(folder / "benchmarks.json", (content + "\n").encode())
    write_atomic(folder / "BENCHMARKS.md", render_benchmarks(runs).encode())


def render_benchmarks(runs: Mapping[str, Found]) -> str:
    """``BENCHMARKS.md``."""
    lines = [
        "# Benchmarks",
        "",
        _INTRODUCTION,
        "",
        "![Quality against latency of every model, one panel a recipe](pareto.png)",
        "",
        "## Quality",
        "",
        _LEGEND,
        "",
        *_quality(runs),
        "## What smaller costs",
        "",
        "Like compared with like, on the split shown above: *quantised* is a file against its own float32 "
        "weights, *kept* a model against the one that it learned from, *of int8* a low-bit file against the "
        "int8 file of the model that it was made of.",
        "",
        *_kept(runs),
        "## Latency, size and memory",
        "",
        *_costs(runs),
        "## Targets",
        "",
        *_targets(runs),
        "## Made by",
        "",
        *_provenance(runs),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _rows(found: Found) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Model, weights and form of each row of a run; float32 for the teacher alone."""
    for name, model in found["models"].items():
        if model["role"] == "teacher":
            yield name, "float32", model["float32"]
        yield name, short_scheme(model["scheme"]), model["quantised"]


def _quality(runs: Mapping[str, Found]) -> list[str]:
    columns = (
        ("intent_accuracy", "accuracy"),
        ("macro_f1", "macro F1"),
        ("span_f1", "span F1"),
        ("out_of_scope_recall", "turned away"),
        ("out_of_scope_argmax_recall", "by label"),
        ("cosine", "cosine"),
    )
    entries: list[tuple[list[str], Mapping[str, Any]]] = []
    for run, found in runs.items():
        split = judged_split(found)
        shown = f"{run}, {split}"
        for name, weights, form in _rows(found):
            entries.append(([shown, name, weights], form[split].get("all", {})))
            shown = ""
        if found["floor"]:
            entries.append((["", "*linear n-grams*", ""], found["floor"][split].get("all", {})))
    used = [column for column in columns if present([group for _, group in entries], column[0])]
    rows = [[*names, *(with_interval(group, figure) for figure, _ in used)] for names, group in entries]
    return table(["recipe", "model", "weights", *(words for _, words in used)], rows)


def _kept(runs: Mapping[str, Found]) -> list[str]:
    rows = []
    for run, found in runs.items():
        split, shown = judged_split(found), run
        for name, model in found["models"].items():
            own: Mapping[str, float | None] = model["relations"]
            over = own.get(f"{split}.over_floor")
            rows.append(
                [
                    shown,
                    name,
                    percent(own.get(f"{split}.quantised_keeps")),
                    model["teacher"] or "",
                    percent(own.get(f"{split}.keeps")) if model["teacher"] else "",
                    percent(own.get(f"{split}.keeps_span_f1")) if model["teacher"] else "",
                    _times(own.get("speedup")),
                    percent(own.get("size_share"), 0) if model["teacher"] else "",
                    percent(own.get(f"{split}.keeps_of_int8")) if "size_of_int8" in own else "",
                    "–" if over is None else f"{over * 100:+.2f}",
                ]
            )
            shown = ""
    header = ["recipe", "model", "quantised", "learned from", "kept", "of span F1", "speed", "size"]
    return table([*header, "of int8", "points above the floor"], rows)


def _costs(runs: Mapping[str, Found]) -> list[str]:
    rows = []
    for run, found in runs.items():
        shown = run
        for name, weights, form in _rows(found):
            times = [number(form["latency_ms"].get(length)) for length in _LENGTHS]
            sizes = [number(form["tflite_megabytes"], 1), number(form["memory_megabytes"], 0)]
            rows.append([shown, name, weights, *times, *sizes, f"{form['parameters'] / 1e6:.1f} M"])
            shown = ""
    header = ["recipe", "model", "weights", *(f"{length} tokens, ms" for length in _LENGTHS)]
    return table([*header, "file, MB", "memory, MB", "parameters"], rows)


def _targets(runs: Mapping[str, Found]) -> list[str]:
    targets = [(run, target) for run, found in runs.items() for target in found["targets"]]
    if not targets:
        return ["The recipes name none.", ""]
    met = sum(target["met"] for _, target in targets)
    rows = [[run, *target_cells(target)] for run, target in targets]
    return [
        f"{met} of {len(targets)} are met.",
        "",
        *table(["recipe", "figure", "asked", "reached", ""], rows),
    ]


def _provenance(runs: Mapping[str, Found]) -> list[str]:
    rows = [
        [run, *(str(found["provenance"].get(key, "–")) for key in ("encoder", "runtime", "machine", "seed"))]
        for run, found in runs.items()
    ]
    return table(["recipe", "encoder", "runtime", "machine", "seed"], rows)


def _figures_of(found: Found) -> dict[str, Any]:
    """A report without the curves, which only its plots need."""
    models = {
        name: {key: value for key, value in model.items() if key not in _LEFT_OUT_OF_JSON}
        for name, model in found["models"].items()
    }
    return {**found, "models": models}


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f} ×"
