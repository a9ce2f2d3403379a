"""The broker of ``deploy/mosquitto``, with exactly those files; only paths, ports and user are the test's."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbeds.broker import HOST, Mosquitto, free_port

FILES = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto"
SCRIPT = FILES / "make-certificates.sh"
PLACE = "/etc/mosquitto/edge-agent/"
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True, slots=True)
class Keys:
    """What ``make-certificates.sh`` made: an authority, a broker, and any clients."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def settings(self, name: str, port: int) -> dict[str, Any]:
        """The section ``mqtt`` of a daemon that comes with this certificate."""
        return {
            "host": HOST,
            "port": port,
            "tls": True,
            "ca_file": str(self.ca),
            "cert_file": str(self.certificate(name)),
            "key_file": str(self.key(name)),
        }


def run_script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs ``make-certificates.sh``, whatever comes of it."""
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def make_keys(folder: Path, *clients: str, broker: tuple[str, ...] = (HOST, "localhost")) -> Keys:
    """An authority, a broker's certificate and those of clients; a dot makes a program of a device."""
    steps = [("ca",), ("broker", *broker)]
    steps += [("client" if "." in name else "device", name) for name in clients]
    for step in steps:
        done = run_script(folder, *step)
        assert done.returncode == 0, done.stderr
    return Keys(folder)


class HardenedBroker(Mosquitto):
    """Mosquitto with Debian's main file and the files of ``deploy/mosquitto`` in ``conf.d``.

    Args:
        folder: for everything.
        keys: its authority and certificate.
        files: which of the files lie in ``conf.d``.
        users: user name to password.
        replacements: further text to replace in the files, for what only a test can know.
    """

    def __init__(
        self,
        folder: Path,
        keys: Keys,
        *,
        files: tuple[str, ...] = ("edge-agent.conf",),
        users: Mapping[str, str] | None = None,
        replacements: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder)
        self.password_port = free_port()
        self.plain_port = free_port()
        self._place = folder / "edge-agent"
        self._replacements = {
            PLACE: f"{self._place}/",
            "listener 8883\n": f"listener {self.port} {HOST}\n",
            "listener 8884\n": f"listener {self.password_port} {HOST}\n",
            "listener 1883 ": f"listener {self.plain_port} ",
            **(replacements or {}),
        }
        self._fill_place(keys, users or {})
        self._fill_conf_d(files)

    def place(self, name: str, content: bytes) -> None:
        """Puts a file where the configuration's own lie."""
        (self._place / name).write_bytes(content)

    def allow(self, *lines: str) -> None:
        """Adds to the acl, before the start."""
        with (self._place / "acl").open("a", encoding="utf-8") as acl:
            acl.write("\n".join(("", *lines, "")))

    @property
    def database(self) -> Path:
        return self.folder / "mosquitto.db"

    def log_text(self) -> str:
        return (self.folder / "broker.log").read_text(encoding="utf-8")

    def _fill_place(self, keys: Keys, users: Mapping[str, str]) -> None:
        self._place.mkdir(exist_ok=True)
        for name in ("ca.pem", "broker.pem", "broker.key", "revoked.pem"):
            (self._place / name).write_bytes((keys.folder / name).read_bytes())
        (self._place / "acl").write_bytes((FILES / "acl").read_bytes())
        passwords = self._place / "passwords"
        passwords.touch(mode=0o600)
        for user, password in users.items():
            subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, password], check=True)

    def _fill_conf_d(self, files: tuple[str, ...]) -> None:
        """Debian's own ``mosquitto.conf``, but for the folders and the user."""
        (self.folder / "mosquitto.conf").write_text(
            f"persistence true\npersistence_location {self.folder}/\nlog_dest stderr\n"
            f"user {getpass.getuser()}\ninclude_dir {self.folder}/conf.d\n",
            encoding="utf-8",
        )
        conf_d = self.folder / "conf.d"
        conf_d.mkdir(exist_ok=True)
        for name in files:
            text = (FILES / name).read_text(encoding="utf-8")
            for old, new in self._replacements.items():
                text = text.replace(old, new)
            assert "/etc/" not in "".join(line for line in text.splitlines() if not line.startswith("#"))
            (conf_d / name).write_text(text, encoding="utf-8")
