"""Bad models, each really bad: refused by the right name, while the old one serves and nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import edge_agent as package
from edge_agent.service.updating.bundles import check_bundle, wanted_from
from edge_agent.service.updating.proof import ProofLimits, prove
from edge_agent.service.updating.shadow import ShadowSentence
from edge_agent.update.install import install
from edge_agent.update.refusal import Reason, UpdateError
from edge_agent.update.slots import Record, State
from edge_agent.update.store import Store
from edge_agent.update.upkeep import record_of
from tests.updating.bad_models import (
    SENTENCES,
    Extra,
    build_classifier,
    calls_itself,
    loops,
    splits_into_none,
    takes,
)
from tests.updating.proof_children import children, wait_for_child

HARMLESS = ("downloading", "verifying", "trying", "failed")


class Machine:
    """A machine that serves version 1.0.0 of ``small`` from its store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.store = Store(folder / "models", check_bundle, reserve_bytes=0)
        self.told: list[str] = []

    def candidate(self, extra: Extra | None = None, *, wrong: bool = False) -> Path:
        return build_classifier(self._folder / "1.1.0", "1.1.0", extra, wrong=wrong)

    def install(self, version: str, bundle: Path, limits: ProofLimits | None = None, **proof: Any) -> None:
        def prove_here(folder: Path) -> None:
            prove(folder, limits or ProofLimits(), **proof)

        def tell(record: Record) -> None:
            self.told.append(record.state.value)

        install(self.store, wanted_from(bundle), prove_here, on_change=tell)
        assert self.version() == version

    def version(self) -> str:
        """What the link serves, loaded and asked as a daemon would."""
        with package.load(self.store.models / "small") as model:
            assert model.predict("turn on the lamp").model == "small"
            return model.manifest.version

    def assert_unharmed(self, reason: Reason, *, condemned: bool) -> None:
        """The old one serves, the end is written down, and neither files nor processes are left over."""
        assert self.version() == "1.0.0"
        with self.store.opened():
            record = record_of(self.store, "small")
            assert all(self.store.holds(digest) for digest in self.store.versions())
        assert (record.state, record.reason) == (State.FAILED, reason)
        assert record.serving is not None
        assert record.serving.version == "1.0.0"
        assert record.candidate is not None
        assert record.condemns(record.candidate.digest) is condemned
        assert tuple(self.told) == HARMLESS
        assert list((self.store.folder / "incoming").iterdir()) == []
        assert children() == []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a machine; to be copied."""
    folder = tmp_path_factory.mktemp("served")
    Machine(folder).install("1.0.0", build_classifier(folder / "1.0.0"))
    return folder


@pytest.fixture
def machine(served: Path, tmp_path: Path) -> Machine:
    shutil.copytree(served / "models", tmp_path / "models", symlinks=True)
    return Machine(tmp_path)


@dataclass(frozen=True)
class Bad:
    """A bad model, and what is said of it."""

    reason: Reason
    words: str
    extra: Extra | None = None
    wrong: bool = False
    limits: ProofLimits = field(default_factory=ProofLimits)
    condemned: bool = True


BAD = {
    "wrong answers": Bad(Reason.PROOF, "golden sentence 2 expected", wrong=True),
    "slow": Bad(
        Reason.TOO_SLOW_HERE,
        "ms for a golden sentence",
        loops(100_000),
        limits=ProofLimits(max_latency_ms=1.0),
    ),
    "big": Bad(
        Reason.TOO_BIG_HERE, "MB of memory while it serves", takes(100), limits=ProofLimits(max_model_mb=64)
    ),
    "huge": Bad(
        Reason.TOO_BIG_HERE,
        "took more than 200 MB",
        takes(2000),
        limits=ProofLimits(memory_bytes=200_000_000),
    ),
    "a graph that runs itself": Bad(Reason.PROOF, "loaded it (SIGSEGV)", calls_itself),
    "a split into nothing": Bad(Reason.PROOF, "loaded it (SIG", splits_into_none),
    "an endless load": Bad(
        Reason.TOO_SLOW_HERE, "more than 1 s of processor time", loops(), limits=ProofLimits(cpu_seconds=1)
    ),
    "no end on a board that may be busy": Bad(
        Reason.DEADLINE, "within 1 s", loops(), limits=ProofLimits(wall_seconds=1.0), condemned=False
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_model_is_refused_by_name_and_hurts_nothing(machine: Machine, kind: str) -> None:
    bad = BAD[kind]
    with pytest.raises(UpdateError) as refused:
        machine.install("1.1.0", machine.candidate(bad.extra, wrong=bad.wrong), bad.limits)
    assert refused.value.reason is bad.reason
    assert bad.words in str(refused.value)
    assert "\n" not in str(refused.value)
    machine.assert_unharmed(bad.reason, condemned=bad.condemned)


def _answers(machine: Machine, texts: Sequence[str]) -> tuple[ShadowSentence, ...]:
    """What the serving model says, as the daemon keeps it."""
    with package.load(machine.store.models / "small") as model:
        found = [model.predict(text) for text in texts]
    return tuple(
        ShadowSentence(text, answer.recognized, answer.label)
        for text, answer in zip(texts, found, strict=True)
    )


def test_a_model_that_answers_live_sentences_as_the_old_one_did_is_installed(machine: Machine) -> None:
    machine.install("1.1.0", machine.candidate(), shadow=_answers(machine, SENTENCES))


def test_a_model_that_disagrees_with_the_old_one_is_refused(machine: Machine) -> None:
    same = _answers(machine, SENTENCES)
    others = [ShadowSentence("play the lamp", True, "HassTurnOff"), ShadowSentence("la luz", True, "x")]
    with pytest.raises(UpdateError, match="4 of the latest 6 sentences") as refused:
        machine.install("1.1.0", machine.candidate(), ProofLimits(min_agreement=0.7), shadow=(*same, *others))
    assert refused.value.reason is Reason.DISAGREES
    assert "lamp" not in str(refused.value)
    machine.assert_unharmed(Reason.DISAGREES, condemned=True)


def _freeze(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _terminate(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize(
    ("strike", "reason"),
    [(_freeze, Reason.DEADLINE), (_kill, Reason.NO_MEMORY), (_terminate, Reason.INTERRUPTED)],
    ids=["frozen", "killed by the kernel", "terminated"],
)
def test_what_befalls_the_proof_from_outside_condemns_no_model(
    machine: Machine, strike: Callable[[int], None], reason: Reason
) -> None:
    limits = ProofLimits(wall_seconds=4.0 if reason is Reason.DEADLINE else 120.0)
    striking = threading.Thread(target=lambda: strike(wait_for_child()))
    striking.start()
    with pytest.raises(UpdateError) as refused:
        machine.install("1.1.0", machine.candidate(loops()), limits)
    striking.join()
    assert (refused.value.reason, refused.value.exit_code) == (reason, 1)
    machine.assert_unharmed(reason, condemned=False)


def test_a_proof_is_stopped_from_another_thread(machine: Machine) -> None:
    stopping = threading.Event()
    asked_at: list[float] = []

    def stop() -> None:
        wait_for_child()
        asked_at.append(time.monotonic())
        stopping.set()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(UpdateError, match="was stopped"):
        machine.install("1.1.0", machine.candidate(loops()), stopping=stopping)
    took_seconds = time.monotonic() - asked_at[0]
    thread.join()
    assert took_seconds < 10  # far under the limits of a proof, on a machine however busy
    machine.assert_unharmed(Reason.INTERRUPTED, condemned=False)
