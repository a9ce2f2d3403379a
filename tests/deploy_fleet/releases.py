"""What is brought to a fleet: a release with a small model, and other versions of it, good and bad."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.installing import make_wheels
from tests.testbeds.installed_package import REPOSITORY
from tests.tiny_bundle import build_tiny_bundle

MODEL = "tiny"
SENTENCE = "turn on the lamp in the kitchen"


@dataclass(frozen=True, slots=True)
class Release:
    """A folder as ``wheels.sh --complete`` makes it, and bundles beside it."""

    folder: Path
    good: Path
    """1.1.0, a folder."""
    other: Path
    """1.2.0, a file; as good, and so whoever expects another answer of it finds it wrong."""
    bad: Path
    """9.9.9, a file whose third golden sentence it answers wrongly."""


def make_release(factory: pytest.TempPathFactory) -> Release:
    """Skips the test where no wheels can be had."""
    wheels = make_wheels(factory).base
    top = factory.mktemp("release")
    folder = top / "release"
    shutil.copytree(wheels, folder / "wheels")
    shutil.copytree(REPOSITORY / "systemd", folder / "systemd")
    for name in ("install.sh", "config.toml"):
        shutil.copy(REPOSITORY / "deploy" / name, folder)
    build_tiny_bundle(folder / "models" / MODEL, MODEL)
    good = build_tiny_bundle(top / "good" / MODEL, MODEL, version="1.1.0", seed=8)
    other = build_tiny_bundle(top / "other" / MODEL, MODEL, version="1.2.0", seed=9)
    bad = build_tiny_bundle(top / "bad" / MODEL, MODEL, version="9.9.9", wrong_golden=True)
    return Release(folder, good, _packed(other), _packed(bad))


def _packed(bundle: Path) -> Path:
    target = bundle.parent / f"{bundle.name}.edgemodel"
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(bundle.iterdir()):
            archive.write(path, path.name)
    return target
