"""``edge-agent fleet rollout``: a model version to the devices of a group, in waves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from edge_agent.cli.console import ConfigOption, JsonOption, print_json
from edge_agent.cli.fleet_order import (
    BrokerOption,
    InventoryOption,
    begun,
    broker_address,
    inventory_of,
    known_address,
    print_head,
    print_plan,
    terms_of,
)
from edge_agent.cli.fleet_rollout_drive import drive, late_results
from edge_agent.errors import SettingsError

if TYPE_CHECKING:
    from edge_agent.fleet.rollout.rollout_state import Rollout
    from edge_agent.fleet.rollout.state_file import StateFile

FileArgument = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="Of the rollout. Default: the only rollout-*.json in this folder."),
]


class _StartsByDefault(TyperGroup):
    """``fleet rollout MODEL VERSION`` is ``fleet rollout start MODEL VERSION``."""

    default = "start"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_StartsByDefault,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Roll a model out to many devices, in waves.\n\n"
    "[bold]Examples[/]\n\n"
    "  edge-agent fleet rollout home 1.2.0 --to kitchens\n\n"
    "  edge-agent fleet rollout --resume rollout-home-1.2.0.json",
)


@app.command("start")
def start(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", show_default=False)] = None,
    version: Annotated[str | None, typer.Argument(metavar="VERSION", show_default=False)] = None,
    *,
    to: Annotated[
        str | None, typer.Option(metavar="GROUP", help="The group, as `updates.channel` has it; or all.")
    ] = None,
    waves: Annotated[
        str, typer.Option(metavar="LIST", help="Devices told after each wave, or shares of the group.")
    ] = "1,5%,25%,100%",
    max_failures: Annotated[
        str, typer.Option(metavar="SHARE", help="Of the devices told so far; more of them halt it.")
    ] = "2%",
    soak: Annotated[str, typer.Option(metavar="TIME", help="From the end of a wave to the next.")] = "10m",
    deadline: Annotated[
        str, typer.Option(metavar="TIME", help="For a device to begin, and again to end.")
    ] = "1h",
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where its state is kept. Default: rollout-MODEL-VERSION.json."),
    ] = None,
    inventory: InventoryOption = None,
    resume_file: Annotated[
        Path | None, typer.Option("--resume", metavar="FILE", help="Go on with this rollout instead.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show who would get it in which wave, and leave.")
    ] = False,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Roll a version out; `start` may be left out.

    A wave is told when the one before it has ended and soaked. It halts by
    itself when too many fail, and takes back the commands of devices that have
    not begun. Ctrl-C pauses it. Exit code 0: complete; 1: paused; 4: halted.

    [bold]Examples[/]
      edge-agent fleet rollout home 1.2.0 --to kitchens
      edge-agent fleet rollout home 1.2.0 --to all --waves 2,10%,100% --soak 1h
    """
    if resume_file is not None:
        if model is not None or to is not None:
            raise SettingsError("--resume takes no model and no group", hint="they stand in the file")
        resume(resume_file, broker=broker, as_json=as_json, config=config)
        return
    if model is None or version is None or to is None:
        raise SettingsError(
            "a rollout takes MODEL VERSION --to GROUP", hint="edge-agent fleet rollout start --help"
        )
    from edge_agent.fleet.rollout.state_file import StateFile

    address, settings = broker_address(broker, config)
    terms = terms_of(model, version, to, (waves, max_failures, soak, deadline), address, settings)
    found = inventory_of(inventory, address, settings.mqtt.base_topic)
    rollout = begun(terms, found.select(to), waves)
    if dry_run:
        print_plan(rollout, as_json)
        return
    file = StateFile(state or Path(f"rollout-{model}-{version}.json"))
    with file.driving():
        if file.path.exists():
            raise SettingsError(
                f"{file.path} is there already",
                hint=f"fleet rollout show {file.path}; one that is paused: resume; anew: --state FILE",
            )
        file.write(rollout)
        if not as_json:
            print_head(rollout, found, file)
        drive(rollout, file, address, as_json)


