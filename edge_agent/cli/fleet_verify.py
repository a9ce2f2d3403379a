"""``edge-agent fleet verify``: a whole repository, as a device would see it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_agent.cli.console import JsonOption, needs_extra, print_json
from edge_agent.errors import BundleError, SettingsError


def verify(
    place: Annotated[str, typer.Argument(metavar="DIR|URL", help="The repository, or where it is served.")],
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            metavar="FILE",
            help="The root that devices have. Default for a DIR: DIR-keys/root.json.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Walk a whole repository as a device does: signatures, expiry, every file.

    Exit code 0: all is well; 3: something would be refused, each with its
    reason. No key is needed.

    [bold]Examples[/]
      edge-agent fleet verify repository
      edge-agent fleet verify https://models.example.org --root root.json
    """
    with needs_extra("fleet"):
        from edge_agent.fleet.repository.verifying import verify as walk

    report = walk(place, _pinned(place, root))
    if as_json:
        print_json(report)
    else:
        for finding in report.findings:
            typer.echo(f"{finding.subject}: {finding.problem}")
        well = f"root version {report.root}, {report.models} models, {report.channels} channels"
        if not report.findings:
            typer.echo(f"all is well: {well}")
        else:  # without a root nothing was counted
            typer.echo(f"{len(report.findings)} refused; {well if report.root else 'nothing else was read'}")
    if report.findings:
        raise typer.Exit(BundleError.exit_code)


def _pinned(place: str, root: Path | None) -> bytes:
    if root is None:
        if "://" in place:
            raise SettingsError(
                "a repository on the web is verified from a root that is known", hint="--root root.json"
            )
        beside = Path(place).resolve()
        root = beside.with_name(beside.name + "-keys") / "root.json"
    try:
        return root.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{root}: cannot be read ({error.strerror})", hint="name the root that devices have with --root"
        ) from error
