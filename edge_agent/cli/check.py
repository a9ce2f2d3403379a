"""``edge-agent check``: what is wrong with this machine, and its remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from edge_agent.cli.console import ConfigOption, JsonOption, console, print_json

if TYPE_CHECKING:
    from edge_agent.cli.findings import Finding


def check(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Find out what is wrong with this machine, each finding with its remedy.

    Looks at Python and processor, the settings, the runtime, the clock, the
    broker (is it there, does it let us in, does it lack
    [bold]set_tcp_nodelay[/]), and lets every model answer its golden
    sentences. Exit code 0: no problem; 1: there is one. Warnings do not
    count.

    [bold]Examples[/]
      edge-agent check
      edge-agent check --config /etc/edge-agent/config.toml --json | jq '.[] | select(.state != "ok")'
    """
    from edge_agent.cli.findings import State, all_findings

    findings: list[Finding] = []
    for finding in all_findings(config):
        findings.append(finding)
        if not as_json:
            _draw(finding)
    if as_json:
        print_json(findings, indent=2)
    if any(finding.state is State.PROBLEM for finding in findings):
        raise typer.Exit(1)


def _draw(finding: Finding) -> None:
    from rich.text import Text

    styles = {"ok": "green", "warning": "yellow", "problem": "bold red"}
    line = Text().append(f"{finding.state.value:<8}", styles[finding.state.value])
    line.append(f" {finding.about:<13}", "bold").append(f" {finding.message}")
    if finding.remedy:
        line.append(f"\n{'':<9}{'remedy:':<13} {finding.remedy}", "cyan")
    console().print(line)
