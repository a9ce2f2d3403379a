"""A repository with one model, and bundles to publish."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fleet.repository.workplace import Workplace
from tests.tiny_bundle import build_tiny_bundle


@pytest.fixture
def empty(tmp_path: Path) -> Workplace:
    """A repository that holds nothing yet."""
    place = Workplace(tmp_path)
    place.create()
    return place


@pytest.fixture(scope="session")
def _published(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    place = Workplace(tmp_path_factory.mktemp("workplace"))
    place.create()
    place.publish(tiny_folder, groups=("kitchens",))
    return place.folder


@pytest.fixture
def place(_published: Path, tmp_path: Path) -> Workplace:
    """A repository with tiny 1.0.0, which the channel ``kitchens`` names."""
    shutil.copytree(_published, tmp_path, dirs_exist_ok=True)
    return Workplace(tmp_path)


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny 1.1.0; do not change it."""
    return build_tiny_bundle(tmp_path_factory.mktemp("newer") / "tiny", version="1.1.0", seed=8)


@pytest.fixture(scope="session")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """acme-home 1.0.0; do not change it."""
    return build_tiny_bundle(tmp_path_factory.mktemp("acme") / "acme", "acme-home", seed=9)
