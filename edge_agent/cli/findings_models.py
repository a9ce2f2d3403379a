"""Every model that this device finds, and whether it answers its golden sentences here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.cli.findings import Finding, ok, problem, warning
from edge_agent.cli.findings_permissions import Access, access, who_serves

if TYPE_CHECKING:
    from edge_agent.settings import Settings


def check_models(settings: Settings) -> Iterator[Finding]:
    """Every model found is intact and right."""
    from edge_agent.cli.find import bundles, describe_folders
    from edge_agent.cli.model import judge

    caller = who_serves({})
    seen: list[Path] = []
    for folder in settings.models.directories:
        if caller is None or access(caller, folder, "rx") not in (Access.NO, Access.UNKNOWN):
            seen.append(folder)
        else:
            yield warning("models", f"you may not see into {folder}", "sudo edge-agent check")
    found = bundles(seen)
    if not found and len(seen) == len(settings.models.directories):
        message = f"none in {describe_folders(settings.models.directories)}"
        yield problem("models", message, "make install-models, or set models.directories")
    for item in found:
        verdict = judge(item.path)
        about = f"model {item.name}"
        if verdict.well:
            yield ok(about, f"{verdict.version}, {verdict.golden_sentences} golden sentences right")
        else:
            remedy = f"install {item.name} again (make install-models), or remove {item.path}"
            yield problem(about, verdict.reason or "refused", remedy)
