"""``edge-agent bench``: what this machine makes of a model, and what the daemon adds to it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.console import ConfigOption, JsonOption, print_json

if TYPE_CHECKING:
    from edge_agent.bench.figures import Report


def bench(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME|PATH", help="The model to measure.")
    ] = "home",
    quick: Annotated[bool, typer.Option("--quick", help="Seconds instead of a minute, and rougher.")] = False,
    link: Annotated[
        bool,
        typer.Option("--link", help="Also the link without a model, MQTT 3.1.1, and a pool of two devices."),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 when a target is missed.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Measure this machine: latency, throughput, memory, start time, and energy where there is a sensor.

    First the model alone, in a bare loop around the interpreter; then a daemon of its own behind a
    Mosquitto of its own, on the same core, in turns with the bare loop. Other work on the machine spoils
    the figures. A mark (✓ or ✗) tells whether a target is met. Nothing on this machine is changed.

    [bold]Examples[/]

      edge-agent bench

      edge-agent bench --model ./my-bundle --quick

      edge-agent bench --link

      edge-agent bench --json > bench.json
    """
    from edge_agent.cli.bench_plan import FULL, QUICK
    from edge_agent.cli.benchmark import run_benchmark
    from edge_agent.cli.find import find_model
    from edge_agent.settings import load_settings

    path = find_model(model, load_settings(config).models.directories)
    report = run_benchmark(path, QUICK if quick else FULL, _tell, with_link=link)
    _print(report, as_json)
    if check and not all(target.met for target in report.targets):
        raise typer.Exit(1)


def _tell(what: str) -> None:
    """Progress, for whoever watches; a new line replaces the one before."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{what}")
        sys.stderr.flush()


def _print(report: Report, as_json: bool) -> None:
    if as_json:
        print_json(report, indent=2)
        return
    from edge_agent.cli.bench_view import draw_report

    draw_report(report)
