"""``edge-agent forge evaluate`` and ``forge report``: figures of what was made, again and side by side."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_agent.cli.console import JsonOption, needs_extra, print_json, print_table, quiet_runtime


class Split(str, Enum):
    """Which part of a recipe's data."""

    DEV = "dev"
    TEST = "test"


def evaluate(
    bundle: Annotated[
        Path, typer.Argument(metavar="RUN_OR_BUNDLE", help="A run folder, or a bundle's folder or zip.")
    ],
    recipe: Annotated[
        Path, typer.Option("--recipe", metavar="RECIPE", help="The recipe that names the data sets.")
    ],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DIR", help="Folder with data sets; may be repeated.")
    ],
    split: Annotated[Split, typer.Option("--split", help="Which of the recipe's splits.")] = Split.TEST,
    as_json: JsonOption = False,
) -> None:
    """Judge a bundle on a recipe's dev or test split, as its report does.

    The same functions, the device's own runtime, 95 % intervals;
    by language and by data set.

    [bold]Example[/]
      edge-agent forge evaluate models/home --recipe models/recipes/home.toml --data data
    """
    with needs_extra("forge"):
        from edge_agent.forge.judging.reproduce import evaluate_bundle
    with quiet_runtime():
        found = evaluate_bundle(bundle, recipe, data, split.value)
    if as_json:
        print_json(found, indent=2)
        return
    typer.echo(f"{found['model']} {found['version']} on {found['runtime']}, {found['split']}")
    _print_figures(found["figures"])


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders of finished runs.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where BENCHMARKS.md and its plot go.")
    ] = Path("models"),
    as_json: JsonOption = False,
) -> None:
    """Compare several runs: BENCHMARKS.md, benchmarks.json and a Pareto plot.

    Reads each run's report.json; measures nothing anew.

    [bold]Example[/]
      edge-agent forge report runs/clinc150 runs/snips --out models
    """
    with needs_extra("forge"):
        from edge_agent.forge.report.benchmarks import read_runs, write_benchmarks
    found = read_runs(runs)
    write_benchmarks(out, found)
    page = out / "BENCHMARKS.md"
    if as_json:
        print_json({"runs": list(found), "page": page}, indent=2)
    else:
        typer.echo(str(page))


def _print_figures(groups: Mapping[str, Mapping[str, Any]]) -> None:
    from edge_agent.forge.report.tables import distinct, figure_cells, figure_columns, group_words, percent

    names = distinct(groups)
    columns = figure_columns([groups[name] for name in names])
    rows = [
        [
            group_words(groups, name),
            str(groups[name]["sentences"]),
            *figure_cells(groups[name], columns),
            percent(groups[name]["in_scope_accepted"]),
        ]
        for name in names
    ]
    print_table(["set", "sentences", *(words for _, words in columns), "accepted"], rows)
