"""How the update of each model stands, as ``model/<name>`` tells it (PROTOCOL §1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from threading import Lock

from edge_agent.update.following import is_newer
from edge_agent.update.refusal import Reason
from edge_agent.update.slots import Record, State


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of one model besides what serves.

    Attributes:
        state: of its latest update.
        in_progress: it has not ended.
        latest: the version that is to be had, as far as is known.
        percentage: of the download, while there is one.
        reason: why it ended as it did, or what it waits for, or None.
    """

    state: State = State.IDLE
    in_progress: bool = False
    latest: str | None = None
    percentage: int | None = None
    reason: str | None = None


class UpdateStates:
    """Written by the thread of an update, read by the main thread.

    Args:
        on_change: told that something changed; cheap, from any thread.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._lock = Lock()
        self._told: dict[str, Told] = {}

    def of(self, name: str) -> Told | None:
        """How the update of a model stands; None where nothing is known of one."""
        with self._lock:
            return self._told.get(name)

    def note(self, record: Record) -> None:
        """A record was written."""
        reason = None if record.reason is None else record.reason.value
        if record.detail is not None and reason is not None:
            reason = record.detail if record.detail.startswith(reason) else f"{reason}: {record.detail}"

        def change(told: Told) -> Told:
            latest = told.latest
            if record.state is State.DOWNLOADING and record.candidate is not None:
                latest = record.candidate.version
            elif latest is not None and record.serving is not None:
                latest = record.serving.version if is_newer(record.serving.version, latest) else latest
            return Told(record.state, not record.is_at_rest, latest, None, reason)

        self._change(record.name, change)

    def offer(self, versions: Mapping[str, str]) -> None:
        """These versions are to be had."""
        for name, version in versions.items():
            self._change(name, lambda told, version=version: replace(told, latest=version))  # type: ignore[misc]

    def download(self, name: str, percentage: int) -> None:
        """So much of the download is there."""
        self._change(
            name,
            lambda told: replace(told, percentage=percentage) if told.state is State.DOWNLOADING else told,
        )

    def wait(self, name: str, reason: str) -> None:
        """The update waits; of a poll nobody knows yet for which model, so nothing is told."""
        if name:
            self._change(name, lambda told: replace(told, in_progress=True, reason=reason))

    def fail(self, name: str, reason: str) -> None:
        """It failed before anything was written down of it."""
        if name:
            self._change(
                name, lambda told: replace(told, state=State.FAILED, in_progress=False, reason=reason)
            )

    def settle(self, name: str | None) -> None:
        """It ended; where nothing was done, it stands as before."""
        if name is not None:
            self._change(name, _settled)

    def _change(self, name: str, change: Callable[[Told], Told]) -> None:
        with self._lock:
            before = self._told.get(name, Told())
            after = change(before)
            self._told[name] = after
        if after != before:
            self._on_change()


def _settled(told: Told) -> Told:
    """What it waited for is over, too."""
    reason = None if (told.reason or "").startswith(f"{Reason.DEFERRED.value}: ") else told.reason
    return replace(told, in_progress=False, percentage=None, reason=reason)
