"""``edge-agent send``: one request to a device over MQTT, and its answer."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.console import ConfigOption, JsonOption, console, print_json
from edge_agent.errors import BrokerError, EdgeAgentError

if TYPE_CHECKING:
    from edge_agent.link.address import BrokerAddress
    from edge_agent.link.requester import Requester
    from edge_agent.settings import Settings

_CONNECT_SECONDS = 5.0


class _UnansweredError(EdgeAgentError):
    """The broker is there, and no answer came."""

    exit_code = 1


def send(
    text: Annotated[list[str], typer.Argument(metavar="TEXT", help="The text; several words make one text.")],
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME", help="The model that shall answer.")],
    device: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The device. Default: this one, or the first that serves the model."),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(metavar="URL", help="mqtt://user:password@host:port. Default: the settings'."),
    ] = None,
    lang: Annotated[str | None, typer.Option(help="Language of the text, echoed in the result.")] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Longest wait for the answer.")
    ] = 10.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send one request over MQTT and print the result.

    On a terminal the answer is drawn, with the time from sending to answer;
    with [bold]--json[/] or into a pipe it is the JSON that the device sent.
    Exit code 0: a result; 1: an error or no answer in time; 5: the broker
    cannot be reached.

    [bold]Examples[/]
      edge-agent send --model home "enciende la luz de la cocina"
      edge-agent send --model home --broker mqtt://192.168.1.20 --device pi-kitchen "turn on the fan"
    """
    from edge_agent.link.requester import Requester
    from edge_agent.settings import load_settings

    settings = load_settings(config)
    address = _address(broker, settings)
    try:
        requester = Requester.connect(address, base_topic=settings.mqtt.base_topic, timeout=_CONNECT_SECONDS)
    except BrokerError as error:
        hint = error.hint or f"is a broker running at {address}? name another by --broker mqtt://host:port"
        raise BrokerError(str(error), hint=hint) from error
    request = {"text": " ".join(text)} | ({"lang": lang} if lang else {})
    with requester:
        begun = perf_counter()
        try:
            chosen = device or _own_device(requester, settings, broker)
            begun = perf_counter()
            answer = requester.request(model, chosen, request, timeout)
        except BrokerError as error:
            raise _UnansweredError(str(error), hint=error.hint) from error
        milliseconds = (perf_counter() - begun) * 1e3
    _print(answer, milliseconds, as_json)
    if "error" in answer:
        raise typer.Exit(1)


def _address(broker: str | None, settings: Settings) -> BrokerAddress:
    from edge_agent.link.address import BrokerAddress
    from edge_agent.settings import read_password

    if broker is not None:
        return BrokerAddress.from_url(broker)
    return BrokerAddress.from_settings(settings.mqtt, read_password(settings.mqtt))


def _own_device(requester: Requester, settings: Settings, broker: str | None) -> str | None:
    """This device where it is on its own broker, so that a neighbour does not answer in its place.

    By the shipped access list a device may not read its own ``status``: who speaks in its name means it.
    """
    own = settings.device.id
    if broker is None and (settings.mqtt.username == own or own in requester.devices()):
        return own
    return None


def _print(answer: dict[str, Any], milliseconds: float, as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        print_json(answer)
        return
    from edge_agent.cli.view import Answer, draw_answer

    console().print(draw_answer(Answer.of(answer, milliseconds)))
