"""``edge-agent forge``: make models. The work is done by ``edge_agent.forge``, which needs the extra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.console import JsonOption, needs_extra, print_json
from edge_agent.cli.forge_import import import_folder
from edge_agent.cli.forge_progress import shown_progress
from edge_agent.cli.forge_report import evaluate, report
from edge_agent.cli.forge_variant import variant
from edge_agent.errors import SettingsError

if TYPE_CHECKING:
    from edge_agent.forge.judging.judge import RunResult
    from edge_agent.forge.recipe import Recipe

_RECIPE_SUFFIX = ".toml"

DataOption = Annotated[
    list[Path] | None,
    typer.Option("--data", metavar="DIR", help="Folder with data sets; may be repeated."),
]

app = typer.Typer(
    help="Make models: train, distil, quantise, evaluate (extra \\[forge]).", no_args_is_help=True
)


@app.callback()
def _about() -> None:
    """Make models: train, distil, quantise, evaluate (extra \\[forge])."""


@app.command("train")
def train(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="RECIPE|FILE…", help="A recipe (.toml), or files of texts and labels."),
    ],
    data: DataOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="The run folder. Default: runs/NAME; of a smoke run, runs/NAME-smoke.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model, where no recipe gives one.")
    ] = None,
    small: Annotated[
        bool,
        typer.Option("--small", help="Without a recipe: also make a student of half the layers; ship it."),
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="200 rows and a few steps only, to see that it runs.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model, down to a bundle that the daemon can serve and a report.

    From a recipe, or from a CSV, TSV or JSONL file with a column of texts and
    one of labels: nothing else is asked. Data checks, training, distillation,
    calibration, int8 export and evaluation on the device's own runtime, seeded.
    Ctrl-C stops it; the same command goes on where it was. A GPU is used where
    there is one. A model that misses a gate of its recipe stays in the run
    folder under rejected/ (exit code 1).

    [bold]Examples[/]
      edge-agent forge train opinions.csv
      edge-agent forge train opinions.train.csv opinions.dev.csv --small
      edge-agent forge train models/recipes/home.toml --data data --out runs/home
    """
    with needs_extra("forge"):
        from edge_agent.forge.data.folders import DataFolders
        from edge_agent.forge.pipeline import run
        from edge_agent.forge.plain import recipe_for
        from edge_agent.forge.recipe import read_recipe
    recipes = [source for source in sources if source.suffix == _RECIPE_SUFFIX]
    if recipes and (len(sources) > 1 or name is not None or small):
        raise SettingsError(
            "one recipe stands alone: it names its data, its model and its students",
            hint="edge-agent forge train RECIPE --data DIR",
        )
    with shown_progress() as shown:
        if recipes:
            recipe, made_from = read_recipe(recipes[0]), recipes[0].name
            folders, folder_name = DataFolders(recipes[0].parent, data or []), recipes[0].stem
        else:
            recipe, folders = recipe_for(sources, name=name, small=small, say=shown.stage)
            made_from = f"none, made from {', '.join(source.name for source in sources)}"
            folder_name = recipe.model.name
        folder = out or _run_folder(folder_name, smoke)
        result = run(
            recipe,
            folders,
            out=folder,
            name=made_from,
            smoke=smoke,
            stage=shown.stage,
            progress=shown.progress,
        )
    _show(result, folder, as_json=as_json)
    if smoke and not as_json:
        typer.echo("smoke    all stages run; this model knows nothing: train without --smoke")


@app.command("distill")
def distill(
    run_folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished `forge train`: its teacher.")
    ],
    *,
    name: Annotated[str, typer.Option("--name", help="Name of the student.")] = "small",
    layers: Annotated[int, typer.Option("--layers", min=1, help="Layers of the student.")] = 3,
    hidden: Annotated[int, typer.Option("--hidden", min=0, help="Its width; 0: the teacher's.")] = 0,
    intermediate: Annotated[
        int, typer.Option("--intermediate", min=0, help="Its feed-forward width; 0: the teacher's.")
    ] = 0,
    epochs: Annotated[float, typer.Option("--epochs", min=0.0, help="Over the training rows.")] = 0.0,
    steps: Annotated[int, typer.Option("--steps", min=0, help="In place of epochs.")] = 0,
    bits: Annotated[int, typer.Option("--bits", min=4, max=8, help="4: also train a 4-bit form of it.")] = 8,
    ship: Annotated[bool, typer.Option("--ship", help="Make it the run's bundle.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a smaller model that learns from the teacher of a finished run.

    The teacher and the students that the run already has are kept; the report
    is written anew with all of them side by side.

    [bold]Example[/]
      edge-agent forge distill runs/opinions --name tiny --layers 4 --hidden 312 --ship
    """
    with needs_extra("forge"):
        from edge_agent.forge.pipeline import run_again
        from edge_agent.forge.recipe import StudentSection, with_student
    if bits not in (4, 8):
        raise SettingsError(f"--bits {bits} is not made here", hint="4 or 8")

    def change(recipe: Recipe) -> Recipe:
        student = StudentSection(
            name=name, layers=layers, hidden=hidden, intermediate=intermediate, epochs=epochs, steps=steps
        )
        return with_student(recipe, student, four_bits=bits == 4, ship=ship)

    with shown_progress() as shown:
        result = run_again(run_folder, change, data=data or [], stage=shown.stage, progress=shown.progress)
    _show(result, run_folder, as_json=as_json)


app.command("import")(import_folder)
app.command("evaluate")(evaluate)
app.command("report")(report)
app.command("variant")(variant)


def _show(result: RunResult, folder: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {"bundle": result.bundle, "missed_gates": result.missed, "figures": result.figures}, indent=2
        )
        return
    for line in _summary(result, folder):
        typer.echo(line)


def _run_folder(name: str, smoke: bool) -> Path:
    """A folder of its own for a smoke run, whose weights the real run cannot go on with."""
    return Path("runs") / (f"{name}-smoke" if smoke else name)


def _summary(result: RunResult, folder: Path) -> Sequence[str]:
    return [
        *_quality(result.figures),
        f"bundle   {result.bundle}",
        f"report   {folder / 'report.md'}",
        f"try it   edge-agent predict --model {result.bundle} 'a text'",
    ]


def _quality(figures: Mapping[str, Any]) -> Iterator[str]:
    """What most people look for in a report: is it right, does it know its limits, what does it cost."""
    from edge_agent.forge.report.tables import percent, with_interval

    model = figures["models"][figures["model"]["ship"]]["quantised"]
    group = model["dev"].get("all", {})
    if "intent_accuracy" in group:
        yield f"dev      {with_interval(group, 'intent_accuracy')} of {group['in_scope']} sentences right"
        floor = figures["floor"]["dev"].get("all", {}).get("intent_accuracy")
        if floor is not None:
            yield f"         {percent(floor)} by a linear classifier"
    if group.get("out_of_scope"):
        turned_away = percent(group["out_of_scope_recall"])
        yield f"         {turned_away} of {group['out_of_scope']} out of scope turned away"
    if group.get("spearman") is not None:
        sentences = group["sentences"]
        yield f"dev      {group['spearman']:.3f} rank correlation with the teacher, {sentences} sentences"
    milliseconds = model["latency_ms"].get("16")
    speed = f", {milliseconds:.1f} ms for 16 tokens here" if milliseconds is not None else ""
    yield f"costs    {model['tflite_megabytes']:.1f} MB{speed}"
