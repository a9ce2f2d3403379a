"""What an update needs of the daemon around it, and where it keeps things."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Protocol

from edge_agent.service.models import Served
from edge_agent.service.updating.shadow import ShadowSentence
from edge_agent.service.updating.watching import Stats
from edge_agent.update.store import Store


class Host(Protocol):
    """What an update needs of the daemon around it; from any thread."""

    def serve_anew(self, stopping: Event) -> bool:
        """Reads the models' folders again; returns when requests are answered by what is there now.

        Returns:
            False where the daemon is about to end.
        """

    def served(self) -> Mapping[str, Served]:
        """What serves now, by name."""

    def fault_of(self, name: str) -> str | None:
        """What is wrong with a model now: on the disk, in its last canary, or that the worker hangs."""

    def stats(self, name: str) -> Stats:
        """What a model did so far."""

    def is_strained(self) -> bool:
        """Whether the board is hard pressed now."""

    def reason_to_wait(self) -> str | None:
        """Why this is not the time for an update, or None."""

    def sentences(self, name: str) -> tuple[ShadowSentence, ...]:
        """The latest sentences of a model and its answers to them."""

    def clock_synced(self) -> bool:
        """Whether the clock is synchronised."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where an update keeps things.

    Attributes:
        store: of models; None where no folder of the settings can have one.
        state: trusted metadata, parts of downloads, the last known time.
        has_other: whether a model of a name lies beside the store, and serves where the store has none.
    """

    store: Store | None
    state: Path
    has_other: Callable[[str], bool] = lambda _name: False
