"""``self-test``: asks every part whether it works, by letting it work."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from edge_agent.link.protocol import LinkStatus
from edge_agent.service.commands.operation import Outcome
from edge_agent.service.commands.states import Interruption

DEADLINE_SECONDS = 60.0
LEAST_FREE_BYTES = 16_000_000
ANSWER_SECONDS = 20.0
_STEP_SECONDS = 0.25


class Singer(Protocol):
    """The part of the worker that is tested."""

    @property
    def faults(self) -> dict[str, str]:
        """Reasons why models failed their last canary, by model."""

    def canary(self, number: int) -> Event:
        """Sends a known sentence through every model; set when all have been asked."""


class Verdict(str, Enum):
    """How a check came out; a warning does not fail the test."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tested, and what is wrong with it, in words."""

    verdict: Verdict
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What is tested.

    Attributes:
        singer: the worker.
        models: what is wrong with each model on disk, by name; None where it is served.
        sentences: how many canaries the model with the most of them has.
        link: how the link is.
        clock_synced: whether the clock is synchronised.
        state: the state directory.
    """

    singer: Singer
    models: Callable[[], Mapping[str, str | None]]
    sentences: Callable[[], int]
    link: Callable[[], LinkStatus]
    clock_synced: Callable[[], bool]
    state: Path


class SelfTest:
    """Runs all checks.

    Args:
        parts: what is tested.
        answer_seconds: how long the worker may take for one canary of every model.
    """

    deadline_seconds = DEADLINE_SECONDS
    interruption = Interruption.RUN_AGAIN

    def __init__(self, parts: Parts, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._parts = parts
        self._answer_seconds = answer_seconds

    def run(self, arguments: Mapping[str, Any], stopping: Event) -> Outcome | None:
        """Tests; fails with the reasons of the checks that failed."""
        del arguments
        checks = self._models(stopping)
        if stopping.is_set():
            return None
        checks["broker"] = self._broker()
        checks["clock"] = self._clock()
        checks["disk"] = self._disk()
        checks["state_directory"] = self._state()
        reasons = [
            f"{name}: {check.reason}" for name, check in checks.items() if check.verdict is Verdict.FAILED
        ]
        result = {name: _render(check) for name, check in checks.items()}
        return Outcome("; ".join(reasons) or None, {"checks": result})

    def _models(self, stopping: Event) -> dict[str, Check]:
        """Every model through all its canaries, in turn with the requests."""
        models = self._parts.models()
        if not models:
            return {"models": Check(Verdict.FAILED, "no model was found")}
        faults: dict[str, str] = {}
        for number in range(max(1, self._parts.sentences())):
            done = self._parts.singer.canary(number)
            if not self._answered(done, stopping):
                faults["worker"] = f"did not answer within {self._answer_seconds:g} s"
                break
            for name, fault in self._parts.singer.faults.items():
                faults.setdefault(name, fault)
        checks = {
            f"model {name}": _checked(fault or faults.pop(name, None)) for name, fault in models.items()
        }
        return {**checks, **{name: _checked(fault) for name, fault in faults.items()}}

    def _answered(self, done: Event, stopping: Event) -> bool:
        """Whether the worker answered in time; not waited for when the daemon is about to end."""
        for _ in range(math.ceil(self._answer_seconds / _STEP_SECONDS)):
            if done.wait(_STEP_SECONDS) or stopping.is_set():
                return True
        return False

    def _broker(self) -> Check:
        return _checked(self._parts.link().fault)

    def _clock(self) -> Check:
        if self._parts.clock_synced():
            return Check(Verdict.OK)
        return Check(Verdict.WARNING, "the clock is not synchronised")

    def _disk(self) -> Check:
        try:
            free = shutil.disk_usage(self._parts.state).free
        except OSError as error:
            return Check(Verdict.FAILED, error.strerror or type(error).__name__)
        if free < LEAST_FREE_BYTES:
            return Check(Verdict.FAILED, f"only {free / 1e6:.1f} MB are free")
        return Check(Verdict.OK)

    def _state(self) -> Check:
        try:
            with tempfile.NamedTemporaryFile(dir=self._parts.state, prefix=".self-test.") as probe:
                probe.write(b"\0" * 4096)
                probe.flush()
        except OSError as error:
            return Check(Verdict.FAILED, f"cannot be written: {error.strerror or type(error).__name__}")
        return Check(Verdict.OK)


def _checked(fault: str | None) -> Check:
    return Check(Verdict.OK) if fault is None else Check(Verdict.FAILED, fault)


def _render(check: Check) -> dict[str, str | None]:
    return {"verdict": check.verdict.value, "reason": check.reason}
