"""A benchmark's report drawn as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from edge_agent.cli.console import print_pairs, print_table

if TYPE_CHECKING:
    from edge_agent.bench.energy import Energy, PerRequest
    from edge_agent.bench.figures import Percentiles, Report, Target
    from edge_agent.bench.link import LinkReport

_MET, _MISSED = "✓", "✗"


def draw_report(report: Report) -> None:
    """Draws everything, the targets last."""
    print_pairs(_about(report))
    typer.echo(f"\nThe model alone, one thread of {report.runtime}")
    print_table(
        ("tokens", "p50 ms", "p99 ms"),
        [(str(at.tokens), f"{at.times.p50_ms:.3f}", f"{at.times.p99_ms:.3f}") for at in report.lengths],
    )
    typer.echo("Bare interpreter loop and daemon, in turns on one core")
    print_table(
        (
            f"sentences of {report.model.sentence_tokens} tokens",
            "p50 ms",
            "p99 ms",
            "requests/s",
            "energy mJ",
        ),
        _rows(report),
    )
    told = energy_line(report.energy)
    if told is not None:
        typer.echo(f"{told}\n")
    if report.link is not None:
        _draw_link(report.link)
    if report.daemon is not None:
        typer.echo(f"The daemon after {report.daemon.requests} requests")
        print_table(("", "measured", "target", ""), target_rows(report.targets))
    for note in report.notes:
        typer.echo(f"note: {note}")


def _draw_link(link: LinkReport) -> None:
    echo = link.echo
    typer.echo("The link alone: an echo in place of a model, QoS 1, publish to result")
    print_table(
        ("", "p50 ms", "p99 ms", "requests/s", "processor µs"),
        [
            (
                "MQTT 5",
                f"{echo.times.p50_ms:.3f}",
                f"{echo.times.p99_ms:.3f}",
                f"{echo.per_second:.0f}",
                f"{echo.processor_us:.0f}",
            )
        ],
    )
    typer.echo("Requests/s of one against the other, in turns")
    print_table(
        ("", "requests/s", "against", "ratio"),
        [
            (one.name, f"{one.per_second:.0f}", f"{one.against_per_second:.0f}", f"{one.ratio:.3f}")
            for one in (link.protocols, link.pool)
            if one is not None
        ],
    )


def target_rows(targets: Sequence[Target]) -> list[tuple[str, str, str, str]]:
    """Name, measured, target and mark of each."""
    return [
        (target.name, _figure(target.measured), target.limit, _MET if target.met else _MISSED)
        for target in targets
    ]


def _figure(measured: float) -> str:
    return f"{measured:.0f}" if measured >= 1000 else f"{measured:.3g}"


def _about(report: Report) -> dict[str, str]:
    machine, model = report.machine, report.model
    pairs = {
        "machine": f"{machine.board}, {machine.cores} × {machine.processor}",
        "system": f"{machine.operating_system}, Linux {machine.kernel} {machine.architecture}, "
        f"Python {machine.python}",
        "versions": f"edge-agent {report.edge_agent}, {report.runtime}",
        "model": f"{model.name} {model.version}, {model.bundle_mb:g} MB, {model.digest[:19]}…",
    }
    if report.daemon is not None:
        pairs["versions"] += f", {report.daemon.broker}"
    if report.model_core is not None:
        pairs["cores"] = f"model on {report.model_core}, broker and requester on {report.broker_core}"
    return pairs


def _rows(report: Report) -> list[tuple[str, str, str, str, str]]:
    energy = report.energy
    rows = [_row("bare interpreter", report.bare.times, report.bare.per_second, energy_cell(energy.bare))]
    if report.daemon is not None:
        daemon, shown = report.daemon, energy_cell(energy.daemon)
        rows.append(_row("daemon, QoS 1, publish to result", daemon.times, daemon.per_second, shown))
    return rows


def _row(name: str, times: Percentiles, per_second: float, energy: str) -> tuple[str, str, str, str, str]:
    return name, f"{times.p50_ms:.3f}", f"{times.p99_ms:.3f}", f"{per_second:.0f}", energy


def energy_cell(found: PerRequest) -> str:
    """The figure with its standard error, or why there is none."""
    if found.value_mj is None:
        return found.reason or "unknown"
    return f"{found.value_mj:.3g}" + (f" ± {found.error_mj:.2g}" if found.error_mj else "")


def energy_line(energy: Energy) -> str | None:
    """What was measured, and by what; None where there is no sensor."""
    if energy.source is None or energy.scope is None or energy.quality is None:
        return None
    rest = "unknown" if energy.rest_watts is None else f"{energy.rest_watts:.3g} W"
    return (
        f"Energy above rest ({rest}), {energy.quality.value} by {energy.source}, scope {energy.scope.value}"
    )
