"""``edge-agent watch``: how the devices on a broker are, as it changes."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic, time
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.console import ConfigOption, JsonOption, console, print_json
from edge_agent.cli.stopping import stopping_cleanly
from edge_agent.errors import BrokerError, SettingsError

if TYPE_CHECKING:
    from edge_agent.cli.watch_state import Devices, Picture
    from edge_agent.link.address import BrokerAddress
    from edge_agent.link.listener import TopicListener
    from edge_agent.settings import Settings

_CONNECT_SECONDS = 5.0
_DRAW_SECONDS = 1.0
_LEAST_DRAW_SECONDS = 0.25
_REST = 9
"""Times that drawing took, to the next drawing: ten thousand devices take a tenth of a second."""
_QUIET_SECONDS = 0.5
_LONGEST_ONCE_SECONDS = 15.0
_TOPICS = ("status", "health", "info", "power", "model/+")


def watch(
    broker: Annotated[
        str | None,
        typer.Option(metavar="URL", help="mqtt://user:password@host:port. Default: the settings'."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only this device; may be given several times. Default: all."),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print one picture of what is known now, and leave.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show how the devices on a broker are, the unwell first, until Ctrl-C.

    Health with its first reason, models, requests a minute, latency, queue,
    watts ([bold]~[/] is an estimate) and temperature. While the broker is away
    it says so and tries again. With [bold]--json[/] or into a pipe it prints a
    line of JSON for each change. Exit code 5: the broker cannot be reached at
    the start. With [bold]--once[/], 0: all devices are well; 1: one is not, or
    none was found. Watts come with the next message of a device, so a picture
    of [bold]--once[/] rarely has them.

    [bold]Examples[/]
      edge-agent watch --broker mqtt://192.168.1.20
      edge-agent watch --device pi-kitchen --json
      edge-agent watch --once
    """
    from edge_agent.cli.watch_state import Devices
    from edge_agent.link.listener import TopicListener
    from edge_agent.settings import load_settings

    settings = load_settings(config)
    address = _address(broker, settings)
    base = settings.mqtt.base_topic
    filters = [f"{base}/{one}/{topic}" for one in _checked(device) for topic in _TOPICS]
    devices = Devices(base)
    try:
        listener = TopicListener.connect(address, filters, timeout=_CONNECT_SECONDS)
    except BrokerError as error:
        hint = error.hint or f"is a broker running at {address}? name another by --broker mqtt://host:port"
        raise BrokerError(str(error), hint=hint) from error
    with listener, stopping_cleanly():
        if once:
            raise typer.Exit(_show_once(listener, devices, str(address), device or (), as_json))
        with suppress(KeyboardInterrupt):  # the way to end it, not an interruption
            if as_json or not sys.stdout.isatty():
                _print_changes(listener, devices)
            else:
                _draw_live(listener, devices, str(address))


def _address(broker: str | None, settings: Settings) -> BrokerAddress:
    from edge_agent.link.address import BrokerAddress
    from edge_agent.settings import read_password

    if broker is not None:
        return BrokerAddress.from_url(broker)
    return BrokerAddress.from_settings(settings.mqtt, read_password(settings.mqtt))


def _checked(devices: Sequence[str] | None) -> Sequence[str]:
    """The devices as levels of a filter; ``+`` for all.

    Raises:
        SettingsError: one cannot be a device's id.
    """
    for device in devices or ():
        if not re.fullmatch(r"[^+#/\x00-\x1f]+", device):
            raise SettingsError(f"not a device's id: {device!r}", hint="edge-agent watch --once lists them")
    return devices or ("+",)


def _hear(listener: TopicListener, devices: Devices, seconds: float) -> tuple[list[str], bool]:
    """What changed, and whether the broker still tells what it retains."""
    messages = listener.hear(seconds)
    now = time()
    changed = [
        device
        for message in messages
        if (device := devices.hear(message.topic, message.payload, retained=message.retain, now=now))
    ]
    return changed, any(message.retain for message in messages)


def _show_once(
    listener: TopicListener, devices: Devices, broker: str, wanted: Sequence[str], as_json: bool
) -> int:
    """One picture, when what the broker retains has come: nothing marks its end, so a pause must do."""
    quiet, end = monotonic() + _QUIET_SECONDS, monotonic() + _LONGEST_ONCE_SECONDS
    while (now := monotonic()) < min(quiet, end) and listener.fault is None:
        if _hear(listener, devices, quiet - now)[1]:
            quiet = monotonic() + _QUIET_SECONDS
    if listener.fault is not None:
        raise BrokerError(f"the link to the broker was lost: {listener.fault}")
    pictures = devices.pictures()
    if as_json:
        for picture in pictures:
            print_json(picture.as_json)
    else:
        from edge_agent.cli.watch_view import Frame, draw

        screen = console()
        screen.print(draw(pictures, Frame(screen.width, None, time(), broker, hidden=devices.ignored)))
    missing = [device for device in wanted if device not in devices]
    for device in missing:
        typer.echo(f"edge-agent: the device {device} has said nothing on this broker", err=True)
    return 0 if pictures and not missing and all(map(_is_well, pictures)) else 1


def _is_well(picture: Picture) -> bool:
    from edge_agent.cli.watch_state import Wellness

    return picture.wellness is Wellness.UP


def _print_changes(listener: TopicListener, devices: Devices) -> None:
    """A line of JSON for each change of a device; the broker's comings and goings on stderr."""
    was_away = False
    while True:
        changed, _ = _hear(listener, devices, _DRAW_SECONDS)
        for device in dict.fromkeys(changed):
            known = device in devices
            print_json(devices.picture(device).as_json if known else {"device": device, "removed": True})
        if changed:
            sys.stdout.flush()
        is_away = listener.fault is not None
        if is_away != was_away:
            word = f"away: {listener.fault}; trying again" if is_away else "back"
            typer.echo(f"edge-agent: the broker is {word}", err=True)
        was_away = is_away


def _draw_live(listener: TopicListener, devices: Devices, broker: str) -> None:
    from rich.console import Console
    from rich.live import Live

    from edge_agent.cli.watch_view import Frame, draw

    screen = Console(highlight=False)
    next_draw, least_draw, is_news = 0.0, 0.0, True
    with Live(console=screen, screen=True, auto_refresh=False) as live:
        while True:
            now = monotonic()
            if now >= next_draw or (is_news and now >= least_draw):
                frame = Frame(
                    screen.width, screen.height, time(), broker, fault=listener.fault, hidden=devices.ignored
                )
                live.update(draw(devices.pictures(), frame), refresh=True)
                drawn = monotonic()
                least_draw = drawn + max(_LEAST_DRAW_SECONDS, _REST * (drawn - now))
                next_draw, is_news = max(drawn + _DRAW_SECONDS, least_draw), False
            until = least_draw if is_news else next_draw
            before = listener.fault
            changed, _ = _hear(listener, devices, max(0.0, until - monotonic()))
            is_news = is_news or bool(changed) or listener.fault != before
