"""The stage of ``edge-agent demo``: a broker and a daemon as children on a free loopback port.

Both die with this program, however it ends: on the way out of the ``with`` they are asked to stop and
waited for; if this program is killed, the kernel sends them SIGTERM (``prctl(2)``, ``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep

from edge_agent.errors import BrokerError, SettingsError

HOST = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
_READY_SECONDS = 20.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.02
_LOG_LINES = 5
_SBIN = ("/usr/sbin", "/usr/local/sbin")

_MOSQUITTO = """\
listener {port} {host}
allow_anonymous true
set_tcp_nodelay true
persistence false
"""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def mosquitto_path() -> str | None:
    """Where Mosquitto is installed; Debian puts it where users' PATH does not look."""
    return shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), *_SBIN)))


@contextmanager
def broker(folder: Path, port: int) -> Iterator[str]:
    """A broker on ``HOST:port``: Mosquitto where installed, else amqtt; gives its name.

    Raises:
        SettingsError: neither is installed, or the port is taken.
        BrokerError: it does not come up.
    """
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise SettingsError(
                f"port {port} is taken: {error.strerror}", hint="choose another by --port"
            ) from error
    mosquitto = mosquitto_path()
    if mosquitto is not None:
        config = folder / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""  # to change user would undo PR_SET_PDEATHSIG
        config.write_text(_MOSQUITTO.format(port=port, host=HOST) + user)
        name, command = "Mosquitto", [mosquitto, "-c", str(config)]
    elif find_spec("amqtt") is not None:
        name, command = "amqtt", [sys.executable, "-m", "edge_agent.cli.embedded_broker", HOST, str(port)]
    else:
        hint = "sudo apt install mosquitto, or pip install 'edge-agent[demo]'"
        raise SettingsError("there is neither Mosquitto nor amqtt on this machine", hint=hint)
    with child(command, folder / "broker.log") as process:
        _wait(lambda: _listens(port), process, folder / "broker.log", name)
        yield name


@contextmanager
def daemon(folder: Path, port: int, device: str, bundle: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``edge-agentd`` with settings of its own, on the broker at ``port``, serving one bundle."""
    config = folder / "config.toml"
    config.write_text(
        f'[device]\nid = "{device}"\nstate_directory = {json.dumps(str(folder / "state"))}\n'
        f"runtime_directory = {json.dumps(str(folder / 'runtime'))}\n"
        f'[mqtt]\nhost = "{HOST}"\nport = {port}\n'
        f"[models]\ndirectories = {json.dumps([str(bundle.resolve())])}\n"
        '[log]\nlevel = "warning"\nformat = "text"\n'
    )
    with child(
        [sys.executable, "-m", "edge_agent.service.agent", "--config", str(config)], folder / "daemon.log"
    ) as process:
        yield process


def last_lines(log: Path) -> str:
    """The end of a child's log, in one line."""
    with suppress(OSError):
        return " | ".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
    return ""


@contextmanager
def child(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a session of its own, so that the terminal's Ctrl-C reaches only this program."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_AGENT_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509  # no thread of ours runs yet
        )
    try:
        yield process
    finally:
        _stop(process)


def _die_with_parent(parent: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        if hasattr(libc, "prctl"):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return prepare


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, name: str) -> None:
    deadline = monotonic() + _READY_SECONDS
    while not ready():
        if process.poll() is not None or monotonic() > deadline:
            raise BrokerError(f"{name} did not start: {last_lines(log) or 'it says nothing'}")
        sleep(_POLL_SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0
