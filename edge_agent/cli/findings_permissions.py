"""May the daemon's user read and write what it needs, and may others read its secrets?

Judged by owner, group and mode of every folder on the way (path_resolution(7)), for the user of the service
where one is installed, else for whoever calls. What only root can see is said so, not guessed. Access control
lists (acl(5)) are not looked at.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.cli.findings import Finding, ok, problem, warning

if TYPE_CHECKING:
    from edge_agent.settings import Settings

MAILBOXES = (Path("/dev/vcio_gencmd"), Path("/dev/vcio"))
_SYSTEM_FOLDERS = {"STATE_DIRECTORY": "/var/lib/edge-agent", "RUNTIME_DIRECTORY": "/run/edge-agent"}
_CREDENTIALS = (Path("/etc/credstore/mqtt.password"), Path("/etc/credstore/mqtt.key"))
_MADE_BY_SYSTEMD = (Path("/run"), Path("/var/lib"))
"""Where StateDirectory= and RuntimeDirectory= make a folder that is missing."""
_AS_ROOT = "sudo edge-agent check sees more"


@dataclass(frozen=True, slots=True)
class Person:
    """A user with its groups.

    Attributes:
        is_service: it is the service's, not the caller's.
    """

    name: str
    uid: int
    gids: frozenset[int]
    is_service: bool = False


class Access(Enum):
    """Whether somebody may."""

    YES = "yes"
    NO = "no"
    ABSENT = "absent"
    UNKNOWN = "unknown"


def who_serves(shown: Mapping[str, str]) -> Person | None:
    """The service's user; the caller where there is no service; None where it is known only while it runs."""
    if not shown:
        return Person(_name_of(os.geteuid()), os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))
    name = shown.get("User") or "root"
    try:
        entry = pwd.getpwnam(name)
        extra = {grp.getgrnam(group).gr_gid for group in shown.get("SupplementaryGroups", "").split()}
    except KeyError:  # a dynamic user has a number only while the service runs
        return None
    return Person(name, entry.pw_uid, frozenset({*os.getgrouplist(name, entry.pw_gid), *extra}), True)


def places(settings: Settings, who: Person | None) -> list[Path]:
    """The folders in which the daemon writes, and those of its models."""
    from edge_agent.service.places import find_places
    from edge_agent.settings import environment_folders

    is_service = who is None or who.is_service
    found = find_places(
        _SYSTEM_FOLDERS if is_service else environment_folders(),
        settings.device.id,
        state_directory=settings.device.state_directory,
        runtime_directory=settings.device.runtime_directory,
    )
    return [found.state, found.runtime, *settings.models.directories[:1]]


def check_permissions(settings: Settings, config: Path | None, who: Person | None) -> Iterator[Finding]:
    """Folders, secrets and the firmware's mailbox."""
    if who is None:
        message = "the service's user is made when it starts; who may read what cannot be told before"
        yield warning("permissions", message, "sudo systemctl start edge-agent, then check again")
    else:
        faults = [*_check_folders(settings, who), *_check_mailbox(who)]
        yield from faults
        if not faults:
            folders = [*places(settings, who), *settings.models.directories]
            hidden = any(access(who, one, "x") is Access.UNKNOWN for one in folders)
            message = f"{who.name} may read and write what the daemon needs"
            yield ok("permissions", message + (f", as far as you may see: {_AS_ROOT}" if hidden else ""))
    yield from check_secrets(settings, config, who)


def _check_folders(settings: Settings, who: Person) -> Iterator[Finding]:
    state, runtime, *_ = places(settings, who)
    for about, folder, key in (
        ("state folder", state, "device.state_directory"),
        ("runtime folder", runtime, "device.runtime_directory"),
    ):
        closed = blocking(who, folder, "wx")
        if closed is None or (who.is_service and closed in _MADE_BY_SYSTEMD):
            continue
        remedy = f"set {key} to a folder of {who.name}'s"
        if closed in (folder, folder.parent):  # never somebody's home, or /
            remedy = f"sudo chown -R {who.name} {closed}, or {remedy}"
        yield problem(about, f"{who.name} may not write in {closed}", remedy)
    for folder in settings.models.directories:
        if access(who, folder, "rx") is Access.NO:
            remedy = f"sudo chmod -R a+rX {folder}"
            yield problem("model folder", f"{who.name} may not read {folder}", remedy)


def _check_mailbox(who: Person) -> Iterator[Finding]:
    """A Raspberry Pi tells of its supply through these devices, of the group video; one is enough."""
    there = [one for one in MAILBOXES if one.exists()]
    if there and all(access(who, one, "r") is Access.NO for one in there):
        group = _group_of(there[0].stat().st_gid)
        remedy = f"sudo usermod -aG {group} {who.name}, then start the daemon (or your session) again"
        message = f"{who.name} may not ask the firmware ({there[0]}): no power, no throttling"
        yield warning("sensor rights", message, remedy)


def check_secrets(settings: Settings, config: Path | None, who: Person | None) -> Iterator[Finding]:
    """Password and key are readable by the daemon and by nobody else; nobody else writes the settings."""
    from edge_agent.settings import DEFAULT_PATH

    named = [one for one in (settings.mqtt.password_file, settings.mqtt.key_file) if one is not None]
    for path in [*named, *_CREDENTIALS]:
        mode = _mode(path)
        if mode is not None and mode & stat.S_IROTH:
            yield warning("secrets", f"every user of this machine may read {path}", f"sudo chmod o= {path}")
        if who is not None and path in named and access(who, path, "r") is Access.NO:
            yield problem("secrets", f"{who.name} may not read {path}", f"sudo chown {who.name} {path}")
    for path in {config or DEFAULT_PATH, *named}:
        mode = _mode(path)
        if mode is not None and mode & stat.S_IWOTH:
            yield problem(
                "secrets", f"every user of this machine may change {path}", f"sudo chmod o-w {path}"
            )


def access(who: Person, path: Path, want: str) -> Access:
    """Whether somebody may ``r``, ``w`` and ``x`` a path, by the modes of it and of the folders above it."""
    if not path.is_absolute():
        path = Path.cwd() / path
    try:
        path = path.resolve()
        for folder in reversed(path.parents):
            if not may(who, folder.stat(), "x"):
                return Access.NO
        return Access.YES if may(who, path.stat(), want) else Access.NO
    except PermissionError:
        return Access.UNKNOWN
    except OSError:
        return Access.ABSENT


def blocking(who: Person, path: Path, want: str) -> Path | None:
    """The first folder that keeps somebody from a path, or from making it; None where none is seen to."""
    path = Path(os.path.realpath(path))
    above = Path("/")
    for one in (*reversed(path.parents), path):
        try:
            found = one.stat()
        except PermissionError:
            return None
        except OSError:  # it is to be made in the one above
            return None if may(who, above.stat(), want) else above
        if not may(who, found, want if one == path else "x"):
            return one
        above = one
    return None


def may(who: Person, found: os.stat_result, want: str) -> bool:
    """Whether owner, group or others have the bits; only one of them counts (path_resolution(7)). Pure."""
    if who.uid == 0:
        return "x" not in want or stat.S_ISDIR(found.st_mode) or bool(found.st_mode & 0o111)
    shift = 6 if found.st_uid == who.uid else 3 if found.st_gid in who.gids else 0
    bits = (found.st_mode >> shift) & 0o7
    return all(bits & {"r": 4, "w": 2, "x": 1}[one] for one in want)


def _mode(path: Path) -> int | None:
    """The mode of a file; None where there is none, or we cannot see it, and then others cannot either."""
    try:
        return path.stat().st_mode
    except OSError:
        return None


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_of(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
