"""A Mosquitto and a daemon on it, for the tests of the commands that talk to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

from edge_agent.cli import stage
from edge_agent.link.requester import Requester

DEVICE = "under-test"
_ONLINE_SECONDS = 30.0


@dataclass(frozen=True)
class House:
    """A broker with one device on it, and a settings file that names both."""

    port: int
    url: str
    config: Path


@pytest.fixture(scope="module")
def house(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    port = stage.free_port()
    url = f"mqtt://{stage.HOST}:{port}"
    with stage.broker(folder, port), stage.daemon(folder, port, DEVICE, tiny_folder):
        with Requester.connect(url) as requester:
            deadline = monotonic() + _ONLINE_SECONDS
            while DEVICE not in requester.devices(timeout=1.0):
                assert monotonic() < deadline, (folder / "daemon.log").read_text()
        yield House(port, url, folder / "config.toml")
