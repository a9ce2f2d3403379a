"""An SSH server as a layer of a container's root, with keys of this test session.

Whoever has the client's key is let in as root, and as ``pi``, who may use sudo without a password, as the
first user of a Raspberry Pi may.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.testbeds.cache import RELEASE, NoTestbedError, alone, cache, last_line

USER = "pi"
_ID = 1000
_PACKAGES = ("openssh-server", "sudo")
_ACCOUNTS = {
    "passwd": "sshd:x:109:65534::/run/sshd:/usr/sbin/nologin\n"
    f"{USER}:x:{_ID}:{_ID}::/home/{USER}:/bin/bash\n",
    "shadow": f"sshd:*:19700::::::\n{USER}:*:19700:0:99999:7:::\n",
    "group": f"{USER}:x:{_ID}:\n",
}
_UNIT = """\
[Unit]
After=network.target
[Service]
ExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/sshd_config
RuntimeDirectory=sshd
[Install]
WantedBy=multi-user.target
"""
_SETTINGS = """\
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
UseDNS no
MaxStartups 100
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True, slots=True)
class Keys:
    """Who may come in, and by what a device is known."""

    client: Path
    host_public: str


def lay_out_sshd(layer: Path, root: Path, folder: Path) -> Keys:
    """Puts the server, its settings and its keys into a folder that will be a layer.

    Args:
        layer: the folder.
        root: what it will lie over: a Debian whose packages need not be brought again.
        folder: for the client's key.

    Raises:
        NoTestbedError: the packages cannot be had.
    """
    for package in _packages(root):
        _unpack(package, layer)
    settings = layer / "etc/ssh"
    settings.mkdir(parents=True, exist_ok=True)
    client, host = folder / "client_key", settings / "host_key"
    for path in (client, host):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
    (settings / "sshd_config").write_text(_SETTINGS)
    shutil.copy(client.with_suffix(".pub"), settings / "authorized_keys")
    _add_user(layer, root)
    units = layer / "etc/systemd/system"
    (units / "multi-user.target.wants").mkdir(parents=True, exist_ok=True)
    (units / "ssh-of-the-test.service").write_text(_UNIT)
    (units / "multi-user.target.wants/ssh-of-the-test.service").symlink_to("../ssh-of-the-test.service")
    return Keys(client, " ".join(host.with_suffix(".pub").read_text().split()[:2]))


def _unpack(package: Path, layer: Path) -> None:
    """Unpacks into /usr what the package has in /lib and the like, which are links in a root of today."""
    content = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True)
    words = ["tar", "-x", "-C", str(layer), "--transform", r"s,^\./(lib|bin|sbin|lib64)(/|$),./usr/\1\2,xS"]
    subprocess.run(words, check=True, input=content.stdout)


def _add_user(layer: Path, root: Path) -> None:
    for name, lines in _ACCOUNTS.items():
        target = layer / "etc" / name
        shutil.copy2(root / "etc" / name, target)
        with target.open("a") as accounts:
            accounts.write(lines)
    home, rights = layer / "home" / USER, layer / "etc/sudoers.d" / USER
    home.mkdir(parents=True)
    os.chown(home, _ID, _ID)
    rights.parent.mkdir(exist_ok=True)
    rights.write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
    rights.chmod(0o440)


def _packages(root: Path) -> list[Path]:
    """The packages and what the root lacks of their dependencies, by what apt says of that root."""
    folder = cache() / f"{RELEASE}-{'-'.join(_PACKAGES)}"
    with alone(cache() / "ssh.lock"):
        if not (folder / "complete").exists():
            (folder / "partial").mkdir(parents=True, exist_ok=True)
            options = {
                "Dir::State::status": root / "var/lib/dpkg/status",
                "Dir::Cache::archives": folder,
                "Debug::NoLocking": "1",
            }
            words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
            _run("apt-get", *words, "-qq", "--yes", "--download-only", "--no-install-recommends",
                 "install", *_PACKAGES)  # fmt: skip
            (folder / "complete").touch()
    return sorted(folder.glob("*.deb"))


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise NoTestbedError(f"a device by SSH needs {command[0]}: apt install openssh-client") from error
    if done.returncode != 0:
        raise NoTestbedError(f"a device by SSH needs openssh-server: {last_line(done.stderr)}")