@app.command("resume")
def resume(
    file: FileArgument = None,
    *,
    without_proof: Annotated[
        bool, typer.Option("--without-proof", help="Go on though no device has taken the version yet.")
    ] = False,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Go on with a rollout that was paused, or whose operator was stopped.

    No device is told twice. One that is complete reads late results.
    """
    from edge_agent.fleet.rollout.driver import resumed

    change = partial(resumed, without_proof=without_proof)
    _go_on(_state(file), change, broker, config, as_json)


@app.command("pause")
def pause(file: FileArgument = None) -> None:
    """Tell no further devices. Those that were told may still take it; `halt` takes it back."""
    from edge_agent.fleet.rollout.driver import paused
    from edge_agent.fleet.rollout.state_file import DrivenError

    state = _state(file)
    try:
        with state.driving():
            rollout = paused(state.read())
            state.write(rollout)
    except DrivenError:
        _ask(state, "pause")
        return
    typer.echo(f"{rollout.phase.value.replace('_', ' ')}; nobody drives it")


@app.command("halt")
def halt(
    file: FileArgument = None,
    *,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """End a rollout: take back the commands of devices that have not begun, wait for those that have."""
    from edge_agent.fleet.rollout.driver import halted
    from edge_agent.fleet.rollout.state_file import DrivenError

    state = _state(file)
    try:
        _go_on(state, halted, broker, config, as_json)
    except DrivenError:
        _ask(state, "halt")


@app.command("rollback")
def rollback(
    file: FileArgument = None,
    *,
    wave: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="Only this wave; may be repeated. Default: all."),
    ] = None,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Bring the devices that took the version back to the one before, and no others.

    What has not begun is taken back as by `halt`.
    """
    from edge_agent.fleet.rollout.driver import sent_back

    change = partial(sent_back, waves=None if not wave else tuple(number - 1 for number in wave))
    _go_on(_state(file), change, broker, config, as_json)


@app.command("show")
def show(
    file: FileArgument = None,
    *,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show where a rollout is. Of one that has ended, late results are read from the broker first."""
    from edge_agent.cli.fleet_rollout_view import as_document, print_rollout
    from edge_agent.fleet.rollout.state_file import DrivenError

    state = _state(file)
    rollout = state.read()
    try:
        with state.driving():
            rollout = late_results(state, broker, config)
    except DrivenError:
        if not as_json:
            typer.echo(f"process {state.driver()} drives it now")
    if as_json:
        print_json(as_document(rollout))
    else:
        print_rollout(rollout, state.path)


def _go_on(
    state: StateFile,
    change: Callable[[Rollout], Rollout],
    broker: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Changes a rollout, writes that down, and drives it.

    Raises:
        DrivenError: another process drives it.
    """
    with state.driving():
        rollout = change(state.read())
        address = known_address(rollout, broker, config)
        state.write(rollout)
        drive(rollout, state, address, as_json)


def _ask(state: StateFile, wish: str) -> None:
    """Tells the process that drives the rollout what the user wants."""
    state.ask(wish)
    typer.echo(f"process {state.driver()} was told to {wish}")


def _state(path: Path | None) -> StateFile:
    """The file that is meant.

    Raises:
        SettingsError: it is none of a rollout, or there is not exactly one here.
    """
    from edge_agent.fleet.rollout.state_file import StateFile

    if path is not None:
        state = StateFile(path)
        state.read()
        return state
    found = sorted(Path().glob("rollout-*.json"))
    if len(found) != 1:
        which = f"here are {', '.join(each.name for each in found[:5])}" if found else "none is here"
        raise SettingsError(f"which rollout? {which}", hint="name its file, such as rollout-home-1.2.0.json")
    return StateFile(found[0])
