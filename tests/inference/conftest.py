"""Fixtures of the inference tests: tiny bundles, built once and copied for whoever changes one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.inference.model import Model
from tests.tiny_bundle import build_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle folder to read only."""
    return build_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle folder to change."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def tiny_model(tiny_bundle: Path) -> Iterator[Model]:
    """A loaded model to ask, not to close."""
    with Model.load(tiny_bundle) as model:
        yield model
