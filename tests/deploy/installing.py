"""``deploy/install.sh`` and the Debian package, tried on a board: a container with a real systemd.

A folder of wheels is made here once a session, by the project's own script, and copies of it in which
edge-agent has another version or another daemon. The board has no network: it installs from these folders.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_agent import __version__
from tests.testbeds.systemd_container import SystemdContainer
from tests.testbeds.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "deploy/install.sh"
BUILDER = REPOSITORY / "deploy/deb/build.sh"
CHECKOUT = "/mnt/edge-agent"
WHEELS = "/mnt/wheels"
PREFIX = "/opt/edge-agent"
NEXT = "9.9.0"
DAEMON = "edge_agent/service/agent.py"
SENTENCE = "turn on the kitchen light"
_BASE = "base"
_CHANGING = ("/run", "/tmp", "/var/tmp", "/var/log/journal", "/proc", "/sys", "/dev", "/mnt")
_OF_DPKG = ("/var/lib/dpkg", "/var/log", "/var/cache/apt", "/var/lib/apt", "/var/cache/debconf")
_INSTALL_SECONDS = 400.0


def container_python() -> None:
    """Skips the test where wheels for this Python are not those of the container's."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip(f"the container has Python 3.11, and this is {sys.version.split()[0]}")


@dataclass(frozen=True, slots=True)
class Wheels:
    """Folders of wheels: the checkout's, and copies of it in which edge-agent differs."""

    folder: Path

    @property
    def base(self) -> Path:
        return self.folder / _BASE

    def variant(self, name: str, *, version: str = NEXT, files: Mapping[str, str] | None = None) -> Path:
        """A folder with another edge-agent: another version, other texts for some of its files."""
        target = self.folder / name
        target.mkdir()
        for wheel in self.base.iterdir():
            if wheel.name.startswith("edge_agent-"):
                _repack(wheel, target, version, files or {})
            else:
                os.link(wheel, target / wheel.name)
        return target


def make_wheels(factory: pytest.TempPathFactory) -> Wheels:
    """The session's folders; skips the test where no wheels can be had."""
    container_python()
    wheels = Wheels(factory.getbasetemp() / "edge-agent-wheels")
    if not wheels.base.exists():
        made = subprocess.run(
            [str(REPOSITORY / "deploy/deb/wheels.sh"), str(wheels.base)],
            env={**os.environ, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            shutil.rmtree(wheels.base, ignore_errors=True)
            pytest.skip(f"no wheels can be had here: {(made.stderr.strip().splitlines() or ['?'])[-1]}")
    return wheels


def _repack(wheel: Path, target: Path, version: str, files: Mapping[str, str]) -> None:
    old, new = f"edge_agent-{__version__}", f"edge_agent-{version}"
    with (
        zipfile.ZipFile(wheel) as source,
        zipfile.ZipFile(target / wheel.name.replace(old, new), "w") as copy,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name in files:
                content = files[name].encode()
            elif name.startswith(old):
                content = content.replace(old.encode(), new.encode())
                content = content.replace(
                    f"\nVersion: {__version__}\n".encode(), f"\nVersion: {version}\n".encode()
                )
            elif name == "edge_agent/__init__.py":
                content = content.replace(f'"{__version__}"'.encode(), f'"{version}"'.encode())
            copy.writestr(name.replace(old, new), content)


class Board:
    """A machine that edge-agent comes to and goes from.

    Attributes:
        machine: the container.
        empty: what :meth:`listing` and :meth:`accounts` said before edge-agent was ever here.
    """

    def __init__(self, machine: SystemdContainer, *, dpkg: bool = True) -> None:
        self.machine = machine
        self._dpkg = dpkg
        machine.systemctl("start", "mosquitto")
        self.empty = (self.listing(), self.accounts())

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.machine.run("env", "-C", "/", *command, check=check, within_seconds=_INSTALL_SECONDS)

    def install(
        self, *options: str, wheels: str | None = _BASE, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs ``install.sh``, with a folder of wheels where one is named."""
        offline = ("--wheels", f"{WHEELS}/{wheels}") if wheels else ()
        return self.run(f"{CHECKOUT}/deploy/install.sh", *offline, *options, check=check)

    def uninstall(self, *options: str) -> str:
        return self.install("--uninstall", *options, wheels=None).stdout

    def ask(self, text: str = SENTENCE) -> dict[str, Any]:
        """Sends a sentence over MQTT, once a device is online, and returns the answer."""
        base = eventually(self._base_online, 60.0, "a device that is online")
        words = ("-t", f"{base}/in/home", "-e", "the/answer", "-m", text)
        answer = self.run("mosquitto_rr", "-V", "mqttv5", "-q", "1", "-W", "60", *words)
        result: dict[str, Any] = json.loads(answer.stdout)
        return result

    def _base_online(self) -> str:
        """The base of the topics of the device that is online; others may have been here before."""
        words = ("-t", "edge-agent/+/status", "-F", "%t %p", "-W", "1")
        lines = self.run("mosquitto_sub", *words, check=False).stdout.splitlines()
        return "".join(line.split("/status")[0] for line in lines if line.endswith(" online"))

    def version(self) -> str:
        return self.run("edge-agent", "--version").stdout.split()[-1]

    def active(self) -> bool:
        return self.machine.systemctl("is-active", "edge-agent", check=False) == "active"

    def write(self, path: str, text: str) -> None:
        target = self.machine.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def has(self, path: str) -> bool:
        return (self.machine.root / path.lstrip("/")).exists()

    def listing(self, *, times: bool = False) -> frozenset[str]:
        """Every file, folder and link: mode, owner, path and target; with ``times``, when each was changed.

        Without what lives in memory, and without what dpkg keeps for itself where the board is made so.
        """
        left_out = _CHANGING if self._dpkg else (*_CHANGING, *_OF_DPKG)
        skipped = [word for path in left_out for word in ("-path", path, "-o")][:-1]
        form = "%M %u %p %l" + (" %T@" if times else "") + "\n"
        found = self.run("find", "/", "-xdev", "(", *skipped, ")", "-prune", "-o", "-printf", form)
        return frozenset(found.stdout.splitlines())

    def accounts(self) -> str:
        return self.run("cat", "/etc/passwd", "/etc/group").stdout
