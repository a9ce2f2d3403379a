"""``edge-agent forge``: make models. The work is done by ``edge_agent.forge``, which needs the extra."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.console import JsonOption, console, print_json
from edge_agent.errors import SettingsError

if TYPE_CHECKING:
    from edge_agent.forge.training import Progress as TrainingProgress

_SECONDS_BETWEEN_LINES = 30

app = typer.Typer(
    help="Make models: train, calibrate, quantise, evaluate (extra \\[forge]).", no_args_is_help=True
)


@app.callback()
def _about() -> None:
    """Make models: train, calibrate, quantise, evaluate (extra \\[forge])."""


@app.command("train")
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The model's recipe, a TOML file.")],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DIR", help="Folder with data sets; may be repeated.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the bundle and the report go.")],
    smoke: Annotated[bool, typer.Option("--smoke", help="A few steps only, to see that it runs.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model by its recipe, down to a bundle that the daemon can serve and a report.

    Data, training, calibration, int8 export and evaluation on the device's
    own runtime, seeded. A GPU is used where there is one. A model that misses
    a gate of its recipe is not written (exit code 1).

    [bold]Example[/]
      edge-agent forge train models/recipes/home.toml --data data --out runs/home
    """
    try:
        from edge_agent.forge.pipeline import run_recipe
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("edge_agent"):
            raise
        raise SettingsError(
            f"forge needs the Python package {error.name}", hint="pip install 'edge-agent[forge]'"
        ) from error
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    out_console = console(stderr=True)
    said_at = time.monotonic()
    with Progress(*columns, console=out_console) as bars:
        bar = bars.add_task("training", total=None, visible=False)

        def on_step(step: TrainingProgress) -> None:
            nonlocal said_at
            if out_console.is_terminal:
                loss = f"loss {step.loss:.3f}"
                bars.update(bar, completed=step.step, total=step.steps, visible=True, description=loss)
            elif time.monotonic() - said_at > _SECONDS_BETWEEN_LINES or step.step == step.steps:
                said_at = time.monotonic()  # a log has no use for a bar
                left = step.seconds_left / 60
                bars.print(f"step {step.step} of {step.steps}, loss {step.loss:.3f}, {left:.0f} min left")

        result = run_recipe(recipe, data=data, out=out, smoke=smoke, stage=bars.print, progress=on_step)
    if as_json:
        print_json(
            {"bundle": result.bundle, "missed_gates": result.missed, "figures": result.figures}, indent=2
        )
    else:
        typer.echo(f"{result.bundle}")
