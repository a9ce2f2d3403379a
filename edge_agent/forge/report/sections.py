"""The sections of a report, each a question answered from ``report.json``'s content as Markdown lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edge_agent.forge.judging.metric_names import in_words
from edge_agent.forge.report.tables import (
    count,
    distinct,
    figure_cells,
    figure_columns,
    group_words,
    number,
    percent,
    short_scheme,
    table,
    target_cells,
    with_interval,
)

Found = Mapping[str, Any]
"""The figures, as :mod:`edge_agent.forge.judging.judge` collects them."""
Plots = Mapping[str, str]
"""Files beside the report, and what they show."""

_CONFUSIONS_SHOWN = 12


def _data(found: Found, _: Plots) -> list[str]:
    """What it was trained on, and what a look at the data found."""
    data = found["data"]
    rows = [
        [
            entry["source"],
            count(entry["sentences"]) if entry["sentences"] is not None else "drawn afresh",
            f"{entry['weight']:g}",
        ]
        for entry in data["training"]
    ]
    findings = [f"- {finding['severity']}: {finding['message']}" for finding in data["findings"]]
    return [
        "## What it was trained on",
        "",
        *table(["training set", "sentences", "weight"], rows),
        f"Dev: {count(data['dev'])} sentences. Test: {count(data['test'])}. "
        f"{count(data['left_out'])} training sentences also stood in dev or test and were left out."
        + (
            f" Annotated slot values of dev that stand nowhere in the text: {count(data['slots_not_found'])}."
            if data["slots"]
            else ""
        ),
        "",
        *(["What a look at the data found:", "", *findings, ""] if findings else []),
    ]


def _models(found: Found, plots: Plots) -> list[str]:
    """Every model in both forms, on dev and on test."""
    lines = ["## The models", ""]
    for split in ("dev", "test"):
        rows = list(_model_rows(found, split))
        columns = figure_columns([group for _, group in rows])
        if columns:
            header = ["model", "weights", *(words for _, words in columns)]
            cells = [[*name, *figure_cells(group, columns)] for name, group in rows]
            lines += [f"### On {split}", "", *table(header, cells)]
    return [*lines, *_picture(plots, "pareto.png")]


def _picture(plots: Plots, name: str) -> list[str]:
    return [f"![{plots[name]}]({name})", ""] if name in plots else []


def _model_rows(found: Found, split: str) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    for name, model in found["models"].items():
        for form, words in (("float32", "float32"), ("quantised", short_scheme(model["scheme"]))):
            yield (_marked(found, name), words), model[form][split].get("all", {})
    if found["floor"]:
        yield ("linear n-grams", "float64"), found["floor"][split].get("all", {})


def _marked(found: Found, name: str) -> str:
    return f"**{name}**" if name == found["model"]["ship"] else name


def _kept(found: Found, _: Plots) -> list[str]:
    """What quantising and distilling cost, in a sentence each."""
    lines = []
    for name, model in found["models"].items():
        relations = model["relations"]
        share = percent(relations.get("quantised_keeps"))
        words = f"its {short_scheme(model['scheme'])} file keeps {share} of its float32 quality"
        if relations.get("keeps") is not None and relations.get("speedup") is not None:
            words += (
                f"; it keeps {percent(relations['keeps'], 1)} of {model['teacher']}'s at "
                f"{number(relations['speedup'], 1)} × its speed "
                f"and {percent(relations['size_share'], 0)} of its size"
            )
            tested = relations.get("test.keeps")
            words += f" (on test {percent(tested, 1)})" if tested is not None else ""
        if relations.get("keeps_of_int8") is not None:
            words += (
                f"; it keeps {percent(relations['keeps_of_int8'], 1)} of the model that it was made of, in "
                f"{number(relations['size_of_int8'])} of the file"
            )
        lines.append(f"- **{name}**: {words}.")
    return [
        "## What smaller costs",
        "",
        "On dev, like compared with like: files as they serve.",
        "",
        *lines,
        "",
    ]


def _asked(found: Found, _: Plots) -> list[str]:
    """What the recipe asks for, and by how much it is missed."""
    lines = ["## Targets and gates", ""]
    if found["targets"]:
        rows = [target_cells(target) for target in found["targets"]]
        lines += ["### Targets", "", *table(["figure", "asked", "reached", ""], rows)]
    lines += ["### Gates", ""]
    missed = [gate for gate in found["gates"] if not gate["met"]]
    if missed and not found["gates_enforced"]:
        lines += ["This was a trial run, whose gates are reported and not enforced.", ""]
    lines += [f"- missed: {in_words(gate)}" for gate in missed]
    lines += [f"- met: {in_words(gate)}" for gate in found["gates"] if gate["met"]]
    if not found["gates"]:
        lines.append("The recipe has none.")
    elif not missed:
        lines += ["", "All gates of the recipe are met."]
    return [*lines, ""]


def _floor(found: Found, _: Plots) -> list[str]:
    """The linear classifier, and which models beat it."""
    floor = found["floor"]
    if not floor:
        return []
    rows = []
    for name, model in found["models"].items():
        relations = model["relations"]
        cells = [_points(relations.get(f"{split}.over_floor")) for split in ("dev", "test")]
        rows.append([name, *cells, _beats(relations)])
    return [
        "## The floor: a linear classifier",
        "",
        f"Words and word pairs, 2 to 5 characters, TF-IDF, linear support vector machine; it reads words and "
        f"marks without case and spaces, as the models do. Trained on "
        f"{count(floor['sentences'])} of the same sentences: accuracy "
        + ", ".join(
            f"{with_interval(floor[split]['all'], 'intent_accuracy')} on {split}"
            for split in ("dev", "test")
            if floor[split].get("all", {}).get("intent_accuracy") is not None
        )
        + ".",
        "",
        *table(["model as it serves", "points above it, dev", "test", "beats it"], rows),
    ]


def _points(difference: float | None) -> str:
    return "–" if difference is None else f"{difference * 100:+.2f}"


def _beats(relations: Mapping[str, Any]) -> str:
    values = [relations.get(f"{split}.over_floor") for split in ("dev", "test")]
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return "yes" if min(known) > 0 else "**no**"


def _groups(found: Found, _: Plots) -> list[str]:
    """The shipped model by language and by data set."""
    model = found["models"][found["model"]["ship"]]
    lines = [f"## By language and set: {found['model']['ship']}", ""]
    for split in ("dev", "test"):
        groups = model["quantised"][split]
        names = distinct(groups)
        columns = figure_columns([groups[name] for name in names])
        if not columns:
            continue
        first, words = columns[0]
        header = ["group", "sentences", *(words for _, words in columns), f"float32 {words}", "accepted"]
        rows = [
            [
                group_words(groups, name),
                count(groups[name]["sentences"]),
                *figure_cells(groups[name], columns),
                percent(model["float32"][split][name].get(first)),
                percent(groups[name].get("in_scope_accepted")),
            ]
            for name in names
        ]
        lines += [f"### {split}", "", *table(header, rows)]
    return lines


def _confusions(found: Found, _: Plots) -> list[str]:
    """Which labels the shipped model mistakes for which."""
    pairs = found["models"][found["model"]["ship"]].get("confusions", [])
    rows = [[expected, answered, str(times)] for expected, answered, times in pairs[:_CONFUSIONS_SHOWN]]
    if not rows:
        return []
    return ["## Worst confusions on dev", "", *table(["expected", "answered", "times"], rows)]


def _calibration(found: Found, plots: Plots) -> list[str]:
    """How far confidence can be believed."""
    rows = [
        [
            _marked(found, name),
            f"{own['temperature']:g}",
            f"{own['threshold']:g}",
            f"{own['margin']:g}",
            number(own["error_before"], 4),
            number(own["error_after"], 4),
        ]
        for name, model in found["models"].items()
        if (own := model["calibration"])
    ]
    if not rows:
        return []
    header = ["model", "temperature", "threshold", "margin", "calibration error before", "after"]
    return [
        "## Calibration",
        "",
        *table(header, rows),
        *_picture(plots, "calibration.png"),
    ]


def _scope(found: Found, plots: Plots) -> list[str]:
    """Recall of what is not meant for the model, by the threshold and by the label alone."""
    columns = (
        ("in_scope_accepted", "in scope answered"),
        ("accepted_accuracy", "answered and right"),
        ("out_of_scope_recall", "out of scope turned away"),
        ("intent_accuracy", "in-scope accuracy, label alone"),
        ("out_of_scope_argmax_recall", "out-of-scope recall, label alone"),
    )
    rows = [
        [_marked(found, name), split, *(percent(group.get(figure)) for figure, _ in columns)]
        for split in ("dev", "test")
        for (name, model) in found["models"].items()
        if (group := model["quantised"][split].get("all", {})).get("out_of_scope")
    ]
    if not rows:
        return []
    return [
        "## Out of scope",
        "",
        "By the threshold, as the device decides, and by the label `out_of_scope` alone, as published "
        "figures are mostly counted.",
        "",
        *table(["model", "split", *(words for _, words in columns)], rows),
        *_picture(plots, "out_of_scope.png"),
    ]


def _costs(found: Found, _: Plots) -> list[str]:
    """Time, size and memory of every model in both forms."""
    forms = [
        (_marked(found, name), words, model[form])
        for name, model in found["models"].items()
        for form, words in (("float32", "float32"), ("quantised", short_scheme(model["scheme"])))
    ]
    lengths = list(dict.fromkeys(length for *_, form in forms for length in form["latency_ms"]))
    header = [
        "model",
        "weights",
        *(f"{length} tokens, ms" for length in lengths),
        "file, MB",
        "memory, MB",
        "parameters",
    ]
    rows = [
        [
            name,
            words,
            *(number(form["latency_ms"].get(length)) for length in lengths),
            number(form["tflite_megabytes"]),
            number(form["memory_megabytes"], 1),
            count(form["parameters"]),
        ]
        for name, words, form in forms
    ]
    return [
        "## Latency, size, memory",
        "",
        "Median milliseconds in the runtime, one thread, all models in turns on "
        f"{found['provenance'].get('machine', 'this machine')}. Memory: growth of a fresh process by loading "
        "the bundle and 50 answers, the runtime included.",
        "",
        *table(header, rows),
    ]


def _provenance(found: Found, _: Plots) -> list[str]:
    """What made the models."""

    def shown(value: Any) -> str:
        return "; ".join(map(str, value)) if isinstance(value, list) else str(value)

    lines = [f"- {key}: {shown(value)}" for key, value in found["provenance"].items()]
    return ["## Provenance", "", *lines, ""]


SECTIONS: tuple[Callable[[Found, Plots], list[str]], ...] = (
    _data,
    _models,
    _kept,
    _asked,
    _floor,
    _groups,
    _confusions,
    _calibration,
    _scope,
    _costs,
    _provenance,
)
"""In the order of the report."""
