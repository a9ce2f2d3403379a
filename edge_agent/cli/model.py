"""``edge-agent model``: the models of this device, their health and their figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.console import (
    ConfigOption,
    JsonOption,
    print_error,
    print_json,
    print_table,
    quiet_runtime,
)
from edge_agent.cli.model_store import install, rollback
from edge_agent.cli.predict import ModelOption
from edge_agent.errors import BundleError
from edge_agent.types import Task

if TYPE_CHECKING:
    from edge_agent.cli.evaluation import Report
    from edge_agent.cli.similarity import Likeness
    from edge_agent.inference.metrics import Summary
    from edge_agent.inference.model import Model

app = typer.Typer(help="List, install, verify and evaluate the models of this device.", no_args_is_help=True)
app.command("install")(install)
app.command("rollback")(rollback)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one model may serve here, and why not."""

    model: str
    version: str | None
    path: Path
    well: bool
    golden_sentences: int | None
    runtime: str | None
    reason: str | None


@app.command("list")
def list_models(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the models that this device finds, the first of each name.

    Looks into the settings' folders, into ./models, and into the models of the
    source tree where this runs from one. What is listed has not been checked:
    [bold]edge-agent model verify[/] does that.
    """
    from edge_agent.cli.find import bundles, describe_folders
    from edge_agent.settings import load_settings

    directories = load_settings(config).models.directories
    found = bundles(directories)
    if as_json:
        print_json(found)
    elif found:
        print_table(
            ("model", "version", "folder"),
            [(item.name, item.version or "?", str(item.path)) for item in found],
        )
    else:
        typer.echo(f"no models in {describe_folders(directories)}; make install-models brings some")


@app.command("verify")
def verify(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME|PATH", help="Which models. None: all that are found."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check every file of a model and let it answer its golden sentences on this machine.

    Exit code 0: all are well; 3: one is refused, with the file or the
    sentence and the reason.

    [bold]Examples[/]
      edge-agent model verify
      edge-agent model verify home ./candidate.edgemodel --json
    """
    from edge_agent.cli.find import bundles, find_model
    from edge_agent.settings import load_settings

    directories = load_settings(config).models.directories
    if models:
        paths = [find_model(name, directories) for name in models]
    else:
        paths = [found.path for found in bundles(directories)]
    if not paths:
        raise BundleError(
            "there is no model to verify", hint="name one, or install them: make install-models"
        )
    verdicts = [judge(path) for path in paths]
    if as_json:
        print_json(verdicts)
    for verdict in verdicts:
        if verdict.well and not as_json:
            typer.echo(
                f"{verdict.model} {verdict.version} is well: {verdict.golden_sentences} golden sentences "
                f"right on {verdict.runtime} ({verdict.path})"
            )
        elif not verdict.well:
            print_error(BundleError(f"{verdict.model}: {verdict.reason}"))
    if not all(verdict.well for verdict in verdicts):
        raise typer.Exit(BundleError.exit_code)


@app.command("eval")
def evaluate(
    model: ModelOption,
    data: Annotated[
        list[Path],
        typer.Option("--data", "-d", metavar="FILE.jsonl", help="Labelled sentences; may be repeated."),
    ],
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the runtime.")] = 1,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Measure a model on labelled sentences: labels, slots, what it lets through, latency.

    FILE.jsonl (or .jsonl.xz) has one object a line: {"text", "lang",
    "intent" or "label", "slots"}. An intent of null or "out_of_scope" marks a
    sentence that the model should not accept. Slots are a list of {"name",
    "start", "end"}, or {"name": "value"}, whose places in the text are then
    looked for. A model of the task embed is measured on pairs, {"text",
    "text2", "score"}: Spearman's correlation of cosines with scores.

    Intent accuracy looks at the best guess of in-scope sentences, accepted or
    not; slot F1 is micro-averaged over (name, exact slice); intervals are
    95 % by bootstrap, of few sentences Wilson's.

    [bold]Example[/]
      edge-agent model eval --model home --data en.dev.jsonl --data es.dev.jsonl
    """
    from edge_agent import load
    from edge_agent.cli.evaluation import Report
    from edge_agent.cli.find import find_model
    from edge_agent.cli.similarity import Likeness
    from edge_agent.settings import load_settings

    path = find_model(model, load_settings(config).models.directories)
    with quiet_runtime(), load(path, threads=threads) as loaded:
        report = _measure(loaded, data)
        identity = {
            "model": loaded.manifest.name,
            "version": loaded.manifest.version,
            "digest": loaded.digest,
            "runtime": str(loaded.runtime),
            "data": [str(path) for path in data],
        }
    if as_json:
        print_json({**identity, **report.as_dict()}, indent=2)
        return
    typer.echo(
        f"{identity['model']} {identity['version']} on {identity['runtime']}, {report.latency.count} "
        + ("pairs" if isinstance(report, Likeness) else "sentences")
    )
    if isinstance(report, Likeness):
        found = "none, since all are alike" if report.spearman is None else f"{report.spearman:.4f}"
        typer.echo(f"Spearman correlation of cosines with scores: {found}")
    else:
        print_table(_COLUMNS, [_row(name, summary) for name, summary in report.groups.items()])
    latency = report.latency
    typer.echo(
        f"latency p50 {latency.p50_ms:.2f} ms, p90 {latency.p90_ms:.2f} ms, p99 {latency.p99_ms:.2f} ms"
    )
    if isinstance(report, Report) and report.unlocated_slots:
        typer.echo(
            f"{report.unlocated_slots} labelled slot values were not found in their texts, and not counted"
        )


def _measure(model: Model, data: list[Path]) -> Report | Likeness:
    """The figures that belong to the model's task."""
    from edge_agent.cli.evaluation import evaluate_rows, read_rows
    from edge_agent.cli.similarity import evaluate_pairs, read_pairs

    if model.manifest.task is Task.EMBED:
        return evaluate_pairs(model, [pair for path in data for pair in read_pairs(path)])
    return evaluate_rows(model, [row for path in data for row in read_rows(path)])


def judge(path: Path) -> Verdict:
    """Loads a model as the daemon would; refusals become verdicts."""
    from edge_agent.cli.find import version_of
    from edge_agent.errors import RuntimeFailure
    from edge_agent.inference.model import Model

    try:
        with quiet_runtime(), Model.load(path) as model:
            golden = model.bundle.file(model.manifest.golden.file).read_bytes().count(b"\n")
            runtime, name, version = str(model.runtime), model.manifest.name, model.manifest.version
        return Verdict(name, version, path, True, golden, runtime, None)
    except (BundleError, RuntimeFailure) as error:
        return Verdict(
            path.name.removesuffix(".edgemodel"), version_of(path), path, False, None, None, str(error)
        )


_COLUMNS = ("sentences", "in scope", "intent accuracy", "accepted", "slot F1", "out of scope", "accepted ")


def _row(name: str, summary: Summary) -> tuple[str, ...]:
    slots = summary.slots
    return (
        name,
        str(summary.in_scope),
        _percent(summary.intent_accuracy, summary.intent_accuracy_interval),
        _percent(summary.in_scope_accepted),
        _percent(slots.f1, slots.f1_interval) if slots else "–",
        str(summary.out_of_scope),
        _percent(summary.out_of_scope_accepted),
    )


def _percent(value: float | None, interval: Any = None) -> str:
    if value is None:
        return "–"
    ends = f" ({100 * interval.low:.1f}–{100 * interval.high:.1f})" if interval else ""
    return f"{100 * value:.1f} %{ends}"
