"""The bundle's ``MODEL_CARD.md``: what it is for, what made it, how good it is, where it fails.

After Mitchell et al. 2019, "Model cards for model reporting". The words come from the recipe, the figures
from the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.forge.recipe import Recipe


def render_model_card(recipe: Recipe, labels: tuple[str, ...], found: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        recipe: its ``[card]`` has the words.
        labels: the model's labels.
        found: the run's figures and provenance.
    """
    model, calibration, provenance = recipe.model, found["calibration"], found["provenance"]
    sources = {
        (section.file.split("/")[0], section.licence, section.use, section.lang) for section in recipe.data
    }
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
        f"Int8 on {provenance['runtime']}, {provenance['machine']}; the float32 original beside it. "
        "Slot F1 is micro-averaged over (name, exact slice).",
        "",
        "| set | sentences | intent accuracy | float32 | slot F1 | float32 | accepted |",
        "|---|---|---|---|---|---|---|",
        *figure_rows(found),
        "",
        f"An answer needs a calibrated confidence of {calibration['threshold']}. Expected calibration error "
        f"on dev: {calibration['error_after']:.3f}. Slot values of the dev sets that are annotated and stand "
        f"nowhere in the text as the labels' script finds them: {found['slots_not_found']}.",
        "",
        "## Made from",
        "",
        f"The encoder {recipe.encoder.origin} ({recipe.encoder.licence}), fine-tuned by the recipe "
        f"`{provenance['recipe']}`: {provenance['steps']} steps, seed {provenance['seed']}.",
        "",
        "| data | language | use | licence |",
        "|---|---|---|---|",
        *(f"| {name} | {lang} | {use} | {licence} |" for name, licence, use, lang in sorted(sources)),
        "",
        f"## Labels ({len(labels)})",
        "",
        ", ".join(f"`{label}`" for label in labels),
        "",
    ]
    return "\n".join(lines)


def figure_rows(found: Mapping[str, Any]) -> list[str]:
    """Table rows of every set, for cards and reports; brackets hold 95 % bootstrap intervals."""
    return [
        _row(f"{split} {group}", summary, found[f"{split}_float32"][group])
        for split in ("dev", "test")
        for group, summary in found[split].items()
    ]


def _row(name: str, served: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    inside = served["in_scope"] > 0
    accepted = served["in_scope_accepted"] if inside else served["out_of_scope_accepted"]
    slots, slots32 = served["slots"], reference["slots"]
    cells = [
        name,
        str(served["in_scope"] + served["out_of_scope"]),
        _with_interval(served["intent_accuracy"], served["intent_accuracy_interval"]),
        _percent(reference["intent_accuracy"]),
        _with_interval(slots["f1"], slots["f1_interval"]) if slots else "–",
        _percent(slots32["f1"]) if slots32 else "–",
        _percent(accepted),
    ]
    return f"| {' | '.join(cells)} |"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _with_interval(share: float | None, interval: Mapping[str, float] | None) -> str:
    if share is None or interval is None:
        return _percent(share)
    return f"{share:.2%} [{interval['low']:.1%}, {interval['high']:.1%}]"
