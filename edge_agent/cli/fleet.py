"""``edge-agent fleet``: the operator's side of updates, a signed repository of models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli import fleet_keys, fleet_rollout, fleet_simulate, fleet_status, fleet_verify
from edge_agent.cli.console import JsonOption, print_json, print_pairs, print_table
from edge_agent.cli.fleet_options import (
    DEFAULT_REPOSITORY,
    AllowOlderOption,
    KeysOption,
    Passphrase,
    PassphraseEnvOption,
    PassphraseFileOption,
    PinFileOption,
    RepositoryOption,
    SignedByOption,
    key_ring,
    opened_repository,
)
from edge_agent.errors import SettingsError

if TYPE_CHECKING:
    from edge_agent.fleet.repository.creating import Plan
    from edge_agent.fleet.repository.layout import Channel

app = typer.Typer(help="Publish signed models for many devices.", no_args_is_help=True)
_THRESHOLD = "How many {} keys must sign."
_COUNT = "How many {} keys there are."
_DAYS = "For how many days {} metadata are valid."


@app.command("init")
def init(
    repository: Annotated[Path, typer.Argument(metavar="DIR", help="Where the repository is made.")],
    *,
    keys: KeysOption = None,
    root_keys: Annotated[int, typer.Option(help=_COUNT.format("root"))] = 1,
    root_threshold: Annotated[int, typer.Option(help=_THRESHOLD.format("root"))] = 1,
    targets_keys: Annotated[int, typer.Option(help=_COUNT.format("targets"))] = 1,
    targets_threshold: Annotated[int, typer.Option(help=_THRESHOLD.format("targets"))] = 1,
    root_days: Annotated[int, typer.Option(help=_DAYS.format("root"))] = 365,
    targets_days: Annotated[int, typer.Option(help=_DAYS.format("targets"))] = 90,
    snapshot_days: Annotated[int, typer.Option(help=_DAYS.format("snapshot"))] = 7,
    timestamp_days: Annotated[int, typer.Option(help=_DAYS.format("timestamp"))] = 7,
    signer: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=URI", help="A key on a token or in a key service; may be repeated."),
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    pin_file: PinFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an empty repository, its keys, and the root that devices are given.

    Keys are encrypted files in a folder of their own, or live on a hardware
    token or in a key service. Keep the root keys offline: copy them to two
    sticks, and take them out of the folder. What is lost is lost.

    [bold]Examples[/]
      edge-agent fleet init repository
      edge-agent fleet init repository --root-keys 3 --root-threshold 2
      edge-agent fleet init repository --signer root=hsm:2 --passphrase-file p
    """
    ring = key_ring(repository, keys, Passphrase(passphrase_file, passphrase_env, pin_file, confirm=True))
    from edge_agent.fleet.repository.creating import Plan, RolePlan, create
    from edge_agent.fleet.repository.stored import PINNED

    elsewhere = _by_role(signer or [])
    plan = Plan(
        {
            "root": RolePlan(root_keys, root_threshold, root_days, elsewhere["root"]),
            "targets": RolePlan(targets_keys, targets_threshold, targets_days, elsewhere["targets"]),
            "snapshot": RolePlan(1, 1, snapshot_days, elsewhere["snapshot"]),
            "timestamp": RolePlan(1, 1, timestamp_days, elsewhere["timestamp"]),
        }
    )
    create(repository, ring, plan)
    pinned = ring.folders[0] / PINNED
    if as_json:
        print_json({"repository": str(repository), "keys": str(ring.folders[0]), "root": str(pinned)})
        return
    print_pairs(
        {
            "repository": f"{repository}  (serve it as it is, by any web server or store)",
            "keys": f"{ring.folders[0]}  (secret; keep a copy offline)",
            "for devices": f"{pinned}  (the root they trust)",
            "root": _signatures(plan, "root"),
            "targets": _signatures(plan, "targets"),
        }
    )


