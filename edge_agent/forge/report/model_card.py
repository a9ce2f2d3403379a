"""The bundle's ``MODEL_CARD.md``: what it is for, what made it, how good it is, where it fails.

After Mitchell et al. 2019, "Model cards for model reporting". The words come from the recipe, the figures
from the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.forge.recipe import Recipe
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
)


def render_model_card(recipe: Recipe, labels: tuple[str, ...], found: Mapping[str, Any]) -> str:
    """The card of the model that ships, as Markdown.

    Args:
        recipe: its ``[card]`` has the words.
        labels: the model's labels.
        found: the run's figures and provenance.
    """
    model, provenance = recipe.model, found["provenance"]
    sources = {(section.name, section.lang, section.use, section.licence) for section in recipe.data}
    lines = [
        f"# {model.name} {model.version}",
        "",
        recipe.card.summary,
        "",
        "## Intended use",
        "",
        recipe.card.intended_use,
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in recipe.card.limits),
        "",
        "## Figures",
        "",
        *_figures(found),
        "## Made from",
        "",
        f"The encoder {recipe.encoder.origin} ({recipe.encoder.licence}), by the recipe "
        f"`{provenance.get('recipe', '?')}`, seed {provenance.get('seed', '?')}. {_learned_from(found)}",
        "",
        *table(["data", "language", "use", "licence"], sorted(sources)),
    ]
    if labels:
        lines += [f"## Labels ({len(labels)})", "", ", ".join(f"`{label}`" for label in labels), ""]
    return "\n".join(lines)


def _figures(found: Mapping[str, Any]) -> list[str]:
    own = found["models"][found["model"]["ship"]]
    lines = [
        f"{short_scheme(own['scheme'])} on {found['provenance'].get('runtime', 'the device runtime')}; "
        "brackets hold 95 % bootstrap intervals; a share of fewer than 100 sentences, or of 0 or 100 %, has "
        "Wilson's. Accuracy looks at the best guess over the sentences in "
        "scope. Span F1 is "
        "micro-averaged over (name, exact place) in all of them; gated, over what the device would answer. "
        "Thresholds were chosen on dev; nothing was chosen on test.",
        "",
    ]
    for split in ("dev", "test"):
        groups = own["quantised"][split]
        names = distinct(groups)
        columns = figure_columns([groups[name] for name in names])
        header = [split, "sentences", *(words for _, words in columns), "accepted"]
        rows = [
            [
                group_words(groups, name),
                count(groups[name]["sentences"]),
                *figure_cells(groups[name], columns),
                _accepted(groups[name]),
            ]
            for name in names
        ]
        lines += table(header, rows)
    calibration = own["calibration"]
    if calibration:
        lines += [
            f"An answer needs a calibrated confidence of {calibration['threshold']:g}. "
            f"Expected calibration error on dev: {calibration['error_after']:.3f}. The quantised file keeps "
            f"{percent(own['relations'].get('quantised_keeps'))} of the float32 model's accuracy on dev.",
            "",
        ]
    return lines


def _accepted(group: Mapping[str, Any]) -> str:
    """The share of in-scope sentences that are answered; of a set without such, of the others."""
    inside: float | None = group.get("in_scope_accepted")
    return percent(inside if inside is not None else group.get("out_of_scope_accepted"))


def _learned_from(found: Mapping[str, Any]) -> str:
    own = found["models"][found["model"]["ship"]]
    relations = own["relations"]
    if own["teacher"] is None or relations.get("keeps") is None:
        return "Fine-tuned on the labels."
    return (
        f"It learned from {own['teacher']} and keeps {percent(relations['keeps'], 1)} of its quality on dev "
        f"at {number(relations['speedup'], 1)} × its speed and {percent(relations['size_share'], 0)} of its "
        "size."
    )
