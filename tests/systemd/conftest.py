"""One board for all tests of this folder, with the service as an installation leaves it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.asker import Asker
from tests.systemd.service import Service, lay_out_service
from tests.testbeds.cache import NoTestbedError
from tests.testbeds.debian_root import why_not
from tests.testbeds.installed_package import REPOSITORY
from tests.testbeds.systemd_container import SystemdContainer, container_or_skip


@pytest.fixture(scope="session")
def service_layer(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Path]:
    """What an installation adds to a root; 200 MB, so it is not kept."""
    reason = why_not()
    if reason is not None:
        pytest.skip(f"no real systemd here: {reason}")
    layer = tmp_path_factory.mktemp("systemd") / "layer"
    try:
        lay_out_service(layer, {"tiny": tiny_folder, "home": REPOSITORY / "models/home"})
    except NoTestbedError as error:
        pytest.skip(f"no real systemd here: {error}")
    yield layer
    shutil.rmtree(layer)


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory, service_layer: Path) -> Iterator[SystemdContainer]:
    with container_or_skip(tmp_path_factory.mktemp("board"), layers=[service_layer]) as booted:
        booted.systemctl("start", "mosquitto")
        yield booted


@pytest.fixture
def service(board: SystemdContainer) -> Iterator[Service]:
    """The unit, not started."""
    service = Service(board)
    service.reset()
    yield service
    service.board.systemctl("stop", "edge-agent", check=False)


@pytest.fixture
def asker(board: SystemdContainer) -> Iterator[Asker]:
    with Asker(board) as asker:
        yield asker
