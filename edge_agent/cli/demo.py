"""``edge-agent demo``: a broker, a daemon and a dozen sentences, answered before your eyes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.console import ConfigOption, JsonOption, console, print_json
from edge_agent.cli.stopping import stopping_cleanly
from edge_agent.errors import BrokerError, BundleError, EdgeAgentError, ErrorCode

if TYPE_CHECKING:
    from rich.console import Console

    from edge_agent.link.requester import Requester

SENTENCES = (
    "turn on the kitchen light",
    "enciende la luz de la cocina",
    "set the bedroom lights to 30 percent",
    "pon la lámpara del salón en rojo",
    "what is the temperature in the living room?",
    "¿qué temperatura hace en el dormitorio?",
    "close the garage door",
    "baja las persianas del despacho",
    "set a timer for ten minutes",
    "apaga todas las luces de la planta baja",
    "who wrote Don Quixote?",
    "recomiéndame una película de miedo",
)
"""Home commands, questions, and two that are none of a home's business."""

_DEVICE = "demo"
_ONLINE_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_WIDE_COLUMNS = 112


def demo(
    once: Annotated[bool, typer.Option("--once", help="Leave after the sentences.")] = False,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME|PATH", help="The model to show.")
    ] = "home",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The broker's port. Default: a free one.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Start a broker and the daemon, and send them a dozen sentences in English and Spanish.

    Nothing on this machine is changed: the broker (Mosquitto where installed,
    else amqtt) listens on a free port of this machine only, and everything
    ends with Ctrl-C. With [bold]--once[/] the exit code tells whether every
    sentence was answered.

    [bold]Examples[/]
      edge-agent demo
      edge-agent demo --once
      edge-agent demo --port 18830 --model ./my-bundle
    """
    from edge_agent.cli import stage
    from edge_agent.cli.find import find_model
    from edge_agent.inference.bundle import read_bundle, unpack
    from edge_agent.link.requester import Requester
    from edge_agent.settings import load_settings

    path = find_model(model, load_settings(config).models.directories)
    screen = console(stderr=as_json)
    with stopping_cleanly(), ExitStack() as everything:
        folder = Path(everything.enter_context(tempfile.TemporaryDirectory(prefix="edge-agent-demo-")))
        chosen = port or stage.free_port()
        bundle = read_bundle(path) if path.is_dir() else unpack(path, folder / "bundle")
        broker = everything.enter_context(stage.broker(folder, chosen))
        daemon = everything.enter_context(stage.daemon(folder, chosen, _DEVICE, bundle.path))
        with Requester.connect(f"mqtt://{stage.HOST}:{chosen}") as requester:
            name = _model_when_online(requester, daemon, folder)
            screen.print(
                f"broker [bold]{broker}[/] on {stage.HOST}:{chosen} · daemon [bold]edge-agentd[/] "
                f"as device {_DEVICE} · model [bold]{name}[/]\n"
            )
            answered = _ask_all(requester, name, screen, as_json)
        screen.print(f"\n{answered} of {len(SENTENCES)} sentences answered.")
        if not once:
            with suppress(KeyboardInterrupt):  # the way to end it, not an interruption
                _invite(screen, chosen, name)
                _stay(daemon, folder)
        elif answered < len(SENTENCES):
            raise typer.Exit(1)


def _model_when_online(requester: Requester, daemon: subprocess.Popen[bytes], folder: Path) -> str:
    """Waits until the daemon serves its model; gives the model's name.

    Raises:
        BundleError: the daemon is online and refuses the model.
        BrokerError: the daemon does not come online.
    """
    from edge_agent.cli.stage import last_lines

    deadline = monotonic() + _ONLINE_SECONDS
    while daemon.poll() is None and monotonic() < deadline:
        info = requester.devices(timeout=0.5).get(_DEVICE)
        if info is not None:
            for name in info["models"]:
                return str(name)
            raise BundleError(f"the daemon refuses the model: {last_lines(folder / 'daemon.log')}")
    raise BrokerError(
        f"the daemon did not come online: {last_lines(folder / 'daemon.log') or 'it says nothing'}"
    )


def _ask_all(requester: Requester, model: str, screen: Console, as_json: bool) -> int:
    """Sends the sentences one after another and shows each answer; returns how many were results."""
    from edge_agent.cli.view import Answer, draw_exchange, draw_headings
    from edge_agent.link.envelope import render_error

    width = max(map(len, SENTENCES)) + 2 if screen.width >= _WIDE_COLUMNS else 0
    if width and not as_json:
        screen.print(draw_headings(width))
    answered = 0
    for sentence in SENTENCES:
        begun = perf_counter()
        try:
            payload = requester.request(model, _DEVICE, sentence, _ANSWER_SECONDS)
        except EdgeAgentError as error:
            payload = render_error(ErrorCode.INTERNAL, str(error), None)
        answer = Answer.of(payload, (perf_counter() - begun) * 1e3)
        answered += answer.error is None
        if as_json:
            print_json({"text": sentence, "round_trip_ms": round(answer.milliseconds, 2), "answer": payload})
        else:
            screen.print(draw_exchange(sentence, answer, width))
    return answered


def _invite(screen: Console, port: int, model: str) -> None:
    """Says how to talk to the demo from another terminal."""
    from rich.text import Text

    broker = f"mqtt://127.0.0.1:{port}"
    screen.print("\nIt stays up. From another terminal:\n")
    commands = [
        f'edge-agent send --broker {broker} --device {_DEVICE} --model {model} "abre la puerta del garaje"'
    ]
    commands += [
        f"mosquitto_sub -p {port} -t 'edge-agent/{_DEVICE}/out/{model}' -v",
        f"mosquitto_pub -p {port} -q 1 -t 'edge-agent/{_DEVICE}/in/{model}' -m 'turn off the fan'",
    ]
    for command in commands:
        screen.print(Text(f"  {command}", "cyan"))
    if shutil.which("mosquitto_pub") is None:
        screen.print(Text("  (mosquitto_pub and mosquitto_sub: sudo apt install mosquitto-clients)", "dim"))
    screen.print("\nCtrl-C ends it.")


def _stay(daemon: subprocess.Popen[bytes], folder: Path) -> None:
    """Waits while the daemon lives, for a signal to end it.

    Raises:
        EdgeAgentError: the daemon ended by itself.
    """
    from edge_agent.cli.stage import last_lines

    code = daemon.wait()
    raise EdgeAgentError(f"the daemon ended with {code}: {last_lines(folder / 'daemon.log')}")
