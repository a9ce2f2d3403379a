"""A run's figures for people and programs: ``report.md``, ``report.json`` and the plots.

The order is that of the questions: what was it trained on, how good is it and against what, where does it
err, how sure is it, what does it cost, did it reach what was asked, what made it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.files import write_atomic
from edge_agent.forge.report.pareto import QUALITY_WORDS, judged_split, run_points, time_words
from edge_agent.forge.report.plots import plot_out_of_scope, plot_pareto, plot_reliability
from edge_agent.forge.report.sections import SECTIONS

Found = Mapping[str, Any]

_TEST_SPLIT = " **The test split was looked at when everything was chosen, and nothing was chosen by it.**"


def write_report(out: Path, found: Found) -> None:
    """Writes report and plots into the run folder.

    Args:
        out: the run folder.
        found: the figures, as :mod:`edge_agent.forge.judging.judge` collects them.
    """
    shipped = found["models"][found["model"]["ship"]]
    plots: dict[str, str] = {}
    points = run_points(found)
    if points:
        plots["pareto.png"] = "quality against latency"
        quality = f"{QUALITY_WORDS[found['model']['task']]} on {judged_split(found)}, %"
        plot_pareto(out / "pareto.png", {found["model"]["name"]: points}, quality, time_words(found))
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
        "Brackets hold 95 % bootstrap intervals over sentences; a share of fewer than 100 sentences, or of 0 "
        "or 100 %, has Wilson's. *Accuracy* looks at the best guess over the "
        "sentences in scope, all labels competing. *Span F1* counts (name, exact place) in every sentence in "
        "scope, as the seqeval/CoNLL convention of the literature does; *gated* counts only what the device "
        "would answer, so that the slots of a sentence that it does not recognise are missed. Thresholds and "
        "all choices come from dev." + (_TEST_SPLIT if found["data"]["test"] else " There is no test split."),
        "",
    ]
    for section in SECTIONS:
        lines += section(found, plots)
    return "\n".join(lines).rstrip() + "\n"