def _by_role(texts: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {"root": (), "targets": (), "snapshot": (), "timestamp": ()}
    for text in texts:
        role, _, uri = text.partition("=")
        if role not in found or not uri:
            raise SettingsError(f"--signer {text!r:.80} is not ROLE=URI", hint="for example root=hsm:2")
        found[role] += (uri,)
    return found


def _signatures(plan: Plan, role: str) -> str:
    described = plan.roles[role]
    count = max(described.keys, len(described.signers))
    return f"{described.threshold} of {count} keys sign, valid for {described.days} days"


@app.command("publish")
def publish(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE", help="Folders or .edgemodel files.", show_default=False)
    ],
    *,
    group: Annotated[
        list[str] | None,
        typer.Option(help="A group that is to have them at once; may be repeated.", show_default=False),
    ] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    keys: KeysOption = None,
    signed_by: SignedByOption = "targets",
    allow_older: AllowOlderOption = False,
    passphrase_file: PassphraseFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    pin_file: PinFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check bundles, sign them and add them to the repository.

    What is checked is that a bundle is whole; edge-agent model verify BUNDLE
    asks it its golden sentences, as each device does.

    Devices do not install what is only published: a rollout or a channel says
    which version they should have. A version is for ever; another content
    under it is refused, and so is a lower version without --allow-older.

    [bold]Examples[/]
      edge-agent fleet publish models/home
      edge-agent fleet publish home-1.2.0.edgemodel --group canary
    """
    with opened_repository(repository, keys, Passphrase(passphrase_file, passphrase_env, pin_file)) as opened:
        from edge_agent.fleet.repository.publishing import publish as publish_bundles

        added = publish_bundles(
            opened, bundles, groups=group or (), signed_by=signed_by, allow_older=allow_older
        )
    if as_json:
        print_json(
            [
                {**item.model.document(), "path": item.model.path, "bytes": item.length, "new": item.new}
                for item in added
            ]
        )
        return
    for item in added:
        what = "published" if item.new else "was there already"
        typer.echo(f"{item.model.name} {item.model.version}  {what}, {item.length / 1e6:.1f} MB")
    for name in group or ():
        typer.echo(f"channel {name}  names {', '.join(f'{i.model.name} {i.model.version}' for i in added)}")


@app.command("channel")
def channel(
    group: Annotated[str | None, typer.Argument(metavar="GROUP", help="None: all of them are shown.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of a model.")] = None,
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="A published one.")] = None,
    *,
    remove: Annotated[
        bool, typer.Option("--remove", help="Say nothing of this model to the group any more.")
    ] = False,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    keys: KeysOption = None,
    signed_by: SignedByOption = "targets",
    allow_older: AllowOlderOption = False,
    passphrase_file: PassphraseFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    pin_file: PinFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show, or say and sign, which version the devices of a group should have.

    Devices that poll follow their channel. A rollout moves it when it is
    complete, so that polling cannot go past its waves.

    [bold]Examples[/]
      edge-agent fleet channel
      edge-agent fleet channel kitchens home 1.2.0
      edge-agent fleet channel kitchens home --remove
    """
    if (version is None) == (name is not None and not remove):
        raise SettingsError(
            "to change a channel takes GROUP NAME VERSION, or GROUP NAME --remove",
            hint="edge-agent fleet channel --help",
        )
    with opened_repository(repository, keys, Passphrase(passphrase_file, passphrase_env, pin_file)) as opened:
        from edge_agent.fleet.repository.publishing import channels, set_channel

        if group is not None and name is not None:
            set_channel(
                opened,
                group,
                {name: version} if version is not None else {},
                remove=(name,) if remove else (),
                signed_by=signed_by,
                allow_older=allow_older,
            )
        found = channels(opened)
    _show_channels([item for item in found.values() if group in (None, item.group)], as_json)


def _show_channels(found: list[Channel], as_json: bool) -> None:
    if as_json:
        print_json({channel.group: dict(channel.models) for channel in found})
    elif rows := [(c.group, name, version) for c in found for name, version in c.models.items()]:
        print_table(("group", "model", "version"), rows)
    elif found:
        typer.echo(f"no model is named for {', '.join(channel.group for channel in found)}")
    else:
        typer.echo("no such channel; edge-agent fleet channel GROUP NAME VERSION makes one")


app.command("rotate")(fleet_keys.rotate)
app.command("delegate")(fleet_keys.delegate)
app.command("refresh")(fleet_keys.refresh)
app.command("expire-soon")(fleet_keys.expire_soon)
app.command("verify")(fleet_verify.verify)
app.add_typer(fleet_rollout.app, name="rollout")
app.command("status")(fleet_status.status)
app.command("simulate")(fleet_simulate.simulate)
