"""A device whose daemon takes its models from a signed repository."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_agent.fleet.repository.publishing import publish, set_channel
from tests.fleet.repository.workplace import Workplace
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe
from tests.tiny_bundle import build_tiny_bundle

VERSIONS = ("1.0.0", "1.1.0", "1.2.0")


@dataclass(frozen=True)
class Device:
    """A daemon, who hears it, and its operator's repository."""

    daemon: Daemon
    probe: Probe
    place: Workplace
    models: Path

    def ask(self, operation: str, number: str, **arguments: Any) -> None:
        """Commands it."""
        self.probe.publish(
            f"{self.daemon.root}/cmd/{operation}/{number}", {"status": "init", **arguments}, retain=True
        )

    def end_of(self, operation: str, number: str, within_seconds: float = 60.0) -> dict[str, Any]:
        """The final state of a command."""
        topic = f"{self.daemon.root}/cmd/{operation}/{number}"

        def is_final(heard: Any) -> bool:
            return bool(heard.topic == topic and heard.json.get("status") in ("successful", "failed"))

        found: dict[str, Any] = self.probe.wait_until(is_final, within_seconds).json
        return found

    def model(self, within_seconds: float = 60.0, **wanted: Any) -> dict[str, Any]:
        """``model/tiny``, when it says what is wanted."""
        topic = f"{self.daemon.root}/model/tiny"

        def is_it(heard: Any) -> bool:
            return bool(heard.topic == topic and wanted.items() <= heard.json.items())

        found: dict[str, Any] = self.probe.wait_until(is_it, within_seconds).json
        return found

    def version_that_answers(self) -> str:
        """Of a request that is sent now."""
        topic = f"{self.daemon.root}/out/tiny"
        count = len(self.probe.on(topic)) + 1
        self.probe.publish(f"{self.daemon.root}/in/tiny", "turn on the kitchen light")
        version: str = self.probe.wait_for(topic, count=count)[-1].json["version"]
        return version

    def move_channel(self, version: str) -> None:
        """What devices that poll should have."""
        with self.place.open() as repository:
            set_channel(repository, "default", {"tiny": version}, allow_older=True)


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles of tiny by version; do not change them."""
    folder = tmp_path_factory.mktemp("versions")
    return {
        version: build_tiny_bundle(folder / version, version=version, seed=seed)
        for seed, version in enumerate(VERSIONS)
    }


@pytest.fixture(scope="session")
def _repository(tmp_path_factory: pytest.TempPathFactory, versions: dict[str, Path]) -> Path:
    place = Workplace(tmp_path_factory.mktemp("operator"))
    place.create()
    with place.open() as repository:
        publish(repository, list(versions.values()))
        set_channel(repository, "default", {"tiny": "1.0.0"})
    return place.folder


@pytest.fixture
def place(_repository: Path, tmp_path: Path) -> Workplace:
    """A repository with three versions of tiny, of which the channel names the first."""
    folder = tmp_path / "operator"
    shutil.copytree(_repository, folder)
    return Workplace(folder)


@pytest.fixture
def updates() -> dict[str, Any]:
    """Settings of updates that a test overrides."""
    return {}


@pytest.fixture
def device(
    tmp_path: Path, place: Workplace, versions: dict[str, Path], updates: dict[str, Any]
) -> Iterator[Device]:
    """Runs tiny 1.0.0 from a plain folder; it is watched for a second."""
    models = tmp_path / "models"
    shutil.copytree(versions["1.0.0"], models / "tiny")
    root = tmp_path / "root.json"
    root.write_bytes(place.first_root)
    settings = {
        "updates": {"repository": str(place.repository), "root": str(root), "watch_seconds": 1.0, **updates}
    }
    with (
        Mosquitto(tmp_path / "broker") as broker,
        Probe(broker.port, "edge-agent/#") as probe,
        Daemon(tmp_path / "daemon", broker.port, (models,), settings=settings) as daemon,
    ):
        yield Device(daemon, probe, place, models)
