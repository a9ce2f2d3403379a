"""``edge-agent fleet rotate|delegate|refresh|expire-soon``: keys, signatures and their time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.console import JsonOption, print_json, print_table
from edge_agent.cli.fleet_options import (
    DEFAULT_REPOSITORY,
    KeysOption,
    Passphrase,
    PassphraseEnvOption,
    PassphraseFileOption,
    PinFileOption,
    RepositoryOption,
    SignerOption,
    opened_repository,
)

if TYPE_CHECKING:
    from edge_agent.fleet.repository.expiring import Expiry

_NOT_WELL = 1


def rotate(
    role: Annotated[
        str, typer.Argument(metavar="ROLE", help="root, targets, snapshot, timestamp or a delegated one.")
    ],
    *,
    key: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Beginning of the old key's id. Needed where there are several."),
    ] = None,
    signer: SignerOption = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    keys: KeysOption = None,
    passphrase_file: PassphraseFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    pin_file: PinFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a new key into a role and an old one out.

    Devices follow from any root they know. The old key signs once more where
    it is here; where it is lost, delete its file and go on without it, as long
    as enough root keys are left.

    [bold]Examples[/]
      edge-agent fleet rotate timestamp
      edge-agent fleet rotate root --key 53decd3d --keys keys --keys /media/stick
    """
    with opened_repository(repository, keys, Passphrase(passphrase_file, passphrase_env, pin_file)) as opened:
        from edge_agent.fleet.repository.rotating import rotate as rotate_key

        done = rotate_key(opened, role, old=key, signer=signer)
    if as_json:
        print_json(done)
    else:
        typer.echo(
            f"{role}: key {done.old[:8]} is out, {done.new[:8]} is in; root version {done.root_version}"
        )


def delegate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the new role: a customer, a model.")],
    *,
    paths: Annotated[
        list[str],
        typer.Option("--paths", metavar="PATTERN", help="What it may sign, such as 'models/acme-*'."),
    ],
    count: Annotated[int, typer.Option("--key-count", help="How many keys it has.")] = 1,
    threshold: Annotated[int, typer.Option(help="How many of them must sign.")] = 1,
    days: Annotated[int, typer.Option(help="For how many days its metadata are valid.")] = 90,
    signer: SignerOption = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    keys: KeysOption = None,
    passphrase_file: PassphraseFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    pin_file: PinFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let another role, with keys of its own, sign some of the models or channels.

    Its keys are made in the first folder of keys; give it its own to hand it
    over. What it signs counts for its paths only.

    [bold]Example[/]
      edge-agent fleet delegate acme --paths 'models/acme-*' --keys acme --keys keys
    """
    with opened_repository(repository, keys, Passphrase(passphrase_file, passphrase_env, pin_file)) as opened:
        from edge_agent.fleet.repository.creating import RolePlan
        from edge_agent.fleet.repository.rotating import delegate as delegate_paths

        plan = RolePlan(count, threshold, days, (signer,) if signer else ())
        made = delegate_paths(opened, name, paths, plan)
    if as_json:
        print_json({"role": name, "paths": paths, "keys": made})
    else:
        typer.echo(f"{name} signs {', '.join(paths)}; {threshold} of {len(made)} keys")
        typer.echo(f"edge-agent fleet publish BUNDLE --as {name}")


def refresh(
    role: Annotated[
        list[str] | None,
        typer.Option(help="Sign this role anew too, such as targets; may be repeated.", show_default=False),
    ] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    keys: KeysOption = None,
    passphrase_file: PassphraseFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    pin_file: PinFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign snapshot and timestamp anew, so that devices see that nobody holds news back.

    Run it from a timer, once a day. Only the keys of snapshot and timestamp
    are needed, and those of the roles named by --role.

    [bold]Examples[/]
      edge-agent fleet refresh --passphrase-file /etc/fleet/passphrase
      edge-agent fleet refresh --role targets --role root
    """
    with opened_repository(repository, keys, Passphrase(passphrase_file, passphrase_env, pin_file)) as opened:
        from edge_agent.fleet.repository.expiring import expiries
        from edge_agent.fleet.repository.rotating import refresh as sign_anew

        sign_anew(opened, role or ())
        found = expiries(opened)
        _show(found, [], opened.now(), as_json)


def expire_soon(
    within: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="14d, 12h. Default: a third of each role's own time, at most 30d."),
    ] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    keys: KeysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show when what is signed expires; exit code 1 where something does soon.

    No key is needed. Run it from a timer that mails what it prints.

    [bold]Example[/]
      edge-agent fleet expire-soon --within 14d
    """
    with opened_repository(repository, keys, Passphrase(None, None)) as opened:
        from edge_agent.fleet.repository.expiring import expiries, soon
        from edge_agent.fleet.repository.layout import parse_duration

        limit: timedelta | None = parse_duration(within) if within is not None else None
        found, now = expiries(opened), opened.now()
        due = soon(found, now, limit)
        _show(found, due, now, as_json)
    if due:
        raise typer.Exit(_NOT_WELL)


def _show(found: list[Expiry], due: list[Expiry], now: datetime, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "role": item.role,
                    "version": item.version,
                    "expires": f"{item.expires:%Y-%m-%dT%H:%M:%SZ}",
                    "soon": item in due,
                }
                for item in found
            ]
        )
        return
    rows = [
        (item.role, str(item.version), f"{item.expires:%Y-%m-%d}", _left(item, now, due)) for item in found
    ]
    print_table(("role", "version", "expires", "left"), rows)
    if due:
        late = [item.role for item in due if item.expires <= now]
        near = [item.role for item in due if item.expires > now]
        said = [f"{word}: {', '.join(roles)}" for word, roles in (("expired", late), ("soon", near)) if roles]
        typer.echo("; ".join([*said, _remedy(due)]))


def _left(item: Expiry, now: datetime, due: list[Expiry]) -> str:
    left = item.expires - now
    if left <= timedelta(0):
        return "expired"
    text = f"{left.days} d" if left.days else f"{left.seconds // 3600} h"
    return f"{text}, soon" if item in due else text


def _remedy(due: list[Expiry]) -> str:
    others = [item.role for item in due if item.role not in {"snapshot", "timestamp"}]
    return " ".join(["edge-agent fleet refresh", *(f"--role {role}" for role in others)])
