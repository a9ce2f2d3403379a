"""A broker for the whole module, a tiny model for the whole session, a daemon for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe
from tests.tiny_bundle import build_tiny_bundle


@pytest.fixture(scope="session")
def built_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models' directory with one bundle, to read only."""
    folder = tmp_path_factory.mktemp("models")
    build_tiny_bundle(folder / "tiny")
    return folder


@pytest.fixture
def models(built_models: Path, tmp_path: Path) -> Path:
    """A models' directory with one bundle, to change."""
    return Path(shutil.copytree(built_models, tmp_path / "models"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        assert isinstance(running, Mosquitto)
        yield running


@pytest.fixture
def daemon(tmp_path: Path, broker: Mosquitto, models: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "daemon", broker.port, (models,)) as running:
        yield running


@pytest.fixture
def probe(broker: Mosquitto) -> Iterator[Probe]:
    """Hears everything under the base topic."""
    with Probe(broker.port, "edge-agent/#") as connected:
        yield connected
