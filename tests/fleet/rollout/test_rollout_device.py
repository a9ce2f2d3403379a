"""A rollout and its rollback to a real daemon that takes its models from a signed repository."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.command import Done, edge_agent
from tests.updating.conftest import Device, _repository, device, place, updates, versions

__all__ = ["_repository", "device", "place", "updates", "versions"]  # fixtures
FILE = "rollout-tiny-1.1.0.json"


def fleet(folder: Path, *arguments: str) -> Done:
    """With the device's own settings, which name the broker."""
    return edge_agent("fleet", *arguments, "--config", "daemon/config.toml", cwd=folder)


def test_a_real_device_takes_a_version_goes_back_and_refuses_an_unknown_one(
    device: Device, tmp_path: Path
) -> None:
    done = fleet(tmp_path, "rollout", "tiny", "1.1.0", "--to", "default", "--soak", "0")
    assert done.code == 0, done.out + done.err
    assert "1 device: 1 updated" in done.out
    assert "edge-agent fleet channel default tiny 1.1.0" in done.out
    assert device.version_that_answers() == "1.1.0"
    (known,) = map(json.loads, fleet(tmp_path, "status", "--json").out.splitlines())
    assert known["models"]["tiny"]["version"] == "1.1.0"
    back = fleet(tmp_path, "rollout", "rollback", FILE, "--json")
    assert back.code == 0, back.out + back.err
    assert json.loads(back.out.splitlines()[-1])["counts"] == {"returned": 1}
    assert device.version_that_answers() == "1.0.0"
    refused = fleet(tmp_path, "rollout", "tiny", "9.9.9", "--to", "default")
    assert refused.code == 4
    assert "failed: unknown_target: " in refused.out, refused.out
    assert device.version_that_answers() == "1.0.0"
