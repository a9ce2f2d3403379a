"""The model card of an imported checkpoint: what is known of it, and that its quality is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.forge.checkpoints.checkpoint import Checkpoint

_SHOWN_LABELS = 200


def render_card(manifest: Mapping[str, Any], checkpoint: Checkpoint) -> str:
    """The card as Markdown.

    Args:
        manifest: the content of ``bundle.json``, with metrics and provenance.
        checkpoint: what the bundle was made of.
    """
    provenance, agreement = manifest["provenance"], manifest["metrics"]["agreement_with_float32"]
    model_bytes = manifest["metrics"]["model_bytes"]
    parameters = sum(tensor.numel() for tensor in checkpoint.state.values())
    lines = [
        f"# {manifest['name']} {manifest['version']}",
        "",
        f"The checkpoint `{provenance['imported_from']}`, made into a bundle by `edge-agent forge import`.",
        "",
        "## Intended use",
        "",
        "What the checkpoint was made for; its authors' own card says so.",
        "",
        "## Limits",
        "",
        "- Its quality on your texts is not known: measure it with `edge-agent model eval`.",
        "- Confidence is not calibrated, and no text is out of scope: every one gets an answer.",
        f"- Texts are cut after {manifest['input']['max_tokens']} tokens.",
        "",
        "## Figures",
        "",
        f"{parameters / 1e6:.1f} million parameters, int8, {model_bytes / 1e6:.1f} MB. "
        f"Beside the float32 original on {agreement['sentences']} built-in sentences: mean cosine "
        f"{agreement['mean_cosine']:.4f}, least {agreement['least_cosine']:.4f}, the same answer to "
        f"{agreement['same_answer']}.",
        "",
        "## Made from",
        "",
        f"A {provenance['family']} ({provenance['architecture']}), weights with sha256 "
        f"`{provenance['weights_sha256']}`. Licence: {manifest['licence']}.",
        "",
        *_names("Labels", manifest["labels"]),
        *_names("Slot tags", manifest["slot_tags"]),
    ]
    return "\n".join(lines)


def _names(title: str, names: list[str]) -> list[str]:
    if not names:
        return []
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN_LABELS])
    more = f" … and {len(names) - _SHOWN_LABELS} more" if len(names) > _SHOWN_LABELS else ""
    return [f"## {title} ({len(names)})", "", shown + more, ""]
