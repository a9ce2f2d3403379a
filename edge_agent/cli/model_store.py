"""``edge-agent model install`` and ``rollback``: the store of models from the command line.

What the store does is :mod:`edge_agent.update`; :mod:`edge_agent.service.updating` gives it what it must not
import itself: how bundles are unpacked and checked, and the process that proves a candidate.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edge_agent.cli.console import ConfigOption, JsonOption, print_json
from edge_agent.errors import BundleError, SettingsError

if TYPE_CHECKING:
    from datetime import datetime

    from edge_agent.settings import Settings
    from edge_agent.update.install import Outcome, Wanted
    from edge_agent.update.slots import Record
    from edge_agent.update.store import Store
    from edge_agent.update.trust import Offer, Repository

PINNED_ROOT: Final = Path("/etc/edge-agent/root.json")
_MANIFEST: Final = "bundle.json"
_ARCHIVE: Final = ".edgemodel"


@dataclass(frozen=True, slots=True)
class Installed:
    """What a command did, for ``--json``."""

    model: str
    serving: str | None
    digest: str | None
    previous: str | None
    state: str
    changed: bool
    told_daemon: bool


def install(
    target: Annotated[
        str, typer.Argument(metavar="FILE|FOLDER|NAME[@VERSION]", help="A bundle, or a model's name.")
    ],
    repository: Annotated[
        str | None,
        typer.Option("--repository", metavar="URL|DIR", help="Signed repository that NAME comes from."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="FILE", help=f"Its pinned root.json. Default: {PINNED_ROOT}."),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            "--channel", metavar="GROUP", help="Whose channel names the version. Default: 'default'."
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Install a model, once it has answered its golden sentences on this machine.

    A file or folder is checked as a bundle. A name is taken from a signed
    repository (--repository, --root): the version that is asked for, or the
    one that the channel names. The version before is kept for rollback. What
    is refused changes nothing.

    Exit code 0: it serves, or did already; 1: this machine cannot do it now
    (space, network, another update); 3: bundle, signature or proof refused.

    [bold]Examples[/]
      edge-agent model install home-1.1.0.edgemodel
      edge-agent model install home --repository https://models.example.org
      edge-agent model install home@1.1.0 --repository /media/usb --root root.json
    """
    from edge_agent.settings import load_settings

    settings = load_settings(config)
    store = open_store(settings)
    path = Path(target)
    is_path = "/" in target or target.endswith(_ARCHIVE) or (path / _MANIFEST).exists()
    if is_path and repository is not None:
        raise SettingsError("--repository goes with a model's name", hint="name it as NAME[@VERSION]")
    if is_path:
        outcome = _install(settings, store, _from_file(path))
    else:
        outcome = _from_repository(settings, store, target, repository, root, channel)
    _tell(outcome.record, outcome.is_new, as_json)


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Turn a model back to the version that served before.

    [bold]Example[/]
      edge-agent model rollback home
    """
    from edge_agent.service.updating.bundles import has_other
    from edge_agent.settings import load_settings
    from edge_agent.update.install import roll_back
    from edge_agent.update.record import NAME

    if not NAME.fullmatch(name):
        raise SettingsError("that is no name of a model", hint="edge-agent model list")
    settings = load_settings(config)
    may_leave = has_other(settings.models.directories, name)
    _tell(roll_back(open_store(settings), name, allow_none=may_leave), True, as_json)


def open_store(settings: Settings) -> Store:
    """The store in the first of the settings' folders that can have one.

    Raises:
        SettingsError: there is none; each of them is a bundle itself.
    """
    from edge_agent.service.updating.bundles import check_bundle, store_folder
    from edge_agent.update.store import Store

    folder = store_folder(settings.models.directories)
    if folder is not None:
        return Store(folder, check_bundle)
    raise SettingsError("no folder for models", hint="set models.directories to a folder of bundles")


def _from_file(path: Path) -> Wanted:
    from edge_agent.service.updating.bundles import wanted_from
    from edge_agent.update.refusal import Reason, UpdateError

    try:
        return wanted_from(path)
    except UpdateError:
        raise
    except BundleError as error:  # called as the daemon calls it
        raise UpdateError(Reason.BUNDLE, str(error), hint=error.hint) from error


def _install(settings: Settings, store: Store, wanted: Wanted) -> Outcome:
    from edge_agent.service.updating.proof import ProofLimits, prove
    from edge_agent.update.install import install as install_wanted

    limits = ProofLimits.from_settings(settings.updates)

    def prove_here(folder: Path) -> None:
        prove(folder, limits, threads=settings.inference.threads)

    return install_wanted(store, wanted, prove_here)


def _from_repository(
    settings: Settings,
    store: Store,
    target: str,
    source: str | None,
    root: Path | None,
    channel: str | None,
) -> Outcome:
    from edge_agent.service.updating.bundles import ROOM_FOR_ZIP, unpack_bundle
    from edge_agent.update.install import Wanted
    from edge_agent.update.refusal import Reason, UpdateError

    if source is None:
        raise SettingsError(
            f"{target} is no bundle here", hint="name a file or folder, or where it comes from: --repository"
        )
    name, _, version = target.partition("@")
    client, now, clock = _repository(settings, source, root or PINNED_ROOT)
    try:
        client.refresh()
        offer: Offer = client.offered(name, version or None, channel)
        size = ROOM_FOR_ZIP * offer.length
        wanted = Wanted(offer.content, size, lambda: client.download(offer), unpack_bundle)
        outcome = _install(settings, store, wanted)
    except UpdateError as error:
        if error.reason not in (Reason.UNREACHABLE, Reason.SLOW):  # those are resumed
            client.clear()
        if error.reason is Reason.EXPIRED:
            error.hint = (
                f"here it is {now:%Y-%m-%d}; if so, the operator signs anew: edge-agent fleet refresh; "
                f"if not, mend the clock and remove {clock}"
            )
        raise
    finally:
        client.give_to_owner()
    client.clear()
    return outcome


def _repository(settings: Settings, source: str, root: Path) -> tuple[Repository, datetime, Path]:
    """The repository, the time that it is judged by, and the file that holds that time."""
    from edge_agent.service.machine import kernel_clock_synced
    from edge_agent.service.places import find_places
    from edge_agent.update.known_time import read_clocks, take_reference
    from edge_agent.update.trust import Repository

    places = find_places(os.environ, settings.device.id, state_directory=settings.device.state_directory)
    folder = places.state / "update"
    try:
        pinned = root.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{root} cannot be read: {error.strerror}", hint="--root FILE, from whoever runs the repository"
        ) from error
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        clock = folder / "clock.json"
        now = take_reference(clock, read_clocks(kernel_clock_synced())).time
        return Repository(source, pinned, folder, now), now, clock
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be written: {error.strerror}",
            hint="run it as the owner of the folder, or as root; or set device.state_directory",
        ) from error


def _tell(record: Record, changed: bool, as_json: bool) -> None:
    from edge_agent.update.slots import State

    told = changed and _tell_daemon()
    serving, older = record.serving, record.fallback
    if as_json:
        version, digest = (serving.version, serving.digest) if serving else (None, None)
        previous = older.version if older else None
        print_json(Installed(record.name, version, digest, previous, record.state.value, changed, told))
        return
    version = serving.version if serving else "nothing"
    if not changed:
        typer.echo(f"nothing to do: {record.name} {version} is installed")
        return
    if record.state is State.ROLLED_BACK:
        typer.echo(f"{record.name} is back at {version}")
    else:
        typer.echo(f"{record.name} {version} is installed and passed its golden sentences here")
    if older:
        typer.echo(f"back to {older.version}: edge-agent model rollback {record.name}")
    typer.echo(
        "edge-agentd was told to read its models again"
        if told
        else "a running edge-agentd serves it after: sudo systemctl reload edge-agent (or SIGHUP)"
    )


def _tell_daemon() -> bool:
    """Sends SIGHUP to the daemon where systemd knows its process."""
    from edge_agent.cli.findings_command import ask_command, find_command
    from edge_agent.cli.findings_service import UNIT, parse_properties

    systemctl = find_command("systemctl")
    if systemctl is None or not Path("/run/systemd/system").is_dir():
        return False
    shown = parse_properties(ask_command([systemctl, "show", UNIT, "--property=MainPID"], 3.0) or "")
    pid = int(shown.get("MainPID", "0") or 0)
    if pid <= 1:
        return False
    with suppress(OSError):
        os.kill(pid, signal.SIGHUP)
        return True
    return False
