"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tiny_bundle import build_tiny_bundle


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside() -> None:
    """The environment of whoever runs the tests must not decide how they go."""
    for name in [name for name in os.environ if name.startswith("EDGE_AGENT_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small valid bundle named ``tiny``; shared, so do not change it."""
    return build_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")
