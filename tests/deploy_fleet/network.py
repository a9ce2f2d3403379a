"""A small network on this machine: a bridge, and a network namespace for each device upon it."""

from __future__ import annotations

import secrets
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from tests.testbeds.cache import NoTestbedError, last_line
from tests.testbeds.systemd_container import SystemdContainer


class Network:
    """A bridge in 198.18.0.0/15, the range of RFC 2544 for tests, and namespaces that reach it only.

    Attributes:
        address: this machine's own, on the bridge; devices reach what listens there.
    """

    def __init__(self) -> None:
        number = secrets.randbelow(250) + 2
        self._subnet = f"198.18.{number}"
        self._name = f"ea{secrets.token_hex(3)}"
        self.address = f"{self._subnet}.1"
        self._cleanup = ExitStack()

    def add(self, index: int) -> tuple[Path, str]:
        """A namespace with an interface on the bridge: its path, and the address there."""
        name, outer = f"{self._name}-{index}", f"{self._name}-{index}"
        address = f"{self._subnet}.{10 + index}"
        _ip("netns", "add", name)
        self._cleanup.callback(_ip, "netns", "del", name)
        _ip("link", "add", outer, "type", "veth", "peer", "name", "host0", "netns", name)
        _ip("link", "set", outer, "master", self._name, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "host0")
        _ip("-n", name, "link", "set", "host0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        return Path("/run/netns") / name, address

    def __enter__(self) -> Self:
        try:
            _ip("link", "add", self._name, "type", "bridge")
            self._cleanup.callback(_ip, "link", "del", self._name)
            _ip("addr", "add", f"{self.address}/24", "dev", self._name)
            _ip("link", "set", self._name, "up")
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()


class NetworkedContainer(SystemdContainer):
    """A container in a network namespace that somebody made."""

    namespace: Path

    def _command(self) -> list[str]:
        place = f"--network-namespace-path={self.namespace}"
        return [place if word == "--private-network" else word for word in super()._command()]


def _ip(*words: str) -> None:
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NoTestbedError("devices on a network need ip: apt install iproute2") from error
    if done.returncode != 0:
        raise NoTestbedError(f"no network of our own here: {last_line(done.stderr)}")
