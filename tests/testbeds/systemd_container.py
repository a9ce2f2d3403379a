"""A small Debian 12 with a real systemd, booted in a container in about a second.

How to use it::

    with SystemdContainer(tmp_path / "board", binds={wheels: "/mnt/wheels"}) as board:
        (board.root / "etc/edge-agent").mkdir()     # its files, at any time
        board.run("/mnt/wheels/install.sh", "…")    # a program inside; fails the test when it fails
        board.systemctl("start", "edge-agent")
        assert board.show("edge-agent")["ActiveState"] == "active"
        board.journal("edge-agent")                 # what a unit logged, as dictionaries
        board.cut_power(); board.boot()             # as if the plug was pulled

Each has its own writable layer in memory over one cached root (:mod:`tests.testbeds.debian_root`), its own
process ids and machine id, and a network of its own that is only a loopback, unless ``network`` is true: then
it shares this machine's, ports and all. Inside are Python 3.11 with ``venv``, Mosquitto and its clients (not
started); nothing else that listens. Nothing is registered at the host.

Needs root and namespaces. Where they cannot be had, making one raises
:class:`~tests.testbeds.cache.NoTestbedError`; fixtures use :func:`container_or_skip`.

A power cut is SIGKILL to the systemd inside: every process of the container is gone between two instructions,
and nothing is closed or told. What a disk forgets with its power is not shown by it: the page cache of the
host lives on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, TypeVar

import psutil
import pytest

from tests.testbeds.cache import NoTestbedError
from tests.testbeds.container_layers import CGROUPS, V1_LIMITS, make_cgroups, mount_layers
from tests.testbeds.debian_root import cached_root
from tests.testbeds.waiting import eventually

T = TypeVar("T")

BOOT_SECONDS = 60.0
_STOP_SECONDS = 60.0
_LOOPBACK = """\
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname()).close()
"""
_SANDBOX = (
    "PrivateUsers=yes",
    "PrivateDevices=yes",
    "ProtectSystem=strict",
    "NoExecPaths=/tmp",
    "PrivateTmp=yes",
)
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
}


class SystemdContainer:
    """One container; :meth:`boot` it, or use it as a context, which boots and removes it.

    Args:
        folder: of its own, for its layers.
        binds: folders or files of this machine, and where they stand inside, read-only.
        layers: folders that lie over the cached root and under what is written, the uppermost first.
        network: share this machine's network.

    Attributes:
        root: its root folder, here; may be read and written at any time.
        boot_seconds: how long the last :meth:`boot` took.
        systemd_pid: of the systemd inside, as this machine counts; 0 while there is none.

    Raises:
        NoTestbedError: this machine cannot have one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binds: Mapping[Path, str] | None = None,
        layers: Sequence[Path] = (),
        network: bool = False,
    ) -> None:
        self.root = folder / "root"
        self.boot_seconds = 0.0
        self._uuid = uuid.uuid4()
        self._name = f"edge-agent-{self._uuid.hex[:8]}"
        self._console = folder / "console.log"
        self._binds = dict(binds or {})
        self._network = network
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.systemd_pid = 0
        self._cleanup = ExitStack()
        lower = [*layers, cached_root()]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            mount_layers(folder, self.root, lower, self._cleanup)
            self._cgroups = make_cgroups(self._name, self._cleanup)
        except BaseException:
            self._cleanup.close()
            raise

    # Life

    def boot(self, *, wait: bool = True) -> None:
        """Starts it, and waits until everything that starts with it has started, or failed.

        Args:
            wait: False to return as soon as there is a systemd inside.
        """
        assert self._nspawn is None, "it runs already"
        begun = time.monotonic()
        with self._console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", self._shell_line(), "sh", *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.systemd_pid = eventually(self._find_systemd, BOOT_SECONDS, "the systemd inside")
        if wait:
            calmly(self._has_booted, BOOT_SECONDS, "the end of its boot", 0.05)
            self.boot_seconds = time.monotonic() - begun

    def cut_power(self) -> None:
        """Ends all that runs inside at once."""
        os.kill(self.systemd_pid, signal.SIGKILL)
        self._wait_for_end()

    def power_off(self) -> None:
        """Shuts it down in order."""
        self.run("systemctl", "poweroff", check=False)
        self._wait_for_end()

    def close(self) -> None:
        """Ends and removes it."""
        if self._nspawn is not None:
            with suppress(ProcessLookupError):
                os.kill(self.systemd_pid or self._nspawn.pid, signal.SIGKILL)
            self._wait_for_end()
        self._cleanup.close()

    # What is done inside

    def run(
        self,
        *command: str,
        check: bool = True,
        within_seconds: float = 120.0,
        text_in: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program inside as root, in ``/``, with a clean environment.

        Args:
            command: the program and its arguments; no shell reads them.
            check: fail the test where it fails, with what it said.
            within_seconds: it may take so long.
            text_in: for its standard input.
            environment: further variables.
        """
        done = subprocess.run(
            ["nsenter", "-t", str(self.systemd_pid), "--all", "--", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=within_seconds,
            input=text_in if text_in is not None else "",
            env={**_ENVIRONMENT, **(environment or {})},
        )
        assert done.returncode == 0 or not check, (
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done

    def systemctl(self, *arguments: str, check: bool = True, within_seconds: float = 120.0) -> str:
        """``systemctl`` inside; returns what it says."""
        return self.run("systemctl", *arguments, check=check, within_seconds=within_seconds).stdout.strip()

    def show(self, unit: str) -> dict[str, str]:
        """All properties of a unit, as ``systemctl show`` names them."""
        lines = self.systemctl("show", unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def wait_for(self, unit: str, within_seconds: float = 60.0, **wanted: str) -> dict[str, str]:
        """The properties of a unit, once these have these values: ``wait_for("x", ActiveState="active")``."""

        def fits() -> dict[str, str]:
            found = self.show(unit)
            return found if all(found.get(key) == value for key, value in wanted.items()) else {}

        return calmly(fits, within_seconds, f"{unit} with {wanted}")

    def journal(self, unit: str) -> list[dict[str, Any]]:
        """What a unit logged since the boot, and systemd of it: the journal's fields, the oldest first."""
        lines = self.run("journalctl", "-b", "-u", unit, "-o", "json", "--no-pager").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def console_text(self) -> str:
        """What came to its console, all boots together."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def what_it_lacks(self) -> str | None:
        """What a plain Debian can do and this container cannot, as its host may not; None for nothing."""
        if self.run("python3", "-c", _LOOPBACK, check=False).returncode != 0:
            return "its loopback cannot be brought up"
        options = [word for line in _SANDBOX for word in ("-p", line)]
        if self.run("systemd-run", "--quiet", "--wait", *options, "/bin/true", check=False).returncode != 0:
            return "systemd inside cannot set up a sandbox"
        return None

    def limits_work(self) -> bool:
        """Whether systemd inside can set memory and processor limits; only asked where it runs."""
        if not (CGROUPS / "memory").is_dir():
            return (CGROUPS / "cgroup.controllers").is_file()
        lines = "; ".join(
            f"mount -n -o remount,bind,rw,nosuid,nodev,noexec {CGROUPS}/{name}" for name in V1_LIMITS
        )
        made = subprocess.run(
            ["nsenter", "-t", str(self.systemd_pid), "-m", "sh", "-ec", lines],
            capture_output=True,
            check=False,
        )
        if made.returncode == 0:
            self.systemctl("daemon-reexec")
        return made.returncode == 0

    def __enter__(self) -> SystemdContainer:
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Small steps

    def _shell_line(self) -> str:
        joins = "".join(f"echo $$ > {group}/cgroup.procs; " for group in self._cgroups)
        return f'{joins}exec "$@"'

    def _command(self) -> list[str]:
        binds = [f"--bind-ro={source}:{target}" for source, target in self._binds.items()]
        return [
            "systemd-nspawn",
            "--quiet",
            f"--directory={self.root}",
            "--boot",
            "--register=no",
            "--keep-unit",
            f"--machine={self._name}",
            f"--uuid={self._uuid}",
            "--console=pipe",
            "--link-journal=no",
            "--resolv-conf=off",
            "--system-call-filter=adjtimex clock_adjtime",  # as on a machine: whoever may not set may ask
            *([] if self._network else ["--private-network"]),
            *binds,
        ]

    def _find_systemd(self) -> int:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise NoTestbedError(f"systemd-nspawn ended: {self._last_words()}")
        with suppress(psutil.Error):
            for child in psutil.Process(self._nspawn.pid).children():
                if child.name() == "systemd":
                    return int(child.pid)
        return 0

    def _has_booted(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, f"the container ended: {self._last_words()}"
        said = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return said in ("running", "degraded")

    def _last_words(self) -> str:
        return " / ".join(self.console_text().strip().splitlines()[-3:])

    def _wait_for_end(self) -> None:
        assert self._nspawn is not None
        try:
            self._nspawn.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._nspawn = None
        self.systemd_pid = 0
        # What nspawn leaves of a container that did not shut down.
        for path in (Path("/run/systemd/nspawn/propagate"), Path("/run/systemd/nspawn/unix-export")):
            shutil.rmtree(path / self._name, ignore_errors=True)


def calmly(ask: Callable[[], T], within_seconds: float, what: str, pause_seconds: float = 0.2) -> T:
    """As :func:`eventually`, with longer pauses: to ask takes a process or two inside."""
    pause = Event()

    def ask_after_a_pause() -> T:
        pause.wait(pause_seconds)
        return ask()

    return eventually(ask_after_a_pause, within_seconds, what)


@contextmanager
def container_or_skip(folder: Path, **options: Any) -> Iterator[SystemdContainer]:
    """A booted container; skips the test, with the reason in one line, where this machine cannot have one.

    With ``TESTBED_REQUIRED=1`` in the environment that is a failure, for machines that are known to have one.
    """
    board = None
    try:
        board = SystemdContainer(folder, **options)
        board.boot()
        lacking = board.what_it_lacks()
        if lacking is not None:
            raise NoTestbedError(lacking)
    except (NoTestbedError, AssertionError) as error:
        # Nothing of ours has run so far: a plain Debian that does not boot is this machine's fault.
        reason = f"no real systemd here: {error}"
        if board is not None:
            board.close()
        if os.environ.get("TESTBED_REQUIRED") == "1":
            raise
        pytest.skip(reason.splitlines()[0])
    try:
        yield board
    finally:
        board.close()
