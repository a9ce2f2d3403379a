"""``edge-agent``: the command for people and scripts.

Each subcommand is a file beside this one. They import what they need when they are called, so that
``--help`` and completion answer at once. This file turns what they raise into PROTOCOL's exit codes:
0 done, 1 not well, 2 usage or settings, 3 bundle refused, 4 rollout halted, 5 broker unreachable, 70 a bug.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from edge_agent.cli import bench, bundle, check, demo, fleet, forge, model, predict, send, watch
from edge_agent.cli.console import EXIT_INTERRUPTED, print_error
from edge_agent.errors import EdgeAgentError, SettingsError

_DEBUG_VARIABLE = "EDGE_AGENT_DEBUG"


class _Commands(TyperGroup):
    """The group of all subcommands, and the one place where their errors end."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeAgentError as error:
            print_error(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(EXIT_INTERRUPTED) from error
        except BrokenPipeError as error:
            _forget_stdout()
            raise typer.Exit(0) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the thing asked about is not well, 2 usage or settings, 3 bundle refused, "
    "4 a rollout halted, 5 broker unreachable, 70 a bug.",
)
_START, _DEVICE, _MODELS = "Start here", "This device", "Models"
app.command("demo", rich_help_panel=_START)(demo.demo)
app.command("predict", rich_help_panel=_START)(predict.predict)
app.command("send", rich_help_panel=_START)(send.send)
app.command("watch", rich_help_panel=_START)(watch.watch)
app.command("check", rich_help_panel=_DEVICE)(check.check)
app.command("bench", rich_help_panel=_DEVICE)(bench.bench)
app.add_typer(model.app, name="model", rich_help_panel=_MODELS)
app.add_typer(bundle.app, name="bundle", rich_help_panel=_MODELS)
app.add_typer(forge.app, name="forge", rich_help_panel=_MODELS)
app.add_typer(fleet.app, name="fleet", rich_help_panel="Many devices")


def _print_version(wanted: bool) -> None:
    if wanted:
        from edge_agent import __version__

        typer.echo(f"edge-agent {__version__}")
        raise typer.Exit


@app.callback()
def _about(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Understand short texts on small machines, privately and in milliseconds.

    The daemon [bold]edge-agentd[/] hears texts over MQTT and answers with intent,
    slots and confidence. This command tries it, talks to it, checks it, and
    makes and inspects its models.

    [bold]First steps[/]
      edge-agent demo                                   see it work
      edge-agent predict --model home "apaga la luz"    one answer, no broker
      edge-agent send --model home "turn on the fan"    through the daemon
      edge-agent check                                  what is wrong here
    """


def main() -> None:
    """Entry point of ``edge-agent``."""
    # Not a setting, so it must not stand where settings are read, here or in the daemon that `demo` starts.
    debug = os.environ.pop(_DEBUG_VARIABLE, "") not in {"", "0"}
    try:
        code = app(prog_name="edge-agent", standalone_mode=False)
    except typer.Abort:
        code = 1
    except Exception as error:
        if debug:
            raise
        told = _as_usage_error(error) or _as_bug(error)
        if str(told):
            print_error(told)
        code = told.exit_code
    sys.exit(code)


def _as_usage_error(error: Exception) -> SettingsError | None:
    """Wrong options and arguments, which typer tells in its own exceptions; empty where help was shown."""
    if not isinstance(error, TyperException):
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "edge-agent"
    return SettingsError(error.format_message().rstrip("."), hint=f"{command} --help")


def _as_bug(error: Exception) -> EdgeAgentError:
    """An error that nobody foresaw, told without its message, which might hold the user's text."""
    return EdgeAgentError(
        f"this is a bug of edge-agent: {type(error).__name__} in {_place(error)}",
        hint=f"run it again with {_DEBUG_VARIABLE}=1 and report the traceback with `edge-agent check`",
    )


def _place(error: Exception) -> str:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "an unknown place"
    code = traceback.tb_frame.f_code
    return f"{os.path.basename(code.co_filename)}:{traceback.tb_lineno}"  # noqa: PTH119


def _forget_stdout() -> None:
    """Nobody reads on: let the interpreter's last flush go nowhere instead of failing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
