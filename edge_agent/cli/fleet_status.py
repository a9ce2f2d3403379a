"""``edge-agent fleet status``: versions, health, power and stragglers of a fleet, once."""

from __future__ import annotations

from time import localtime, monotonic, strftime, time
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.console import ConfigOption, JsonOption, print_json, print_table
from edge_agent.cli.fleet_order import BrokerOption, InventoryOption, broker_address
from edge_agent.errors import BrokerError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_agent.cli.watch_state import Picture
    from edge_agent.fleet.rollout.documents import ModelWord
    from edge_agent.fleet.rollout.status import Row
    from edge_agent.link.address import BrokerAddress
    from edge_agent.link.protocol import Incoming

_PARTS = ("status", "health", "info", "power", "model/+", "cmd/model-update/+")
_LOW_BATTERY_PERCENT = 20.0


def status(
    to: Annotated[str, typer.Option(metavar="GROUP", help="Only this group.")] = "all",
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Only this model.")
    ] = None,
    *,
    wait: Annotated[
        float, typer.Option(min=0, max=3600, metavar="SECONDS", help="Listen so long for watts.")
    ] = 0.0,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
    inventory: InventoryOption = None,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show how the devices of a fleet are, the stragglers first.

    A straggler is offline, or serves an older version than most of its group.
    Watts are told every few seconds and not kept by the broker, so they need
    [bold]--wait[/]. It keeps 10,000 devices and says how many it left out. Exit code
    0: all are online, up and up to date; 1: one is not, or was left out.

    [bold]Examples[/]
      edge-agent fleet status --to kitchens
      edge-agent fleet status --model home --csv > fleet.csv
    """
    if as_csv and as_json:
        raise SettingsError("--csv and --json exclude each other")
    from edge_agent.fleet.rollout.inventory import read_file
    from edge_agent.fleet.rollout.status import as_csv as csv_of
    from edge_agent.fleet.rollout.status import as_document, with_stragglers

    listed = None if inventory is None else read_file(inventory)
    address, settings = broker_address(broker, config)
    book = _collect(address, settings.mqtt.base_topic, wait, listed)
    rows = with_stragglers([row for row in book.rows() if to == "all" or to in row.groups])
    rows = [_only(row, model) for row in rows] if model is not None else rows
    if as_csv:
        typer.echo(csv_of(rows), nl=False)
    elif as_json:
        for row in rows:
            print_json(as_document(row))
    else:
        _print(rows, to)
    if book.left_out:
        _print_left_out(book.left_out, as_json)
    if not rows or book.left_out or not all(row.is_well for row in rows):
        raise typer.Exit(1)


def _only(row: Row, model: str) -> Row:
    from dataclasses import replace

    return replace(
        row,
        models={name: word for name, word in row.models.items() if name == model},
        lags=tuple(why for why in row.lags if why.startswith((f"{model} ", f"{model}:", "offline", "never"))),
    )


def _print_left_out(count: int, as_json: bool) -> None:
    """Says that this is not the whole fleet; on stderr, since stdout may be a table for a spreadsheet."""
    from edge_agent.cli.watch_state import MOST_COUNTED, MOST_DEVICES

    if as_json:
        print_json({"left_out": count, "most_devices": MOST_DEVICES})
    many = f"at least {count:,}" if count >= MOST_COUNTED else f"{count:,}"
    what = f"device{'' if count == 1 else 's'} of any group left out: at most {MOST_DEVICES:,} are kept"
    typer.echo(f"edge-agent: warning: {many} {what}", err=True)
    typer.echo("  hint: --inventory FILE, with fewer devices, keeps only those", err=True)


def _collect(
    address: BrokerAddress, base: str, wait: float, listed: Mapping[str, frozenset[str]] | None
) -> _Book:
    """What the broker retains of each device, and what they say meanwhile."""
    from edge_agent.fleet.rollout.operator_link import OperatorLink

    book = _Book(base, listed)
    try:
        with OperatorLink.connect(address, [f"{base}/+/{part}" for part in _PARTS]) as link:
            for message in link.hear_retained():
                book.hear(message, retained=True)
            end = monotonic() + wait
            while (left := end - monotonic()) > 0 and link.fault is None:
                for message in link.hear(left):
                    book.hear(message, retained=False)
    except BrokerError as error:
        hint = error.hint or f"is a broker running at {address}? name another by --broker mqtt://host:port"
        raise BrokerError(str(error), hint=hint) from error
    return book


class _Book:
    """What was heard: pictures as ``watch`` has them, and the groups and updates besides.

    Args:
        base: the base topic.
        listed: devices of a file with their tags; of others nothing is kept. None: all devices.
    """

    def __init__(self, base: str, listed: Mapping[str, frozenset[str]] | None) -> None:
        from edge_agent.cli.watch_state import Devices

        self._base = base
        self._listed = listed
        self._devices = Devices(base)
        self._groups: dict[str, str] = {}
        self._models: dict[str, dict[str, ModelWord]] = {}
        self._waiting: dict[str, dict[str, str]] = {}

    @property
    def left_out(self) -> int:
        """Devices that were heard and are not kept, since they are too many."""
        return len(self._devices.left_out)

    def hear(self, message: Incoming, *, retained: bool) -> None:
        from edge_agent.fleet.rollout.documents import is_device_id, read_command, read_group, read_model
        from edge_agent.link.commands import Status
        from edge_agent.link.documents import LONGEST_NAME, plain_line

        device, *rest = message.topic[len(self._base) + 1 :].split("/")
        if not is_device_id(device) or (self._listed is not None and device not in self._listed):
            return
        self._devices.hear(message.topic, message.payload, retained=retained, now=time())
        if device in self._devices.left_out:
            return
        match rest:
            case ["info"]:
                self._groups[device] = read_group(message.payload) or ""
            case ["model", name]:
                word = read_model(message.payload)
                if word is not None:
                    self._models.setdefault(device, {})[plain_line(name, LONGEST_NAME)] = word
            case ["cmd", _, command_id]:
                command = read_command(message.payload)
                is_waiting = command is not None and command.status is Status.INIT
                waiting = self._waiting.setdefault(device, {})
                waiting.pop(command_id, None)
                if is_waiting and command is not None and command.model is not None:
                    waiting[command_id] = command.model

    def rows(self) -> list[Row]:
        """A row for each device; one of the file that nothing is known of has a row, too."""
        from edge_agent.fleet.rollout.status import Row

        pictures = {picture.device: picture for picture in self._devices.pictures()}
        if self._listed is None:
            return [self._row(one, self._groups.get(device, "")) for device, one in pictures.items()]
        return [
            self._row(pictures[device], " ".join(sorted(tags)))
            if device in pictures
            else Row(device, tuple(sorted(tags)))
            for device, tags in self._listed.items()
            if device not in self._devices.left_out
        ]

    def _row(self, picture: Picture, groups: str) -> Row:
        from edge_agent.fleet.rollout.documents import ModelWord
        from edge_agent.fleet.rollout.status import Row

        words = self._models.get(picture.device, {})
        models = {name: words.get(name) or ModelWord(model.version) for name, model in picture.models.items()}
        return Row(
            device=picture.device,
            groups=tuple(groups.split()),
            status=picture.status,
            health=picture.health,
            reasons=picture.reasons,
            models=models,
            waiting=frozenset(self._waiting.get(picture.device, {}).values()),
            power_w=picture.power_w,
            estimated=picture.estimated,
            temperature_c=picture.temperature_c,
            strain=tuple(_strain(picture)),
            seen=picture.seen,
        )


def _strain(picture: Picture) -> list[str]:
    found = [
        word
        for is_so, word in ((picture.under_voltage, "under-voltage"), (picture.throttled, "throttled"))
        if is_so
    ]
    if picture.battery_percent is not None and picture.battery_percent < _LOW_BATTERY_PERCENT:
        found.append(f"battery {picture.battery_percent:.0f} %")
    return found


def _print(rows: list[Row], group: str) -> None:
    from collections import Counter

    from edge_agent.fleet.rollout.status import update_words

    if not rows:
        typer.echo(f"no device is known in {group}")
        return
    versions: Counter[str] = Counter()
    lines = []
    for row in rows:
        models = []
        for name, word in row.models.items():
            versions[f"{name} {word.installed or '–'}"] += 1
            update = update_words(row, name)
            models.append(f"{name} {word.installed or '–'}" + (f" ({update})" if update else ""))
        watts = "–" if row.power_w is None else f"{'~' if row.estimated else ''}{row.power_w:.1f}"
        failures = [word.reason for word in row.models.values() if word.reason]
        notes = [*row.lags, *row.strain, *(row.reasons if row.health != "up" else ()), *failures]
        lines.append(
            (
                row.device,
                " ".join(row.groups),
                "offline" if row.status == "offline" else row.health or "unknown",
                "–" if row.seen is None else strftime("%m-%d %H:%M", localtime(row.seen)),
                ", ".join(models),
                watts,
                "; ".join(dict.fromkeys(notes)),
            )
        )
    print_table(("device", "group", "health", "seen", "models", "watts", "note"), lines)
    stragglers = sum(1 for row in rows if row.lags)
    typer.echo(", ".join(f"{count} × {what}" for what, count in versions.most_common()))
    late = f"{stragglers} straggler{'' if stragglers == 1 else 's'}"
    well = sum(row.is_well for row in rows)
    typer.echo(f"{len(rows)} device{'' if len(rows) == 1 else 's'}, {well} well, {late}")
