"""A run's figures for people and programs: ``report.md``, ``report.json`` and the plots.

The order is that of the questions: what was it trained on, how good is it and against what, where does it
err, how sure is it, what does it cost, did it reach what was asked, what made it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_agent.files import write_atomic
from edge_agent.forge.metric_names import in_words
from edge_agent.forge.pareto import QUALITY_WORDS, run_points, time_words
from edge_agent.forge.plots import plot_out_of_scope, plot_pareto, plot_reliability
from edge_agent.forge.tables import count, distinct, number, percent, present, table, with_interval

Found = Mapping[str, Any]

_FIGURES = (
    ("intent_accuracy", "accuracy"),
    ("macro_f1", "macro F1"),
    ("macro_f1_of_present", "macro F1, classes of the set"),
    ("span_f1", "span F1"),
    ("slot_f1", "slot F1, gated"),
    ("out_of_scope_recall", "out of scope turned away"),
    ("cosine", "cosine with the teacher"),
    ("spearman", "rank correlation of similarities"),
)
"""Figure and heading, in the order of the columns."""
_CONFUSIONS_SHOWN = 12


def write_report(out: Path, found: Found) -> None:
    """Writes report and plots into the run folder.

    Args:
        out: the run folder.
        found: the figures, as :mod:`edge_agent.forge.judge` collects them.
    """
    shipped = found["models"][found["model"]["ship"]]
    plots = {"pareto.png": "quality against latency"}
    plot_pareto(
        out / "pareto.png",
        {found["model"]["name"]: run_points(found)},
        QUALITY_WORDS[_kind(found)],
        time_words(found),
    )
    if shipped["calibration"]:
        plots["calibration.png"] = "reliability"
        plot_reliability(out / "calibration.png", shipped["reliability"])
        if any(shipped["out_of_scope_curves"].values()):
            plots["out_of_scope.png"] = "out of scope"
            chosen = {name: shipped["quantised"][name].get("all", {}) for name in ("dev", "test")}
            plot_out_of_scope(out / "out_of_scope.png", shipped["out_of_scope_curves"], chosen)
    content = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(out / "report.json", content.encode())
    write_atomic(out / "report.md", render_report(found, plots).encode())


def render_report(found: Found, plots: Mapping[str, str]) -> str:
    """The report as Markdown.

    Args:
        found: the figures.
        plots: files beside the report and what they show.
    """
    model = found["model"]
    lines = [
        f"# {model['name']} {model['version']}",
        "",
        f"Task {model['task']}, languages {', '.join(model['languages'])}, "
        f"{found['data']['labels']} labels, {found['data']['slots']} slots. "
        f"The model that ships is **{model['ship']}**.",
        "",
        "Brackets hold 95 % bootstrap intervals over sentences. *Accuracy* looks at the best guess over the "
        "sentences in scope, all labels competing. *Span F1* counts (name, exact words) in every sentence in "
        "scope, as the seqeval/CoNLL convention of the literature does; *gated* counts only what the device "
        "would answer, so that the slots of a sentence that it does not recognise are missed. Thresholds and "
        "all choices come from dev. **The test split was read once, after everything was chosen, and nothing "
        "was chosen by it.**",
        "",
    ]
    sections = (
        _data_section,
        _models_section,
        _kept_section,
        _asked_section,
        _floor_section,
        _groups_section,
        _confusions_section,
        _calibration_section,
        _scope_section,
        _costs_section,
        _provenance_section,
    )
    for section in sections:
        lines += section(found, plots)
    return "\n".join(lines).rstrip() + "\n"


def figure_columns(groups: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Figures that at least one of the groups has, with their headings."""
    columns = [(figure, words) for figure, words in _FIGURES if present(groups, figure)]
    same = all(group.get("macro_f1") == group.get("macro_f1_of_present") for group in groups)
    return [column for column in columns if not (same and column[0] == "macro_f1_of_present")]


def figure_cells(group: Mapping[str, Any], columns: Sequence[tuple[str, str]]) -> list[str]:
    """A group's figures as cells; a mean cosine is a number, the others are shares."""
    return [
        number(group.get(figure), 4) if figure in ("cosine", "spearman") else with_interval(group, figure)
        for figure, _ in columns
    ]


def _data_section(found: Found, _: Mapping[str, str]) -> list[str]:
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
        f"Dev: {count(data['dev'])} sentences. Test: {count(data['test'])}. {count(data['left_out'])} training "
        "sentences also stood in dev or test and were left out of training."
        + (
            f" Annotated slot values of dev that stand nowhere in the text: {count(data['slots_not_found'])}."
            if data["slots"]
            else ""
        ),
        "",
        *(["What a look at the data found:", "", *findings, ""] if findings else []),
    ]


def _models_section(found: Found, plots: Mapping[str, str]) -> list[str]:
    lines = ["## The models", ""]
    for split in ("dev", "test"):
        rows = list(_model_rows(found, split))
        columns = figure_columns([group for _, group in rows])
        if columns:
            header = ["model", "weights", *(words for _, words in columns)]
            cells = [[*name, *figure_cells(group, columns)] for name, group in rows]
            lines += [f"### On {split}", "", *table(header, cells)]
    return [*lines, f"![{plots['pareto.png']}](pareto.png)", ""]


