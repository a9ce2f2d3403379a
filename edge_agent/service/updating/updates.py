"""Everything about updates that the daemon owns, in one part: made once, started after the models serve."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final

from edge_agent.log import get_logger
from edge_agent.service.commands.models import ModelRollback, ModelUpdate
from edge_agent.service.commands.operation import Operation
from edge_agent.service.figures import Figures
from edge_agent.service.models import Catalogue, Served
from edge_agent.service.sensing import Sensing
from edge_agent.service.updating.bundles import check_bundle, has_other, store_folder
from edge_agent.service.updating.deferral import Deferral, DeferralRules
from edge_agent.service.updating.host import Places
from edge_agent.service.updating.shadow import ShadowSentence, shadow_of
from edge_agent.service.updating.states import Told
from edge_agent.service.updating.updater import Updater
from edge_agent.service.updating.watching import Stats
from edge_agent.settings import Settings
from edge_agent.update.refusal import UpdateError
from edge_agent.update.store import Store

if TYPE_CHECKING:
    from edge_agent.service.updating.polling import Look, Poller

FOLDER: Final = "update"
_LOOK_SECONDS: Final = 0.25
_JOIN_SECONDS: Final = 2.0
_TEND_SECONDS: Final = 2.0
_RECOVER_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What updates see of the daemon; from any thread.

    Attributes:
        catalogue: what is served.
        canary_faults: why models failed their last canary.
        is_stuck: whether the worker hangs.
        clock_synced: whether the clock is synchronised.
        reload: has the main thread read the models' folders; it calls :meth:`Updates.reloaded` then.
        on_told: has the main thread tell ``model/<name>`` again.
    """

    catalogue: Callable[[], Catalogue]
    canary_faults: Callable[[], Mapping[str, str]]
    is_stuck: Callable[[], bool]
    clock_synced: Callable[[], bool]
    reload: Callable[[], None]
    on_told: Callable[[], None]


