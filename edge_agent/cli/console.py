"""How the commands speak: results on stdout, errors as one line and a hint on stderr.

Rich is imported only where something is drawn; JSON never passes through it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.errors import EdgeAgentError, SettingsError

if TYPE_CHECKING:
    from rich.console import Console

EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells count it."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file. Default: /etc/edge-agent/config.toml."),
]


def print_json(value: object, *, indent: int | None = None) -> None:
    """Prints a value as JSON: one line, or indented; dataclasses, enums and paths become plain values."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=indent))


def console(*, stderr: bool = False) -> Console:
    """A terminal to draw on. Where there is none, plain lines that are never wrapped."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Console(file=stream, highlight=False, soft_wrap=True, width=width)


@contextmanager
def quiet_runtime() -> Iterator[None]:
    """Keeps the runtime's own chatter off the terminal; it writes past Python, to file descriptor 2.

    What goes wrong comes as an exception all the same.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silence)


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Around the imports of a command: a missing package becomes a line with its remedy.

    Args:
        name: of the extra that brings it.

    Raises:
        SettingsError: a package of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("edge_agent"):
            raise
        raise SettingsError(
            f"{name} needs the Python package {error.name}", hint=f"pip install 'edge-agent[{name}]'"
        ) from error


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Prints rows under their headings."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for index, column in enumerate(columns):
        numeric = index > 0 and all(row[index][:1].isdigit() or row[index] in {"", "–"} for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table, soft_wrap=False)


def print_pairs(pairs: Mapping[str, str]) -> None:
    """Prints names and values, one pair a line, the values under one another."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        typer.echo(f"{name:<{width}}  {value}")


def print_error(error: EdgeAgentError) -> None:
    """One line with what went wrong and one with what to do about it, on stderr."""
    one_line = " ".join(str(error).split())
    typer.echo(f"edge-agent: {one_line}", err=True)
    if error.hint:
        typer.echo(f"  hint: {error.hint}", err=True)


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    return str(value)
