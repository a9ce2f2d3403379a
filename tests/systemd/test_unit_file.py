"""The unit file by itself: systemd has nothing to say against it, and it is as safe as the issue wants."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.systemd.service import SYSUSERS_FILE, UNIT, UNIT_FILE
from tests.testbeds.installed_package import REPOSITORY

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here: apt install systemd"
)
DROP_INS = sorted(path.name for path in (REPOSITORY / "systemd").glob("*.conf"))


def unit_in(folder: Path) -> Path:
    """A copy whose program exists on this machine, as the real one's does not."""
    unit = folder / UNIT
    unit.write_text(
        UNIT_FILE.read_text().replace("ExecStart=/opt/edge-agent/bin/edge-agentd", "ExecStart=/bin/true")
    )
    return unit


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_systemd_verifies_it_in_silence(tmp_path: Path) -> None:
    done = analyze("verify", str(unit_in(tmp_path)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", DROP_INS)
def test_systemd_verifies_it_with_each_drop_in_that_is_shipped(tmp_path: Path, name: str) -> None:
    unit = unit_in(tmp_path)
    folder = tmp_path / f"{UNIT}.d"
    folder.mkdir()
    shutil.copy(REPOSITORY / "systemd" / name, folder)
    done = analyze("verify", str(unit))
    assert (done.stdout, done.stderr) == ("", "")


def test_its_exposure_is_1_5_at_most() -> None:
    done = analyze("security", "--offline=true", "--threshold=15", "--no-pager", str(UNIT_FILE))
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_verify_would_have_found_a_mistake(tmp_path: Path) -> None:
    unit = unit_in(tmp_path)
    unit.write_text(unit.read_text().replace("[Service]", "[Service]\nRestratSec=1"))
    assert "RestratSec" in analyze("verify", str(unit)).stderr


def test_the_user_can_be_made_from_its_file(tmp_path: Path) -> None:
    for name in ("etc", "usr/lib/sysusers.d"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(SYSUSERS_FILE, tmp_path / "usr/lib/sysusers.d")
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}"], check=True, capture_output=True)
    assert "edge-agent:x:" in (tmp_path / "etc/passwd").read_text()
    assert "video:x:" in (tmp_path / "etc/group").read_text()
