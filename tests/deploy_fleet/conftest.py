"""What is brought to the devices, once a session."""

from __future__ import annotations

import pytest

from tests.deploy_fleet.releases import Release, make_release
from tests.testbeds.debian_root import why_not


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    reason = why_not()
    if reason is not None:
        pytest.skip(f"no devices with a real systemd here: {reason}")
    return make_release(tmp_path_factory)
