"""A rollout over MQTT to three real systemds: a bad version halts at the first device, a good one arrives.

The updates run under the shipped unit, in its sandbox, from a web server on this machine. The tests are steps
of one story, in the order in which they stand.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.deploy_fleet.signed import Signed, sign
from tests.deploy_fleet.site import Site, site_or_skip
from tests.systemd.service import UNIT
from tests.testbeds.probe import Probe
from tests.tiny_bundle import build_tiny_bundle

pytestmark = pytest.mark.slow

MODEL = "tiny"
SENTENCE = "turn on the lamp in the kitchen"
_MAIN = "from edge_agent.cli.main import main; raise SystemExit(main())"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """1.1.0, which is good, and 9.9.9, which answers a golden sentence wrongly."""
    folder = tmp_path_factory.mktemp("operator")
    good = build_tiny_bundle(folder / "good", MODEL, version="1.1.0", seed=8)
    bad = build_tiny_bundle(folder / "bad", MODEL, version="9.9.9", wrong_golden=True)
    return sign(folder, good, bad)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, signed: Signed, tiny_folder: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site") / "site"
    with (
        site_or_skip(folder, count=3, models={MODEL: tiny_folder}) as site,
        _served(signed.repository, site.network.address) as url,
    ):
        for name, device in site.devices.items():
            settings = device.root / "etc/edge-agent/config.toml"
            (settings.parent / "root.json").write_bytes(signed.root.read_bytes())
            updates = f'[updates]\nrepository = "{url}"\nwatch_seconds = 3\n'
            settings.write_text(f"{settings.read_text()}{updates}")
            site.ssh(name, f"systemctl restart {UNIT}")
        yield site


def _served(folder: Path, address: str) -> Any:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    class Served(ThreadingHTTPServer):
        def __enter__(self) -> str:  # type: ignore[override]
            threading.Thread(target=self.serve_forever, daemon=True).start()
            return f"http://{address}:{self.server_port}/"

        def __exit__(self, *arguments: object) -> None:
            self.shutdown()
            self.server_close()

    return Served((address, 0), partial(Quiet, directory=str(folder)))


def rollout(site: Site, folder: Path, version: str) -> tuple[int, dict[str, Any]]:
    """Its exit code and its table."""
    words = ["--to", "all", "--waves", "1,100%", "--max-failures", "0%", "--soak", "2s", "--deadline", "2m"]
    broker = f"mqtt://127.0.0.1:{site.broker.port}"
    state = folder / f"{version}.json"
    command = [sys.executable, "-c", _MAIN, "fleet", "rollout", MODEL, version, *words]
    done = subprocess.run(
        [*command, "--broker", broker, "--state", str(state), "--json"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    sys.stderr.write(done.stdout + done.stderr)
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def versions(site: Site) -> dict[str, str]:
    """What answers on each device."""
    return {name: site.ask(name, MODEL, SENTENCE)["version"] for name in site.devices}


def test_a_bad_version_halts_at_the_canary(site: Site, tmp_path: Path) -> None:
    code, told = rollout(site, tmp_path, "9.9.9")
    assert code == 4, told
    assert versions(site) == dict.fromkeys(site.devices, "1.0.0")
    with Probe(site.broker.port, "edge-agent/+/cmd/model-update/+", "edge-agent/+/model/tiny") as probe:
        said = {name: probe.wait_for(f"edge-agent/{name}/model/tiny")[0].json for name in site.devices}
        failed = [name for name, each in said.items() if each["state"] == "failed"]
        assert len(failed) == 1
        assert said[failed[0]]["reason"].startswith("failed_its_proof: ")
        waiting = [
            heard for heard in probe.heard if "/cmd/" in heard.topic and heard.json["status"] == "init"
        ]
        assert waiting == []


def test_a_good_version_reaches_all(site: Site, tmp_path: Path) -> None:
    code, told = rollout(site, tmp_path, "1.1.0")
    assert code == 0, told
    assert versions(site) == dict.fromkeys(site.devices, "1.1.0")


def test_it_was_one_life_of_each_daemon(site: Site) -> None:
    for name, device in site.devices.items():
        shown = site.ssh(name, f"systemctl show {UNIT} --property=NRestarts,ActiveState").stdout
        assert "NRestarts=0" in shown
        assert "ActiveState=active" in shown
        assert "denied" not in site.ssh(name, f"journalctl -u {UNIT} --no-pager").stdout
        assert (device.root / "var/lib/private/edge-agent/models/tiny").is_symlink() or (
            device.root / "var/lib/edge-agent/models/tiny"
        ).is_symlink()
