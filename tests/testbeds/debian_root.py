"""A cached Debian root, and why this machine may be unable to have one or to boot it.

The root is made once by debootstrap (a minute or three, 260 MB) and never changed afterwards: whoever boots
it lays a writable layer over it (:mod:`tests.testbeds.systemd_container`). It lies outside the repository, in
the folder that the environment variable ``TESTBED_CACHE`` names, by default ``edge-agent-testbeds`` in the
user's cache folder. The mirror is the one that apt has in its configuration here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.testbeds.cache import RELEASE, NoTestbedError, alone, cache, last_line, mirror

_PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,mosquitto,mosquitto-clients,ca-certificates"
_REVISION = 1
"""Goes up when what is in the root changes, so that an older cached one is not taken."""

_PROGRAMS = {"systemd-nspawn": "systemd-container", "nsenter": "util-linux", "unshare": "util-linux"}
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_UNSHARE = ("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork")
_TRY = (
    "mount -t tmpfs none {folder} && mkdir {folder}/u {folder}/w {folder}/m && "
    "mount -t overlay -o lowerdir=/usr,upperdir={folder}/u,workdir={folder}/w none {folder}/m"
)


def cached_root() -> Path:
    """The root folder, made where it is missing. Never write to it.

    Raises:
        NoTestbedError: this machine cannot have it, or may not boot it.
    """
    reason = why_not()
    if reason is not None:
        raise NoTestbedError(reason)
    root = cache() / f"{RELEASE}-{_REVISION}"
    with alone(cache() / "lock"):
        if not root.is_dir():
            _bootstrap(root)
    return root


def why_not() -> str | None:
    """Why no system can be booted in a container here, in one line; None where it can."""
    if os.geteuid() != 0:
        return "a real systemd needs root"
    for program, package in _PROGRAMS.items():
        if shutil.which(program, path=_PATH) is None:
            return f"a real systemd needs {program}: apt install {package}"
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(
            [*_UNSHARE, "sh", "-ec", _TRY.format(folder=folder)],
            capture_output=True,
            text=True,
            check=False,
        )
    if tried.returncode != 0:
        return f"a real systemd needs namespaces and overlayfs: {last_line(tried.stderr)}"
    return None


def _bootstrap(root: Path) -> None:
    if shutil.which("debootstrap", path=_PATH) is None:
        raise NoTestbedError("a real systemd needs debootstrap: apt install debootstrap")
    fresh = root.with_name(root.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", RELEASE, str(fresh), mirror()],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": _PATH, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
    )
    if made.returncode != 0:
        raise NoTestbedError(f"debootstrap cannot make a root here: {last_line(made.stdout + made.stderr)}")
    (fresh / "etc/machine-id").write_text("")  # each copy gets its own, and no boot counts as the first one
    (fresh / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (fresh / "etc/resolv.conf").unlink(missing_ok=True)
    shutil.rmtree(fresh / "var/cache/apt/archives", ignore_errors=True)
    units = fresh / "etc/systemd/system"
    (units / "multi-user.target.wants/mosquitto.service").unlink()
    (units / "systemd-firstboot.service").symlink_to("/dev/null")  # it would ask, and there is nobody
    fresh.rename(root)
