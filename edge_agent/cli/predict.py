"""``edge-agent predict``: understand texts here and now, without broker or daemon."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.console import ConfigOption, JsonOption, console, print_json, quiet_runtime
from edge_agent.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from edge_agent.inference.model import Model

ModelOption = Annotated[
    str,
    typer.Option("--model", "-m", metavar="NAME|PATH", help="A model's name, or a bundle's folder or file."),
]


def predict(
    model: ModelOption,
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="The text; several words make one text. None: read stdin."),
    ] = None,
    lang: Annotated[str | None, typer.Option(help="Language of the text, echoed in the result.")] = None,
    top_k: Annotated[int, typer.Option(min=0, max=1000, help="Most alternatives to the answer.")] = 3,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the runtime.")] = 1,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Understand a text, or one text a line from stdin, without broker or daemon.

    The model is loaded and its golden sentences are checked first. On a
    terminal the answer is drawn; with [bold]--json[/], into a pipe or from
    stdin it is one JSON result a line, as the daemon would send it. A line
    that cannot be answered gives an error in its place, and the exit code is
    then 1.

    [bold]Examples[/]
      edge-agent predict --model home "enciende la luz de la cocina"
      edge-agent predict --model models/home --json turn on the fan | jq .slots
      edge-agent predict --model home < sentences.txt > results.jsonl
    """
    from edge_agent import load
    from edge_agent.cli.find import find_model
    from edge_agent.settings import load_settings

    path = find_model(model, load_settings(config).models.directories)
    drawn = not as_json and sys.stdout.isatty() and (text is not None or sys.stdin.isatty())
    all_answered = True
    with quiet_runtime():
        loaded = load(path, threads=threads)
    with loaded:
        for line in [" ".join(text).encode("utf-8", "surrogateescape")] if text else _lines_of_stdin(drawn):
            result = _answer(loaded, line, lang, top_k)
            all_answered &= "error" not in result
            _print(result, drawn)
    if not all_answered:
        raise typer.Exit(1)


def _lines_of_stdin(drawn: bool) -> Iterator[bytes]:
    if drawn:
        typer.echo("One text a line; Ctrl-D ends.", err=True)
    for line in sys.stdin.buffer:
        yield line.rstrip(b"\r\n")


def _answer(model: Model, line: bytes, lang: str | None, top_k: int) -> dict[str, Any]:
    from edge_agent.link.envelope import Request, Timing, render_error, render_result

    begun = perf_counter()
    try:
        text = line.decode("utf-8")
        prediction = model.predict(text, top_k=top_k)
    except UnicodeDecodeError:
        return render_error(ErrorCode.BAD_ENCODING, "the text is not valid UTF-8", None)
    except RequestError as error:
        return render_error(error.code, str(error), None)
    timing = Timing(queue_ms=0.0, total_ms=(perf_counter() - begun) * 1e3)
    return render_result(prediction, Request(text, lang=lang, top_k=top_k), timing)


def _print(result: dict[str, Any], drawn: bool) -> None:
    if not drawn:
        print_json(result)
        return
    from edge_agent.cli.view import Answer, draw_answer

    console().print(draw_answer(Answer.of(result)))
