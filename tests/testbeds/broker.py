"""Real brokers as child processes: Mosquitto (MQTT 5) and amqtt (3.1.1 only)."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from tests.testbeds.certificates import Issued
from tests.testbeds.waiting import eventually

HOST = "127.0.0.1"


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


class _Broker:
    """A broker process on one port, which may be stopped and started again."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"mqtt://{HOST}:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        assert self._process is None
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        eventually(lambda: listens(self.port), what="the broker")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self.thaw()
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Mosquitto(_Broker):
    """Mosquitto as ``deploy`` ships it: loopback, ``set_tcp_nodelay``, sessions kept on a clean stop.

    Args:
        folder: for its configuration, database and log.
        port: by default a free one.
        extra: lines of its configuration, for all listeners.
        acl: an access list; :meth:`set_acl` changes it while the broker runs.
        users: names and passwords; nobody else is let in.
        certificate: of a further listener with TLS, at :attr:`tls_port`.
        ca_file: who signs the certificates that clients must show there; None to ask for none.
        websockets: a further listener for websockets, at :attr:`websocket_port`; with TLS where there is a
            certificate.
        unix: a further listener on a unix socket, at :attr:`socket_path`.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        extra: tuple[str, ...] = (),
        *,
        acl: str | None = None,
        users: dict[str, str] | None = None,
        certificate: Issued | None = None,
        ca_file: Path | None = None,
        websockets: bool = False,
        unix: bool = False,
    ) -> None:
        super().__init__(folder, port)
        self.tls_port = free_port() if certificate else 0
        self.websocket_port = free_port() if websockets else 0
        self.socket_path = folder / "broker.sock"
        self._acl = folder / "acl"
        lines = [
            "per_listener_settings false",
            f"listener {self.port} {HOST}",
            f"allow_anonymous {'false' if users else 'true'}",
            "set_tcp_nodelay true",
            "max_queued_messages 100000",
            "persistence true",
            f"persistence_location {folder}/",
            f"user {getpass.getuser()}",
            *extra,
        ]
        if acl is not None:
            self._write_acl(acl)
            lines.append(f"acl_file {self._acl}")
        if users:
            lines.append(f"password_file {_password_file(folder / 'passwords', users)}")
        if certificate is not None:
            lines += [f"listener {self.tls_port} {HOST}", *_tls_lines(certificate, ca_file)]
        if websockets:
            lines += [f"listener {self.websocket_port}", "protocol websockets"]
            lines += _tls_lines(certificate, ca_file) if certificate is not None else []
        if unix:
            lines.append(f"listener 0 {self.socket_path}")
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start(self) -> None:
        super().start()
        for port in (self.tls_port, self.websocket_port):
            if port:
                eventually(lambda at=port: listens(at), what="a listener")  # type: ignore[misc]

    def set_acl(self, acl: str) -> None:
        """Another access list, from now on."""
        assert self._process is not None
        self._write_acl(acl)
        self._process.send_signal(signal.SIGHUP)

    def log_text(self) -> str:
        return (self.folder / "broker.log").read_text(encoding="utf-8", errors="replace")

    def _write_acl(self, acl: str) -> None:
        self._acl.write_text(acl, encoding="utf-8")
        self._acl.chmod(0o644)

    def command(self) -> list[str]:
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        program = shutil.which("mosquitto", path=path)
        assert program, "the tests need mosquitto: apt install mosquitto"
        command = [program, "-c", str(self.folder / "mosquitto.conf")]
        return [*command, "-v"] if os.environ.get("MOSQUITTO_VERBOSE") else command


def _tls_lines(certificate: Issued, ca_file: Path | None) -> list[str]:
    lines = [f"certfile {certificate.certificate}", f"keyfile {certificate.key}"]
    if ca_file is not None:
        lines += [f"cafile {ca_file}", "require_certificate true"]
    return lines


def _password_file(path: Path, users: dict[str, str]) -> Path:
    path.touch(mode=0o644)
    for user, password in users.items():
        subprocess.run(["mosquitto_passwd", "-b", str(path), user, password], check=True, capture_output=True)
    return path


class Amqtt(_Broker):
    """The embedded broker of the demo; it knows MQTT 3.1.1 only."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "edge_agent.cli.embedded_broker", HOST, str(self.port)]
