"""A model that ends the process while it is loaded is left out after two ends; real processes end here."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.errors import BundleError
from edge_agent.service.loading import GuardedLoader
from edge_agent.service.models import load_catalogue
from edge_agent.service.poison import PoisonGuard
from tests.fakes.model import FakeLoader

_ENDS = """
import os, sys
from pathlib import Path
from edge_agent.service.loading import GuardedLoader
from edge_agent.service.poison import PoisonGuard
from tests.fakes.model import FakeLoader
class Loader(FakeLoader):
    def load(self, path):
        os.kill(os.getpid(), int(sys.argv[3]))
GuardedLoader(Loader(), PoisonGuard.open(Path(sys.argv[1]), crash_note=False)).load(Path(sys.argv[2]))
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make(tmp_path / "models" / "home")


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "in-loading"


def make(folder: Path, version: str = "1.0.0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "version").write_text(version)
    return folder


def end_loading(record: Path, bundle: Path, number: int = signal.SIGKILL) -> None:
    """A process that loads this bundle, and dies of it."""
    done = subprocess.run([sys.executable, "-c", _ENDS, record, bundle, str(int(number))], check=False)
    assert done.returncode == -number


@contextmanager
def life(record: Path) -> Iterator[tuple[GuardedLoader, FakeLoader]]:
    """A process that ends well."""
    guard = PoisonGuard.open(record, crash_note=False)
    loader = FakeLoader()
    yield GuardedLoader(loader, guard), loader
    guard.close()


def test_a_model_that_loads_is_loaded_as_without_a_guard(record: Path, bundle: Path) -> None:
    with life(record) as (guarded, loader):
        assert guarded.load(bundle).version == "1.0.0"
        assert guarded.digest(bundle) == loader.digest(bundle)
        assert loader.loaded == ["home 1.0.0"]


def test_a_model_that_ended_the_process_once_is_tried_again_and_cleared_where_it_loads(
    record: Path, bundle: Path
) -> None:
    for _ in range(3):
        end_loading(record, bundle)
        with life(record) as (guarded, _loader):
            assert guarded.load(bundle).name == "home"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])  # the kernel out of memory; the runtime
def test_a_model_that_ended_the_process_twice_is_left_out_with_a_remedy_and_the_others_serve(
    record: Path, bundle: Path, number: int
) -> None:
    make(bundle.parent / "other", "2.0.0")
    for _ in range(2):
        end_loading(record, bundle, number)
    for _ in range(2):  # and in all lives to come
        with life(record) as (guarded, loader):
            catalogue = load_catalogue([bundle.parent], guarded)
            assert loader.loaded == ["other 2.0.0"]
        assert catalogue["other"].fault is None
        assert catalogue["home"].served is None
        fault = catalogue["home"].fault or ""
        assert "it ended the process twice while it was loaded, so it is left out" in fault
        assert "`systemctl stop` and `start` tries again" in fault


def test_another_content_of_a_model_that_was_left_out_is_tried(record: Path, bundle: Path) -> None:
    for _ in range(2):
        end_loading(record, bundle)
    make(bundle, "1.0.1")
    with life(record) as (guarded, _loader):
        assert guarded.load(bundle).version == "1.0.1"
    make(bundle, "1.0.0")
    with life(record) as (guarded, _loader), pytest.raises(BundleError, match="twice"):
        guarded.load(bundle)


def test_a_model_that_is_refused_has_not_ended_the_process_however_often(record: Path, bundle: Path) -> None:
    for fault, version in ((BundleError, "bad"), (ZeroDivisionError, "bug")) * 3:
        make(bundle, version)
        with life(record) as (guarded, _loader), pytest.raises(fault):
            guarded.load(bundle)
    make(bundle, "1.0.0")
    with life(record) as (guarded, _loader):
        assert guarded.load(bundle).version == "1.0.0"


def test_the_guard_holds_nothing_between_two_loads(record: Path, bundle: Path) -> None:
    for _ in range(3):
        guard = PoisonGuard.open(record, crash_note=False)
        assert not guard.hung
        GuardedLoader(FakeLoader(), guard).load(bundle)
        # not closed: as after SIGKILL, the record is what the process left


def test_where_nothing_can_be_recorded_models_are_loaded_all_the_same(record: Path, bundle: Path) -> None:
    record.mkdir()
    with life(record) as (guarded, _loader):
        assert guarded.load(bundle).version == "1.0.0"
