"""What a review tried and found right where no other test held it: models in several places, and new ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_agent.fleet.repository.publishing import publish
from tests.fleet.repository.workplace import Workplace
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe
from tests.tiny_bundle import build_tiny_bundle
from tests.updating.conftest import Device

UPDATES = 6
MOST_GROWTH_BYTES = 10_000_000


@pytest.fixture
def shipped(
    tmp_path: Path, place: Workplace, versions: dict[str, Path], updates: dict[str, Any]
) -> Iterator[Device]:
    """Serves tiny 1.0.0 from the folder of the package, behind that of the store, which is empty."""
    models, package = tmp_path / "models", tmp_path / "package"
    shutil.copytree(versions["1.0.0"], package / "tiny")
    root = tmp_path / "root.json"
    root.write_bytes(place.first_root)
    settings = {
        "updates": {"repository": str(place.repository), "root": str(root), "watch_seconds": 1.0, **updates}
    }
    with (
        Mosquitto(tmp_path / "broker") as broker,
        Probe(broker.port, "edge-agent/#") as probe,
        Daemon(tmp_path / "daemon", broker.port, (models, package), settings=settings) as daemon,
    ):
        yield Device(daemon, probe, place, models)


def test_a_model_of_the_package_is_updated_and_comes_back_untouched(shipped: Device) -> None:
    shipped.ask("model-rollback", "early", name="tiny")
    assert shipped.end_of("model-rollback", "early")["reason"].startswith("nothing_to_fall_back_to: ")
    shipped.ask("model-update", "up", name="tiny", version="1.1.0")
    assert shipped.end_of("model-update", "up")["status"] == "successful"
    assert shipped.version_that_answers() == "1.1.0"
    shipped.ask("model-rollback", "back", name="tiny")
    assert shipped.end_of("model-rollback", "back")["status"] == "successful"
    assert shipped.version_that_answers() == "1.0.0"
    assert not (shipped.models / "tiny").exists()


def test_a_model_that_the_device_did_not_have_is_installed_beside_the_others(
    device: Device, tmp_path: Path
) -> None:
    with device.place.open() as repository:
        publish(repository, [build_tiny_bundle(tmp_path / "second" / "other", "other", version="1.0.0")])
    device.ask("model-update", "new", name="other", version="1.0.0")
    assert device.end_of("model-update", "new")["result"] == {"name": "other", "version": "1.0.0"}
    device.probe.publish(f"{device.daemon.root}/in/other", "turn on the kitchen light")
    device.probe.wait_for(f"{device.daemon.root}/out/other")
    assert device.version_that_answers() == "1.0.0"
    device.ask("model-rollback", "gone", name="other")
    assert device.end_of("model-rollback", "gone")["reason"].startswith("nothing_to_fall_back_to: ")


@pytest.mark.parametrize("updates", [{"watch_seconds": 0.0}])
def test_many_updates_leave_no_memory_thread_or_file_behind(device: Device) -> None:
    def update(number: int) -> None:
        device.ask("model-update", f"n{number}", name="tiny", version=("1.1.0", "1.2.0")[number % 2])
        assert device.end_of("model-update", f"n{number}")["status"] == "successful"

    update(0)
    daemon = psutil.Process(device.daemon.pid)
    memory, threads, files = daemon.memory_info().rss, daemon.num_threads(), daemon.num_fds()
    for number in range(1, UPDATES):
        update(number)
    assert daemon.memory_info().rss < memory + MOST_GROWTH_BYTES
    assert daemon.num_threads() <= threads + 1
    assert daemon.num_fds() <= files + 2
    kept = [path for path in (device.models / ".store").iterdir() if path.name.startswith("sha256-")]
    assert len(kept) == 3