class Updates:
    """The host of an :class:`~edge_agent.service.updating.updater.Updater`, and who lets it run.

    Args:
        settings: of which the models' folders and ``updates`` are read.
        state: the device's state folder.
        figures: what models did.
        sensing: how the board is.
        around: the rest of the daemon.

    Attributes:
        shadow: where live sentences are noted; None where the settings ask for none.
    """

    def __init__(
        self, settings: Settings, state: Path, figures: Figures, sensing: Sensing, around: Surroundings
    ) -> None:
        self._rules = settings.updates
        self._figures = figures
        self._sensing = sensing
        self._around = around
        self._log = get_logger()
        self.shadow = shadow_of(self._rules.shadow_sentences)
        self._unrecovered: str | None = None
        self._poller: Poller | None = None
        self._deferral = Deferral(DeferralRules.of(settings))
        self._stopping = Event()
        self._again: tuple[str, ...] = ()
        self._threads: list[Thread] = []
        self._waiting: list[Event] = []
        self._lock = Lock()
        directories = settings.models.directories
        folder = store_folder(directories)
        self._updater = Updater(
            self._rules,
            Places(
                None if folder is None else Store(folder, check_bundle),
                state / FOLDER,
                partial(has_other, directories),
            ),
            self,
            on_told=around.on_told,
        )

    @property
    def operations(self) -> dict[str, Operation]:
        """The commands about models."""
        rules = self._rules
        return {
            "model-update": ModelUpdate(self._updater, rules.deadline_seconds, rules.watch_seconds),
            "model-rollback": ModelRollback(self._updater),
        }

    def told(self, name: str) -> Told | None:
        """How the update of a model stands; None where nothing is known of one."""
        return self._updater.states.of(name)

    def recover(self) -> None:
        """Puts the store right after a cut; before models are looked for."""
        try:
            self._again = self._updater.recover()
            self._unrecovered = None
        except UpdateError as error:
            self._unrecovered = f"models: updates cannot be recovered: {error}"
            self._log.error("update.unrecovered", reason=str(error))

    @property
    def fault(self) -> str | None:
        """What is broken, in words, or None."""
        return self._unrecovered or (None if self._poller is None else self._poller.fault)

    @property
    def tend_seconds(self) -> float:
        """How often :meth:`tend` is to be called; 0 for never."""
        if self._rules.poll_seconds and self._rules.repository:
            return min(_TEND_SECONDS, self._rules.poll_seconds / 2)
        return _TEND_SECONDS if self._rules.wait_above_per_minute else 0.0

    def start(self) -> None:
        """Watches again what was being watched, and begins to ask the repository; once models serve."""
        if self._again or self._unrecovered is not None:
            self._begin("update-watch", self._take_up)
        if self._rules.poll_seconds and self._rules.repository:
            from edge_agent.service.updating.polling import Poller  # its libraries load only where it polls

            self._poller = Poller(
                self._rules.repository,
                self._rules.poll_seconds,
                on_look=lambda why: self._begin("update-look", lambda: self._look(why)),
                may_look=lambda: not self._updater.is_busy,
            )

    def tend(self) -> None:
        """Asks the repository where it is time, and sees how busy the device is; from the main thread."""
        if self._poller is not None:
            self._poller.step()
        if self._rules.wait_above_per_minute:
            self.reason_to_wait()

    def _take_up(self) -> None:
        """Recovers, where another process was at the store at the start; then watches again."""
        while self._unrecovered is not None and not self._stopping.wait(_RECOVER_SECONDS):
            try:
                self._again = self._updater.recover_late(self._stopping)
            except UpdateError as error:
                self._log.debug("update.unrecovered", reason=str(error))
            else:
                self._unrecovered = None
                self.serve_anew(self._stopping)
        self._updater.watch_again(self._again, self._stopping)

    def _look(self, why: Look) -> None:
        self._log.info("update.looks", reason=why.value)
        is_done = self._updater.look(self._stopping)
        if self._poller is not None:
            self._poller.looked(is_done=is_done)

    def stop(self) -> None:
        """Ends what is under way; the next start takes it up."""
        self._stopping.set()
        if self._poller is not None:
            self._poller.stop(_LOOK_SECONDS)
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    def read_again(self) -> None:
        """The models' folders have changed, it is said; perhaps by an update on the command line."""
        self._updater.read_again()

    def reloaded(self) -> None:
        """The main thread has read the models' folders, and the worker serves what it found."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for event in waiting:
            event.set()

    # What an update sees of the daemon

    def serve_anew(self, stopping: Event) -> bool:
        """Has the main thread read the models' folders again, and waits for it."""
        done = Event()
        with self._lock:
            self._waiting.append(done)
        self._around.reload()
        while not done.wait(_LOOK_SECONDS):
            if stopping.is_set() or self._stopping.is_set():
                return False
        if self.shadow is not None:
            self.shadow.clear()
        return True

    def served(self) -> dict[str, Served]:
        """What serves now, by name."""
        entries = self._around.catalogue().items()
        return {name: entry.served for name, entry in entries if entry.served is not None}

    def fault_of(self, name: str) -> str | None:
        """What is wrong with a model now: on the disk, in its last canary, or that the worker hangs."""
        entry = self._around.catalogue().get(name)
        fault = None if entry is None else entry.fault
        hangs = "the worker hangs" if self._around.is_stuck() else None
        return fault or self._around.canary_faults().get(name) or hangs

    def stats(self, name: str) -> Stats:
        """What a model did so far."""
        count = self._figures.of_model(name)
        return Stats(count.answered, count.failed, count.work_ms, self._figures.last_ok_age_seconds(name))

    def is_strained(self) -> bool:
        """Whether the board is hard pressed now."""
        return self._sensing.is_strained

    def reason_to_wait(self) -> str | None:
        """Why this is not the time for an update, or None."""
        with self._lock:
            return self._deferral.look(self._sensing.snapshot, self._figures.answered, time.monotonic())

    def sentences(self, name: str) -> tuple[ShadowSentence, ...]:
        """The latest sentences of a model and its answers to them."""
        return () if self.shadow is None else self.shadow.take(name)

    def clock_synced(self) -> bool:
        """Whether the clock is synchronised."""
        return self._around.clock_synced()

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        thread = Thread(target=work, name=name, daemon=True)
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        with suppress(RuntimeError):  # no thread can be had: the next look tries again
            thread.start()
