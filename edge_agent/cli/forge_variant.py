"""``edge-agent forge variant``: a second file for 32-bit ARM in a bundle that is made already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_agent.cli.console import JsonOption, needs_extra, print_json


def variant(
    bundle: Annotated[Path, typer.Argument(metavar="FOLDER", help="A bundle's folder; it is changed.")],
    metrics: Annotated[
        Path | None,
        typer.Option(
            "--metrics", metavar="FILE", help="What `model eval --json` printed of it on tflite-runtime."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give a bundle the file by which 32-bit ARM serves it, or the figures of that file.

    The same int8 weights, in operators that tflite-runtime computes rightly,
    told by pieces of the model's file: about 250 kB. Bundles that forge makes
    have it already. With --metrics nothing is made: the figures that were
    measured on tflite-runtime go into bundle.json and the model card.

    [bold]Examples[/]
      edge-agent forge variant models/home
      edge-agent forge variant models/home --metrics eval.json
    """
    with needs_extra("forge"):
        from edge_agent.forge.judging.old_runtimes import add_old_runtime_variant, write_measured
    made = add_old_runtime_variant(bundle) if metrics is None else write_measured(bundle, _read(metrics))
    entry = made.manifest.variants[-1]
    size = made.manifest.files[entry.file].size
    if as_json:
        print_json({"path": str(made.path), "file": entry.file, "bytes": size, "digest": made.digest})
    else:
        typer.echo(f"{made.path / entry.file}  {size / 1e3:.0f} kB  {made.digest}")


def _read(file: Path) -> dict[str, object]:
    """What ``model eval --json`` printed.

    Raises:
        DataError: the file is not that.
    """
    import json

    from edge_agent.errors import DataError

    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as figures ({error!s:.100})") from error
    if not isinstance(found, dict) or not isinstance(found.get("figures"), dict):
        raise DataError(f"{file}: has no figures", hint="it is the output of `edge-agent model eval --json`")
    return found
