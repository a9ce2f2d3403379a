"""A site: devices with a real systemd, each with an SSH server and its own address, and a broker for all.

How to use it::

    with site_or_skip(tmp_path, count=3) as site:              # bare machines: nothing of edge-agent on them
        site.ssh("pi-1", "uname -n")                           # as root; ssh -F site.ssh_config pi-1: as pi
    with site_or_skip(tmp_path, count=3, models={"tiny": folder}) as site:  # installed and serving
        site.configure({"updates": {"repository": f"http://{site.network.address}:8000"}})
        with Probe(site.broker.port, "edge-agent/#") as probe:
            probe.wait_for("edge-agent/pi-1/status")

Devices are named ``pi-1``, ``pi-2`` …; so are they in ``site.ssh_config``, in their settings and in topics.
The broker listens at ``site.network.address`` on port 1883 for them, and on a loopback port for tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy_fleet.network import Network, NetworkedContainer
from tests.deploy_fleet.sshd import USER, lay_out_sshd
from tests.systemd.service import SYSUSERS_FILE, UNIT, UNIT_FILE
from tests.testbeds.broker import Mosquitto
from tests.testbeds.cache import NoTestbedError
from tests.testbeds.debian_root import cached_root
from tests.testbeds.installed_package import REPOSITORY, lay_out_package
from tests.testbeds.waiting import eventually

PORT = 1883
_MODELS = "usr/share/edge-agent/models"
_SSH_SECONDS = 60.0
_READY_SECONDS = 180.0
# The shipped list; before it, who has no name, the tests, may do all. A device may ask itself.
_ACL = f"""topic readwrite #
{(REPOSITORY / "deploy/mosquitto/acl").read_text(encoding="utf-8")}
pattern write edge-agent/%u/in/+
"""


class Site:
    """Booted devices and their broker; made by :func:`site_or_skip`.

    Args:
        folder: for all of it.
        count: of devices.
        models: bundles by name; given, the package is laid out on the devices and serves these.
        cleanup: ends and removes everything.

    Attributes:
        broker: reachable by tests at ``broker.port``.
        devices: the containers, by name.
        passwords: of the devices at the broker, by name.
        ssh_config: for ``ssh -F``; its hosts are the names of the devices.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        models: Mapping[str, Path] | None,
        cleanup: ExitStack,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"pi-{number}" for number in range(1, count + 1)]
        self.passwords = {name: f"secret-of-{name}" for name in names}
        self.network = cleanup.enter_context(Network())
        self.devices: dict[str, NetworkedContainer] = {}
        self.addresses: dict[str, str] = {}
        layers = self._layers(folder, models, cleanup)
        self.broker = Mosquitto(
            folder / "broker",
            extra=("allow_anonymous true", f"listener {PORT} {self.network.address}"),
            acl=_ACL,
            users=self.passwords,
        )
        cleanup.enter_context(self.broker)
        for index, name in enumerate(names):
            device = NetworkedContainer(folder / name, layers=layers)
            device.namespace, self.addresses[name] = self.network.add(index)
            cleanup.callback(device.close)
            self.devices[name] = device
            if models is not None:
                self._write_settings(name, {})
            device.boot(wait=False)
        self.ssh_config = self._write_ssh_config(folder)
        for name, device in self.devices.items():
            eventually(lambda of=name: self._answers(of), _SSH_SECONDS, f"SSH of {name}")  # type: ignore[misc]
            lacking = device.what_it_lacks()
            if lacking is not None:
                raise NoTestbedError(lacking)
        if models is not None:
            self.wait_until_ready()

    def configure(
        self, settings: Mapping[str, Mapping[str, Any]], files: Mapping[str, str] | None = None
    ) -> None:
        """Gives the installed devices further settings, by section, and files, and starts them anew."""
        for name, device in self.devices.items():
            self._write_settings(name, settings)
            for path, text in (files or {}).items():
                (device.root / path.lstrip("/")).write_text(text)
            device.systemctl("restart", UNIT)
        self.wait_until_ready()

    def ssh(self, name: str, command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a line of shell on a device, as root."""
        done = subprocess.run(
            ["ssh", "-F", str(self.ssh_config), "-l", "root", name, command],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0 or not check, f"{command} on {name}: {done.stdout}{done.stderr}"
        return done

    def ask(self, name: str, model: str, text: str) -> dict[str, Any]:
        """What a device answers over the broker, asked on the device itself by its own name."""
        words = f"edge-agent send --json --device {name} --model {model} '{text}'"
        said = self.ssh(name, f"CREDENTIALS_DIRECTORY=/etc/credstore {words}").stdout
        answer: dict[str, Any] = json.loads(said)
        return answer

    # Small steps

    def wait_until_ready(self) -> None:
        """Until the service of each installed device is."""
        for device in self.devices.values():
            device.wait_for(UNIT, _READY_SECONDS, ActiveState="active")

    def _layers(self, folder: Path, models: Mapping[str, Path] | None, cleanup: ExitStack) -> list[Path]:
        layer = folder / "layer"
        layer.mkdir()
        cleanup.callback(shutil.rmtree, layer, ignore_errors=True)
        self._keys = lay_out_sshd(layer, cached_root(), folder)
        if models is not None:
            _lay_out_service(layer, models)
        return [layer]

    def _write_settings(self, name: str, settings: Mapping[str, Mapping[str, Any]]) -> None:
        sections: dict[str, dict[str, Any]] = {
            "device": {"id": name},
            "mqtt": {"host": self.network.address, "username": name, "reconnect_max_seconds": 1},
            "health": {"interval_seconds": 1},
        }
        for section, keys in settings.items():
            sections.setdefault(section, {}).update(keys)
        lines: list[str] = []
        for section, keys in sections.items():
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        root = self.devices[name].root
        for path, text in (
            ("etc/edge-agent/config.toml", "\n".join(lines) + "\n"),
            ("etc/credstore/mqtt.password", self.passwords[name]),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)

    def _write_ssh_config(self, folder: Path) -> Path:
        known, config = folder / "known_hosts", folder / "ssh_config"
        known.write_text("".join(f"{a} {self._keys.host_public}\n" for a in self.addresses.values()))
        lines = [f"Host {name}\n  HostName {address}" for name, address in self.addresses.items()]
        common = {
            "User": USER, "IdentityFile": self._keys.client, "IdentitiesOnly": "yes",
            "UserKnownHostsFile": known, "GlobalKnownHostsFile": "/dev/null", "BatchMode": "yes",
            "ConnectTimeout": "10", "LogLevel": "ERROR", "ControlMaster": "no",
        }  # fmt: skip
        lines += ["Host *", *(f"  {key} {value}" for key, value in common.items())]
        config.write_text("\n".join(lines) + "\n")
        return config

    def _answers(self, name: str) -> bool:
        said = self.ssh(name, "systemctl is-system-running", check=False).stdout.strip()
        return said in ("running", "degraded")


def _lay_out_service(layer: Path, models: Mapping[str, Path]) -> None:
    """The package, its unit, which starts at boot, its user, the command, and models."""
    lay_out_package(layer)
    units = layer / "etc/systemd/system"
    for source, target in ((UNIT_FILE, units / UNIT), (SYSUSERS_FILE, layer / "usr/lib/sysusers.d/ea.conf")):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    (units / "multi-user.target.wants" / UNIT).symlink_to(f"../{UNIT}")
    command = layer / "usr/local/bin/edge-agent"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.symlink_to("/opt/edge-agent/bin/edge-agent")
    for name, folder in models.items():
        shutil.copytree(folder, layer / _MODELS / name)


@contextmanager
def site_or_skip(
    folder: Path,
    *,
    count: int = 3,
    models: Mapping[str, Path] | None = None,
) -> Iterator[Site]:
    """A site; skips the test, with the reason in one line, where this machine cannot have one.

    With ``TESTBED_REQUIRED=1`` in the environment that is a failure, as for one container.
    """
    with ExitStack() as cleanup:
        try:
            site = Site(folder, count, models, cleanup)
        except (NoTestbedError, AssertionError) as error:
            if os.environ.get("TESTBED_REQUIRED") == "1":
                raise
            cleanup.close()
            pytest.skip(f"no devices with a real systemd here: {str(error).splitlines()[0]}")
        yield site
