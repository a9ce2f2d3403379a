"""Updates under a real daemon that are disturbed: by stops, rot, bad names, and others at the store."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import TargetFile

from edge_agent.fleet.repository.layout import Channel
from edge_agent.service.updating.bundles import check_bundle
from edge_agent.update.install import roll_back
from edge_agent.update.store import Store
from tests.fleet.repository.workplace import Workplace
from tests.testbeds.waiting import eventually
from tests.updating.conftest import Device


def rot(device: Device) -> None:
    """What serves changes on the disk, and the daemon looks."""
    path = (device.models / "tiny").resolve() / "vocab.txt"
    path.write_bytes(path.read_bytes() + b"x\n")
    device.daemon.send(signal.SIGHUP)


def record(device: Device) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((device.models / ".store/journal/tiny.json").read_text())
    return found


@contextmanager
def another_at_the_store(device: Device) -> Iterator[None]:
    descriptor = os.open(device.models / ".store/lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sign(place: Workplace, path: str, content: bytes, custom: dict[str, str]) -> None:
    """Publishes what the operator's own command would refuse."""
    target = TargetFile.from_data(path, content, ["sha256"])
    target.unrecognized_fields["custom"] = custom
    with place.open() as repository:
        repository.add_file(target, content)
        with repository.edit_targets("targets") as targets:
            targets.targets[path] = target
        repository.publish_changes()


def bad_bundle(folder: Path, source: Path, name: str) -> tuple[bytes, str]:
    """A zip whose manifest lists a file of that name, and its digest."""
    manifest = json.loads((source / "bundle.json").read_text())
    manifest["version"] = "3.0.0"
    manifest["files"][name] = next(iter(manifest["files"].values()))
    raw = json.dumps(manifest).encode()
    with zipfile.ZipFile(folder / "bad.edgemodel", "w") as archive:
        archive.writestr("bundle.json", raw)
        for path in source.iterdir():
            if path.name != "bundle.json":
                archive.write(path, path.name)
    return (folder / "bad.edgemodel").read_bytes(), "sha256:" + hashlib.sha256(raw).hexdigest()


def begin(device: Device) -> None:
    device.ask("model-update", "u", name="tiny", version="1.1.0")
    device.model(installed_version="1.1.0", state="watching")


def start_again(device: Device, number: int = signal.SIGTERM) -> None:
    device.daemon.stop(number)
    device.probe.forget()
    device.daemon.start()


@pytest.mark.parametrize("updates", [{"watch_seconds": 4.0}])
def test_a_resumed_command_ends_when_the_watch_ends_and_no_earlier(device: Device) -> None:
    begin(device)
    start_again(device)
    device.model(state="watching", in_progress=True)
    assert device.end_of("model-update", "u")["result"]["version"] == "1.1.0"
    assert record(device)["state"] == "kept"


@pytest.mark.parametrize("updates", [{"watch_seconds": 600.0}])
def test_a_verdict_waits_for_another_process_at_the_store(device: Device) -> None:
    begin(device)
    with another_at_the_store(device):
        rot(device)
        device.daemon.wait_for_event("update.not_concluded")
    assert device.end_of("model-update", "u")["reason"].startswith("unhealthy_while_watched: ")
    assert device.version_that_answers() == "1.0.0"


@pytest.mark.parametrize("updates", [{"watch_seconds": 4.0}])
def test_a_rollback_by_the_command_line_ends_the_watch(device: Device) -> None:
    begin(device)
    roll_back(Store(device.models, check_bundle), "tiny")
    device.daemon.send(signal.SIGHUP)
    assert device.end_of("model-update", "u")["reason"].startswith("interrupted: somebody")
    device.model(state="rolled_back", in_progress=False)
    assert device.version_that_answers() == "1.0.0"


def test_what_rotted_on_the_disk_is_fetched_again(device: Device) -> None:
    device.ask("model-update", "u", name="tiny", version="1.1.0")
    device.end_of("model-update", "u")
    rot(device)
    device.ask("model-update", "v", name="tiny", version="1.1.0")
    assert device.end_of("model-update", "v")["result"] == {"name": "tiny", "version": "1.1.0"}
    start_again(device)
    device.model(installed_version="1.1.0")
    assert device.version_that_answers() == "1.1.0"


@pytest.mark.parametrize("updates", [{"watch_seconds": 600.0}])
def test_stops_in_good_order_are_no_cuts_however_many(device: Device) -> None:
    begin(device)
    for _ in range(3):
        start_again(device)
        device.model(installed_version="1.1.0", state="watching")
    for _ in range(2):
        start_again(device, signal.SIGKILL)
    assert device.model(state="rolled_back")["reason"].endswith("2 times")


def test_a_name_that_is_no_utf_8_is_refused_and_told(
    device: Device, versions: dict[str, Path], tmp_path: Path
) -> None:
    content, digest = bad_bundle(tmp_path, versions["1.1.0"], "\ud800x")
    custom = {"name": "tiny", "version": "3.0.0", "digest": digest}
    sign(device.place, "models/tiny-3.0.0.edgemodel", content, custom)
    device.ask("model-update", "u", name="tiny", version="3.0.0")
    assert device.end_of("model-update", "u")["reason"].startswith("bad_bundle: ")
    assert device.version_that_answers() == "1.0.0"


def test_a_start_beside_another_process_recovers_later(device: Device) -> None:
    device.ask("model-update", "u", name="tiny", version="1.1.0")
    device.end_of("model-update", "u")
    device.daemon.stop()
    device.probe.forget()
    with another_at_the_store(device):
        device.daemon.start()
        assert device.version_that_answers() == "1.1.0"

    def is_well() -> bool:
        heard = device.probe.on(f"{device.daemon.root}/health")
        return bool(heard) and heard[-1].json["reasons"] == []

    eventually(is_well, 60.0, "a health without a reason")


@pytest.mark.parametrize("updates", [{"poll_seconds": 1.0}])
def test_a_bad_model_of_the_channel_does_not_keep_the_others_back(
    device: Device, versions: dict[str, Path], tmp_path: Path
) -> None:
    content, digest = bad_bundle(tmp_path, versions["1.1.0"], "x/y")
    custom = {"name": "aaa", "version": "3.0.0", "digest": digest}
    sign(device.place, "models/aaa-3.0.0.edgemodel", content, custom)
    channel = Channel("default", {"aaa": "3.0.0", "tiny": "1.1.0"}).render()
    sign(device.place, "channels/default.json", channel, {})
    device.model(installed_version="1.1.0", state="kept")