def _model_rows(found: Found, split: str) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    for name, model in found["models"].items():
        for form, words in (("float32", "float32"), ("quantised", model["scheme"])):
            yield (_marked(found, name), words), model[form][split].get("all", {})
    if found["floor"]:
        yield ("linear n-grams", "float64"), found["floor"][split].get("all", {})


def _marked(found: Found, name: str) -> str:
    return f"**{name}**" if name == found["model"]["ship"] else name


def _kept_section(found: Found, _: Mapping[str, str]) -> list[str]:
    """What quantising and distilling cost, in a sentence each."""
    lines = []
    for name, model in found["models"].items():
        relations = model["relations"]
        words = f"its {model['scheme']} file keeps {percent(relations.get('quantised_keeps'))} of its float32 quality"
        if relations.get("keeps") is not None and relations.get("speedup") is not None:
            words += (
                f"; it keeps {percent(relations['keeps'], 1)} of {model['teacher']}'s at "
                f"{number(relations['speedup'], 1)} × its speed and {percent(relations['size_share'], 0)} of its size"
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


def _asked_section(found: Found, _: Mapping[str, str]) -> list[str]:
    lines = ["## Targets and gates", ""]
    if found["targets"]:
        rows = [[f"`{t['metric']}`", _asked(t), _value(t["value"]), _verdict(t)] for t in found["targets"]]
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


def _asked(target: Mapping[str, Any]) -> str:
    bounds = (("≥", target["at_least"]), ("≤", target["at_most"]))
    return ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _verdict(target: Mapping[str, Any]) -> str:
    if target["met"]:
        return "met"
    return "not measured" if target["short_by"] is None else f"**missed by {target['short_by']:.4f}**"


def _floor_section(found: Found, _: Mapping[str, str]) -> list[str]:
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
        f"Words and word pairs, 2 to 5 characters, TF-IDF, linear support vector machine, trained on "
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


def _groups_section(found: Found, _: Mapping[str, str]) -> list[str]:
    model = found["models"][found["model"]["ship"]]
    lines = [f"## By language and set: {found['model']['ship']}", ""]
    for split in ("dev", "test"):
        groups = model["quantised"][split]
        names = distinct(groups)
        columns = figure_columns([groups[name] for name in names])
        quality = columns[0][0] if columns else ""
        header = [
            "group",
            "sentences",
            *(words for _, words in columns),
            f"float32 {columns[0][1]}",
            "accepted",
        ]
        rows = (
            [
                [
                    name,
                    count(groups[name]["sentences"]),
                    *figure_cells(groups[name], columns),
                    percent(model["float32"][split][name].get(quality)),
                    percent(groups[name].get("in_scope_accepted")),
                ]
                for name in names
            ]
            if columns
            else []
        )
        lines += [f"### {split}", "", *table(header, rows)] if rows else []
    return lines


def _confusions_section(found: Found, _: Mapping[str, str]) -> list[str]:
    pairs = found["models"][found["model"]["ship"]].get("confusions", [])
    rows = [[expected, answered, str(times)] for expected, answered, times in pairs[:_CONFUSIONS_SHOWN]]
    if not rows:
        return []
    return ["## Worst confusions on dev", "", *table(["expected", "answered", "times"], rows)]


def _calibration_section(found: Found, plots: Mapping[str, str]) -> list[str]:
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
        *([f"![{plots['calibration.png']}](calibration.png)", ""] if "calibration.png" in plots else []),
    ]


def _scope_section(found: Found, plots: Mapping[str, str]) -> list[str]:
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
        "By the threshold, as the device decides, and by the label `out_of_scope` alone, as published figures "
        "are mostly counted.",
        "",
        *table(["model", "split", *(words for _, words in columns)], rows),
        *([f"![{plots['out_of_scope.png']}](out_of_scope.png)", ""] if "out_of_scope.png" in plots else []),
    ]


def _costs_section(found: Found, _: Mapping[str, str]) -> list[str]:
    forms = [
        (_marked(found, name), words, model[form])
        for name, model in found["models"].items()
        for form, words in (("float32", "float32"), ("quantised", model["scheme"]))
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
        f"{found['provenance'].get('machine', 'this machine')}. Memory: growth of a fresh process by loading the "
        "bundle and 50 answers, the runtime included.",
        "",
        *table(header, rows),
    ]


def _provenance_section(found: Found, _: Mapping[str, str]) -> list[str]:
    def shown(value: Any) -> str:
        return "; ".join(map(str, value)) if isinstance(value, list) else str(value)

    lines = [f"- {key}: {shown(value)}" for key, value in found["provenance"].items()]
    return ["## Provenance", "", *lines, ""]


def _kind(found: Found) -> str:
    return str(found["model"]["task"])
