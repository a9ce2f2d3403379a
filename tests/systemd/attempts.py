"""Runs inside the unit's sandbox, in the daemon's place: tries what must be refused and what must be granted.

Not a test: tests/systemd/test_sandbox.py puts it into the container. It prints one line an attempt, of JSON.
Attempts that are named as arguments are the only ones; outside of a sandbox only harmless ones may be.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

STATE = Path("/var/lib/edge-agent")
FOLDERS = (STATE, *map(Path, ("/var/cache/edge-agent", "/run/edge-agent", "/tmp", "/var/tmp", "/dev/shm")))
LIBC = ctypes.CDLL(None, use_errno=True)


def libc(name: str, *arguments: object) -> int:
    """A call of the C library; raises what it says."""
    result = int(getattr(LIBC, name)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def run_a_copy(folder: Path) -> None:
    """What an intruder does who can write: brings a program."""
    program = folder / "ls"
    shutil.copy("/bin/ls", program)
    program.chmod(0o700)
    try:
        run(str(program))
    finally:
        program.unlink()


def load_a_copy(folder: Path) -> None:
    library = folder / "z.so"
    shutil.copy(next(Path("/usr/lib").glob("*/libz.so.1")), library)
    try:
        ctypes.CDLL(str(library))
    finally:
        library.unlink()


def run_from_memory() -> None:
    memory = os.memfd_create("program")
    os.write(memory, Path("/bin/ls").read_bytes())
    subprocess.run([f"/proc/self/fd/{memory}"], pass_fds=[memory], check=True, capture_output=True)


def run_by_the_loader() -> None:
    run(str(next(Path("/usr/lib").glob("*/ld-linux-*.so.*"))), "/bin/ls")


def writable(folder: Path) -> None:
    (folder / "probe").write_text("x")
    (folder / "probe").unlink()


def sensors() -> None:
    for name in ("/sys/class/thermal", "/sys/class/power_supply", "/sys/devices/system/cpu"):
        list(Path(name).iterdir())
    for name in ("/proc/meminfo", "/proc/uptime", "/proc/stat", "/proc/sys/kernel/random/boot_id"):
        Path(name).read_text()


REFUSED: dict[str, Callable[[], object]] = {
    "write below /etc": lambda: Path("/etc/probe").write_text("x"),
    "write below /usr": lambda: Path("/usr/share/probe").write_text("x"),
    "write to the package": lambda: Path("/opt/edge-agent/lib/probe").write_text("x"),
    "write to the settings": lambda: os.open("/etc/edge-agent/config.toml", os.O_WRONLY),
    "read /root": lambda: list(Path("/root").iterdir()),
    "read /home": lambda: list(Path("/home").iterdir()),
    "read /etc/shadow": lambda: Path("/etc/shadow").read_text(),
    "see other processes": lambda: Path("/proc/1/cmdline").read_text(),
    "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3),
    "netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "privileged port": lambda: socket.create_server(("127.0.0.1", 80)),
    "run a shell": lambda: run("/bin/sh", "-c", "true"),
    "run systemctl": lambda: run("/bin/systemctl", "--version"),
    "run by the loader": run_by_the_loader,
    "run from memory": run_from_memory,
    "memory to write and execute": lambda: mmap.mmap(-1, 4096, prot=7),
    "become root": lambda: os.setuid(0),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "mount": lambda: libc("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "new namespace": lambda: libc("unshare", 0x10000000),
    "trace": lambda: libc("ptrace", 16, os.getppid(), None, None),
    "change the kernel": lambda: os.open("/proc/sys/vm/swappiness", os.O_WRONLY),
    "read the kernel's log": lambda: os.open("/dev/kmsg", os.O_RDONLY),
    **{f"run a program from {folder}": (lambda at=folder: run_a_copy(at)) for folder in FOLDERS},  # type: ignore[misc]
    **{f"load a library from {folder}": (lambda at=folder: load_a_copy(at)) for folder in FOLDERS},  # type: ignore[misc]
}

GRANTED: dict[str, Callable[[], object]] = {
    **{f"write to {folder}": (lambda at=folder: writable(at)) for folder in FOLDERS},  # type: ignore[misc]
    "run the interpreter": lambda: run(sys.executable, "-c", "pass"),
    "read sensors": sensors,
    "the firmware's mailbox": lambda: os.open("/dev/vcio", os.O_RDWR),
    "ask the clock": lambda: libc("adjtimex", ctypes.create_string_buffer(512)),
    "listen on loopback": lambda: socket.create_server(("127.0.0.1", 9464)),
    "open a TCP connection": lambda: socket.create_connection(("127.0.0.1", 1883)),
    "open a unix socket": lambda: socket.socket(socket.AF_UNIX).connect("/run/broker/mqtt.sock"),
    "no core files": lambda: 1 / (resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)),
}


def main() -> None:
    """Tries, and says for each attempt whether it worked."""
    attempts = {**REFUSED, **GRANTED}
    for name in sys.argv[1:] or attempts:
        error = None
        try:
            attempts[name]()
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        print(json.dumps({"attempt": name, "error": error}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
