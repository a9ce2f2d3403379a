"""Where the daemon may write: what must outlive a power cut, and what must outlive a crash.

State goes to flash and is written rarely; the runtime folder is memory on every system that has systemd.
Inside each, every device id has a folder of its own, so that two daemons on one machine do not mix.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import SettingsError

_NAME = "edge-agent"
_SYSTEM_STATE = Path("/var/lib") / _NAME
_SYSTEM_RUNTIME = Path("/run") / _NAME
_PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class Places:
    """The two folders of one device."""

    state: Path
    runtime: Path


def is_writable_folder(path: Path) -> bool:
    """Whether a folder is there and this process may create files in it."""
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def find_places(
    environment: Mapping[str, str],
    device: str,
    *,
    state_directory: Path | None = None,
    runtime_directory: Path | None = None,
    is_writable: Callable[[Path], bool] = is_writable_folder,
) -> Places:
    """Where a device's folders are to be; creates nothing.

    The order is: the settings, systemd (``STATE_DIRECTORY``, ``RUNTIME_DIRECTORY``; several are separated
    by colons, systemd.exec(5)), the system's folder where it may be written, and the user's own (XDG Base
    Directory Specification).

    Args:
        environment: the variables above, and ``XDG_STATE_HOME``, ``XDG_RUNTIME_DIR``, ``HOME``.
        device: the device's id, of letters, digits, ``_`` and ``-``.
        state_directory: of the settings, or None.
        runtime_directory: of the settings, or None.
        is_writable: asks the file system.
    """
    home = Path(environment["HOME"]) if environment.get("HOME") else Path("/")
    state = (
        state_directory
        or _given(environment, "STATE_DIRECTORY")
        or (_SYSTEM_STATE if is_writable(_SYSTEM_STATE) else None)
        or _below(_given(environment, "XDG_STATE_HOME"))
        or home / ".local" / "state" / _NAME
    )
    runtime = (
        runtime_directory
        or _given(environment, "RUNTIME_DIRECTORY")
        or (_SYSTEM_RUNTIME if is_writable(_SYSTEM_RUNTIME) else None)
        or _below(_given(environment, "XDG_RUNTIME_DIR"))
        or Path(tempfile.gettempdir()) / f"{_NAME}-{os.getuid()}"
    )
    return Places(state / device, runtime / device)


def make_places(places: Places) -> None:
    """Creates the folders that are missing, for this user alone.

    Raises:
        SettingsError: one cannot be created, or belongs to somebody else.
    """
    faults: list[SettingsError] = []
    for path, key in ((places.state, "device.state_directory"), (places.runtime, "device.runtime_directory")):
        try:
            _make(path, key)
        except SettingsError as fault:  # one that cannot be is no reason to do without the other
            faults.append(fault)
    if faults:
        raise faults[0]


def _make(path: Path, key: str) -> None:
    try:
        path.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        path.mkdir(mode=_PRIVATE, exist_ok=True)
        owners = {path.stat().st_uid, path.parent.stat().st_uid}
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(
            f"{path} cannot be created: {reason}", hint=f"set {key} to a folder that may be written"
        ) from error
    if not owners <= {os.getuid(), 0}:  # anyone may make folders where temporary files go
        raise SettingsError(f"{path} belongs to another user", hint=f"set {key} to a folder of your own")


def _given(environment: Mapping[str, str], name: str) -> Path | None:
    """An absolute path from the environment; others are ignored, as the XDG specification has it."""
    first = environment.get(name, "").partition(":")[0]
    return Path(first) if first.startswith("/") else None


def _below(folder: Path | None) -> Path | None:
    return None if folder is None else folder / _NAME
