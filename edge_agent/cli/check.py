"""``edge-agent check``: what is wrong with this machine, and its remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from edge_agent.cli.console import ConfigOption, JsonOption, console, print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edge_agent.cli.findings import Finding

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_STATE_WIDTH = 8
_ABOUT_WIDTH = 15


def check(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Find out what is wrong with this machine, each finding with its remedy.

    Looks at Python and processor, settings, runtime, clock, memory and disk,
    the service, permissions, sensors, the broker (is it there, does it let us
    in, does it lack [bold]set_tcp_nodelay[/]), what a running daemon says of
    its health, Home Assistant, and lets every model answer its golden
    sentences. Whatever hangs is given up after some seconds. Exit code 0: no
    problem; 1: there is one. Warnings do not count.

    It sees what you may see; as root it sees more. docs/troubleshooting.md
    tells more of each finding.

    [bold]Examples[/]
      edge-agent check
      edge-agent check --config /etc/edge-agent/config.toml --json | jq '.[] | select(.state != "ok")'
    """
    from edge_agent.cli.findings import State, all_findings

    findings: list[Finding] = []
    for finding in all_findings(config):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        print_json(findings, indent=2)
    else:
        console().print(summary(findings), style="bold")
    if any(finding.state is State.PROBLEM for finding in findings):
        raise typer.Exit(1)


def summary(findings: list[Finding]) -> str:
    """How many problems and warnings there are, in a line."""
    states = [finding.state.value for finding in findings]
    if not {"problem", "warning"} & set(states):
        return "all is well"
    return ", ".join(
        f"{count} {name}{'' if count == 1 else 's'}"
        for name in ("problem", "warning")
        if (count := states.count(name))
    )


def _print(finding: Finding) -> None:
    out = console()
    # Where nobody watches, a line is never wrapped: grep wants it whole.
    out.print(
        _draw_wrapped(finding) if out.is_terminal else _draw_line(finding), soft_wrap=not out.is_terminal
    )


def _draw_line(finding: Finding) -> RenderableType:
    from rich.text import Text

    line = Text(f"{finding.state.value:<{_STATE_WIDTH}} {finding.about:<{_ABOUT_WIDTH}} {finding.message}")
    if finding.remedy:
        line.append(f"\n{'':<{_STATE_WIDTH}} {'remedy:':<{_ABOUT_WIDTH}} {finding.remedy}")
    return line


def _draw_wrapped(finding: Finding) -> RenderableType:
    """Long words stand under one another, to the right of what they are about."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_STATE_WIDTH)
    grid.add_column(width=_ABOUT_WIDTH, overflow="fold")
    grid.add_column(overflow="fold")
    state = finding.state.value
    grid.add_row(Text(state, _STYLES[state]), Text(finding.about, "bold"), Text(finding.message))
    if finding.remedy:
        grid.add_row("", Text("remedy:", "cyan"), Text(finding.remedy, "cyan"))
    return grid
