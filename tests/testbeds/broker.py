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

    def __enter__(self) -> _Broker:
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
        extra: lines of its configuration.
    """

    def __init__(self, folder: Path, port: int | None = None, extra: tuple[str, ...] = ()) -> None:
        super().__init__(folder, port)
        lines = (
            "per_listener_settings false",
            f"listener {self.port} {HOST}",
            "allow_anonymous true",
            "set_tcp_nodelay true",
            "max_queued_messages 100000",
            "persistence true",
            f"persistence_location {folder}/",
            f"user {getpass.getuser()}",
            *extra,
        )
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def command(self) -> list[str]:
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        program = shutil.which("mosquitto", path=path)
        assert program, "the tests need mosquitto: apt install mosquitto"
        command = [program, "-c", str(self.folder / "mosquitto.conf")]
        return [*command, "-v"] if os.environ.get("MOSQUITTO_VERBOSE") else command


class Amqtt(_Broker):
    """The embedded broker of the demo; it knows MQTT 3.1.1 only."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "edge_agent.cli.embedded_broker", HOST, str(self.port)]
