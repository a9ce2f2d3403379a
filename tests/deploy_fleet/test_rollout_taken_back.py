"""A rollout over MQTT to three real systemds, a plug that is pulled after it, and its way back.

The tests are steps of one story, in the order in which they stand. What a bad version comes to is in
:mod:`tests.deploy_fleet.test_rollout_over_mqtt`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy_fleet.releases import MODEL, SENTENCE
from tests.deploy_fleet.signed import Signed, fleet, sign
from tests.deploy_fleet.site import Site, site_or_skip
from tests.testbeds.waiting import eventually
from tests.tiny_bundle import build_tiny_bundle

pytestmark = pytest.mark.slow

WEB_PORT = 8000
DEVICES = ("pi-1", "pi-2", "pi-3")


@dataclass(frozen=True, slots=True)
class Operated:
    """A site, and the repository that its devices take models from."""

    site: Site
    signed: Signed
    folder: Path

    def rollout(self, version: str) -> subprocess.CompletedProcess[str]:
        """``edge-agent fleet rollout``, one device first."""
        state = str(self.folder / f"rollout-{MODEL}-{version}.json")
        words = (MODEL, version, "--to", "all", "--waves", "1,100%", "--soak", "1s", "--deadline", "2m")
        return fleet("rollout", *words, "--state", state, "--broker", self.site.broker.url, check=False)

    def serving(self) -> list[str]:
        """The version that each device answers with."""
        return [self.site.ask(name, MODEL, SENTENCE)["version"] for name in DEVICES]

    def records(self) -> list[dict[str, str]]:
        """What each device's store noted of its last update; empty where there was none."""
        path = f"/var/lib/edge-agent/models/.store/journal/{MODEL}.json"
        said = [self.site.ssh(name, f"cat {path} || echo {{}}").stdout for name in DEVICES]
        return [json.loads(text) for text in said]


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Operated]:
    folder = tmp_path_factory.mktemp("operated")
    good = build_tiny_bundle(folder / "good" / MODEL, MODEL, version="1.1.0", seed=8)
    with site_or_skip(folder / "site", count=len(DEVICES), models={MODEL: tiny_folder}) as site:
        signed = sign(folder, good)
        address = site.network.address
        command = [sys.executable, "-m", "http.server", "--bind", address, str(WEB_PORT)]
        web = subprocess.Popen(
            command, cwd=signed.repository, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            site.configure(
                {"updates": {"repository": f"http://{address}:{WEB_PORT}", "watch_seconds": 2}},
                {"/etc/edge-agent/root.json": signed.root.read_text()},
            )
            yield Operated(site, signed, folder)
        finally:
            web.terminate()
            web.wait(10)


def test_the_version_reaches_all_devices_in_waves(operated: Operated) -> None:
    done = operated.rollout("1.1.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert operated.serving() == ["1.1.0"] * 3
    assert [record["state"] for record in operated.records()] == ["kept"] * 3


def test_a_device_whose_plug_was_pulled_serves_it_still(operated: Operated) -> None:
    before = operated.records()
    device = operated.site.devices["pi-3"]
    device.cut_power()
    device.boot()
    operated.site.wait_until_ready()
    eventually(lambda: operated.serving() == ["1.1.0"] * 3, 60, "answers of 1.1.0")
    assert operated.records() == before


def test_the_operator_brings_the_devices_of_a_rollout_back(operated: Operated) -> None:
    state = str(operated.folder / f"rollout-{MODEL}-1.1.0.json")
    done = fleet("rollout", "rollback", state, "--broker", operated.site.broker.url, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    eventually(lambda: operated.serving() == ["1.0.0"] * 3, 60)
