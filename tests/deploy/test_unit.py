"""The drop-in for Mosquitto's unit: systemd knows every line of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.hardened import FILES

UNIT = "[Service]\nType=notify\nExecStart=/bin/true\n"


def test_systemd_knows_every_line_of_the_drop_in(tmp_path: Path) -> None:
    """``systemd-analyze verify`` exits 0 on unknown keys, too: it must say nothing."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed")
    (tmp_path / "mosquitto.service").write_text(UNIT)
    shutil.copytree(FILES / "mosquitto.service.d", tmp_path / "mosquitto.service.d")
    done = subprocess.run(
        [program, "verify", "./mosquitto.service"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""
