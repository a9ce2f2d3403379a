"""What a mirror, or whoever sits at the repository's disk, does to bundles, with a real daemon under it.

The attacks on metadata are in tests/update/test_trust.py; docs/security.md names all of them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.updating.conftest import Device


def _bundle(device: Device) -> Path:
    (found,) = (device.place.repository / "targets").rglob("*tiny-1.1.0*")
    return found


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _take_a_file_out(path: Path) -> None:
    with zipfile.ZipFile(path) as source:
        kept = {name: source.read(name) for name in source.namelist() if name != "golden.jsonl"}
    with zipfile.ZipFile(path, "w") as target:
        for name, content in kept.items():
            target.writestr(name, content)


def _add_a_file(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as target:
        target.writestr("sitecustomize.py", "raise SystemExit")


def _versions(device: Device) -> set[str]:
    """What the store holds, by version; what is half unpacked would be here, too."""
    found = (device.models / ".store").rglob("bundle.json")
    return {json.loads(path.read_bytes())["version"] for path in found}


@pytest.mark.parametrize("spoil", [_truncate, _take_a_file_out], ids=["truncated", "without one file"])
def test_a_partial_bundle_is_refused_and_nothing_of_it_stays(
    device: Device, spoil: Callable[[Path], None]
) -> None:
    """Uptane's partial bundle installation."""
    spoil(_bundle(device))
    device.ask("model-update", "partial", name="tiny", version="1.1.0")
    ended = device.end_of("model-update", "partial")
    assert ended["status"] == "failed"
    assert ended["reason"].split(":")[0] in ("altered", "too_large", "unreachable")
    assert device.version_that_answers() == "1.0.0"
    assert _versions(device) == {"1.0.0"}
    assert list((device.models / ".store/incoming").iterdir()) == []


def test_extraneous_files_of_a_mirror_are_never_fetched_and_in_a_bundle_refused(device: Device) -> None:
    """The TUF specification's extraneous dependencies: a model needs nothing but its own signed bundle."""
    for name in ("models/evil-1.0.0.edgemodel", "channels/evil.json"):
        path = device.place.repository / "targets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"evil")
    _add_a_file(_bundle(device))
    device.ask("model-update", "extra", name="tiny", version="1.1.0")
    ended = device.end_of("model-update", "extra")
    assert ended["status"] == "failed"
    assert ended["reason"].split(":")[0] in ("altered", "too_large")
    device.ask("model-update", "sound", name="tiny", version="1.2.0")
    assert device.end_of("model-update", "sound")["status"] == "successful"
    assert device.version_that_answers() == "1.2.0"
    assert _versions(device) == {"1.0.0", "1.2.0"}
    names = [path.name for folder in (device.daemon.state, device.models) for path in folder.rglob("*")]
    assert not [name for name in names if "evil" in name or "sitecustomize" in name]
