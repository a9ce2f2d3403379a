"""The process is killed at every system call by which trusted metadata and downloads are written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from edge_agent.update.trust import Repository
from tests.update.test_power_cut import CALLS
from tests.update.tuf_repository import NOW, TufRepository

DIGEST = "sha256:" + "b" * 64
PROGRAM = (
    "import sys; from pathlib import Path; from edge_agent.update.trust import Repository; "
    "from tests.update.tuf_repository import NOW; base = Path(sys.argv[1]); "
    "client = Repository(sys.argv[2], (base / 'root.json').read_bytes(), base / 'tuf', NOW); "
    "client.refresh(); client.download(client.find('home', '1.1.0'))"
)


def _straced(device: Path, source: Path, call: str | None, when: int) -> subprocess.CompletedProcess[str]:
    inject = [] if call is None else ["-e", f"inject={call}:signal=SIGKILL:when={when}"]
    traced = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", *inject]
    return subprocess.run(
        [*traced, sys.executable, "-c", PROGRAM, str(device), str(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def _trusted_timestamp(device: Path) -> bytes:
    return (device / "tuf" / "metadata" / "timestamp.json").read_bytes()


@pytest.mark.slow
def test_a_kill_at_every_system_call_leaves_old_or_new_trust_and_the_next_look_succeeds() -> None:
    """Enumerated, not sampled; takes half a minute."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    if subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], check=False).returncode:
        pytest.skip("needs leave to trace a process")
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        _kill_at_each(Path(folder))


def _kill_at_each(folder: Path) -> None:
    repository = TufRepository(folder / "repository")
    device = folder / "device"
    device.mkdir()
    (device / "root.json").write_bytes(repository.pinned)
    Repository(str(repository.folder), repository.pinned, device / "tuf", NOW).refresh()
    old = _trusted_timestamp(device)
    repository.add("home", "1.1.0", b"bundle " * 50_000, DIGEST)
    repository.root.version += 1
    repository.write_root()
    repository.publish()
    new = (repository.metadata / "timestamp.json").read_bytes()
    whole = _straced(Path(shutil.copytree(device, folder / "whole")), repository.folder, None, 0)
    assert whole.returncode == 0, whole.stderr
    calls = Counter(re.findall(r"^(?:\[pid +\d+\] )?(\w+)\(", whole.stderr, re.MULTILINE))
    assert calls.total() > 20
    for call, count in calls.items():
        for when in range(1, count + 1):
            copy = Path(shutil.copytree(device, folder / "copy", symlinks=True))
            assert _straced(copy, repository.folder, call, when).returncode != 0, (call, when)
            assert _trusted_timestamp(copy) in (old, new), (call, when)
            client = Repository(str(repository.folder), repository.pinned, copy / "tuf", NOW)
            client.refresh()
            path = client.download(client.find("home", "1.1.0"))
            assert path.read_bytes() == b"bundle " * 50_000
            shutil.rmtree(copy)
