"""What ``edge-agent fleet rollout`` is told, made into a rollout: the broker, the terms, the devices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.console import print_json
from edge_agent.errors import BrokerError, SettingsError

if TYPE_CHECKING:
    from edge_agent.fleet.rollout.inventory import Found, Inventory
    from edge_agent.fleet.rollout.rollout_state import Rollout, Terms
    from edge_agent.fleet.rollout.state_file import StateFile
    from edge_agent.link.address import BrokerAddress
    from edge_agent.settings import Settings

_MOST_NAMED = 10

BrokerOption = Annotated[
    str | None, typer.Option(metavar="URL", help="mqtt://user:password@host:port. Default: the settings'.")
]
InventoryOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Devices and tags, CSV or TOML. Default: what the broker knows."),
]


def broker_address(broker: str | None, config: Path | None) -> tuple[BrokerAddress, Settings]:
    """The broker that the user names, else the settings' own, and the settings."""
    from edge_agent.link.address import BrokerAddress
    from edge_agent.settings import load_settings, read_password

    settings = load_settings(config)
    if broker is not None:
        return BrokerAddress.from_url(broker), settings
    return BrokerAddress.from_settings(settings.mqtt, read_password(settings.mqtt)), settings


def known_address(rollout: Rollout, broker: str | None, config: Path | None) -> BrokerAddress:
    """Where the rollout's devices are. Another broker has others, so it is taken only when it is named."""
    address, _ = broker_address(broker, config)
    if broker is None and str(address) != rollout.terms.broker:
        raise SettingsError(
            f"this rollout is at the broker {rollout.terms.broker}, and the settings name {address}",
            hint="name the broker by --broker URL, or its settings by --config FILE",
        )
    return address


def terms_of(
    model: str,
    version: str,
    group: str,
    texts: tuple[str, str, str, str],
    address: BrokerAddress,
    settings: Settings,
) -> Terms:
    """The terms as they were written; how many devices there are is not known yet.

    Args:
        model: its name.
        version: semantic version.
        group: whom it is for.
        texts: waves, most failures, soak and deadline.
        address: of the broker.
        settings: with the base topic.

    Raises:
        SettingsError: one of them cannot be.
    """
    from edge_agent.fleet.rollout.driver import new_id
    from edge_agent.fleet.rollout.rollout_state import Terms
    from edge_agent.fleet.rollout.waves import Amount, parse_seconds, parse_waves
    from edge_agent.inference.manifest import is_name, is_version
    from edge_agent.link.documents import LONGEST_NAME, plain_line

    if not is_name(model):
        raise SettingsError(f"{plain_line(model, LONGEST_NAME)!r} is no name of a model")
    if not is_version(version):
        raise SettingsError(f"{plain_line(version, LONGEST_NAME)!r} is no version", hint="for example 1.2.0")
    waves, max_failures, soak, deadline = texts
    parse_waves(waves)
    now = time()
    return Terms(
        id=new_id(now),
        model=model,
        version=version,
        group=plain_line(group, LONGEST_NAME),
        broker=str(address),
        base_topic=settings.mqtt.base_topic,
        sizes=(),
        max_failures=Amount.parse(max_failures),
        soak_seconds=parse_seconds(soak),
        deadline_seconds=parse_seconds(deadline),
        created_at=now,
    )


def inventory_of(path: Path | None, address: BrokerAddress, base: str) -> Inventory:
    """The devices of the file, or those that the broker knows.

    Raises:
        SettingsError: the file is no inventory.
        BrokerError: the broker cannot be reached.
    """
    from edge_agent.fleet.rollout.inventory import discover, merge, read_file

    listed = None if path is None else read_file(path)
    try:
        heard = discover(address, base)
    except BrokerError as error:
        hint = error.hint or f"is a broker running at {address}? name another by --broker mqtt://host:port"
        raise BrokerError(str(error), hint=hint) from error
    return heard if listed is None else merge(listed, heard)


def begun(terms: Terms, chosen: dict[str, Found], waves: str) -> Rollout:
    """A rollout to these devices, those that are off last."""
    from edge_agent.fleet.rollout.rollout_state import begin
    from edge_agent.fleet.rollout.waves import in_order, parse_waves, sizes

    absent = [device for device, found in chosen.items() if found.online is not True]
    seen = {device: found.seen_at for device, found in chosen.items() if found.seen_at is not None}
    terms = replace(terms, sizes=sizes(parse_waves(waves), len(chosen)))
    return begin(terms, in_order(chosen, absent, terms.id), seen)


def print_head(rollout: Rollout, found: Inventory, file: StateFile) -> None:
    """Says what begins, and who was never seen."""
    from edge_agent.cli.fleet_rollout_view import count_of

    terms = rollout.terms
    chosen = {device: found.devices[device] for device in rollout.members}
    off = sum(1 for one in chosen.values() if one.seen and one.online is not True)
    unseen = [device for device, one in chosen.items() if not one.seen]
    more = f", {off} of them off now" if off else ""
    typer.echo(
        f"{terms.model} {terms.version} → {terms.group}: {count_of(len(chosen))}{more}, "
        f"in waves of {', '.join(map(str, terms.sizes))}"
    )
    typer.echo(f"state: {file.path}  (Ctrl-C pauses)")
    if unseen:
        names = ", ".join(unseen[:_MOST_NAMED]) + (" …" if len(unseen) > _MOST_NAMED else "")
        typer.echo(f"edge-agent: warning: {len(unseen)} never seen at this broker: {names}", err=True)


def print_plan(rollout: Rollout, as_json: bool) -> None:
    """Says who would be in which wave."""
    if as_json:
        plan = [{"device": device, "wave": one.wave + 1} for device, one in rollout.members.items()]
        print_json({"waves": list(rollout.terms.sizes), "devices": plan})
        return
    for number, size in enumerate(rollout.terms.sizes):
        names = [device for device, one in rollout.members.items() if one.wave == number]
        shown = ", ".join(names[:_MOST_NAMED]) + (" …" if len(names) > _MOST_NAMED else "")
        allowed = rollout.terms.allowed_failures(number)
        typer.echo(f"wave {number + 1}: {len(names)} more, {size} in all, {allowed} may fail: {shown}")
