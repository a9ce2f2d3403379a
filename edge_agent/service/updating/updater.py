"""Updates of models in the daemon: one at a time, in a process of its own, watched while it serves.

    wait (the board is strained or busy) → child: download, verify, try, shadow, switch the link
    → the daemon serves it from the next request on → watch → keep, or turn back and serve the old one

An update runs in the thread of whoever asked: of a command, or of a look at the channel. Whatever ends the
daemon in the middle is taken up by the next start: the record says how far it came
(:mod:`edge_agent.update.slots`), and what was being watched is watched again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock
from typing import Final

from edge_agent.log import get_logger
from edge_agent.service.updating.host import Host, Places
from edge_agent.service.updating.order import Limits, Order, Progress
from edge_agent.service.updating.process import run_order
from edge_agent.service.updating.states import UpdateStates
from edge_agent.service.updating.watching import RollBack, Stats, Watch, Watching
from edge_agent.settings.update_sections import UpdatesSettings
from edge_agent.update.install import conclude, give_up, roll_back
from edge_agent.update.refusal import Reason, UpdateError
from edge_agent.update.slots import Record, State, Version
from edge_agent.update.store import Store
from edge_agent.update.upkeep import recover_all

_LOOK_SECONDS: Final = 0.25
_WAIT_SECONDS: Final = 5.0
_PASSING: Final = frozenset({Reason.EXPIRED, Reason.SLOW})
"""Refused for now: the operator renews, or the network gets better, and a poll would see no change."""


class Updater:
    """Installs, watches, and turns back.

    Args:
        rules: of the settings.
        places: where.
        host: the daemon.
        on_told: told that ``states`` changed.
        run: carries out an order.

    Attributes:
        states: how the update of each model stands.
    """

    def __init__(
        self,
        rules: UpdatesSettings,
        places: Places,
        host: Host,
        *,
        on_told: Callable[[], None],
        run: Callable[[Order, Callable[[Progress], None], Event], bool] = run_order,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._places = places
        self._host = host
        self._run = run
        self._clock = clock
        self._log = get_logger()
        self._turn = Lock()
        self.states = UpdateStates(on_told)

    def recover(self) -> tuple[str, ...]:
        """Brings records and links together after a cut; at the start, before models are looked for.

        Returns:
            Models that are to be watched again, by :meth:`watch_again`.

        Raises:
            UpdateError: another process is at the store, or the disk failed.
        """
        if self._places.store is None:
            return ()
        records = recover_all(self._places.store)
        for record in records:
            self.states.note(record)
        return tuple(record.name for record in records if record.state is State.WATCHING)

    def read_again(self) -> None:
        """Tells what is written, where another process, such as the command line, has updated."""
        if self._places.store is not None and not self.is_busy:
            for record in self._places.store.journal.records():
                self.states.note(record)

    @property
    def is_busy(self) -> bool:
        """Whether an update is under way."""
        return self._turn.locked()

    def update(self, name: str, version: str | None, stopping: Event) -> Record | None:
        """Installs a version of a model, watches it, and keeps it or turns back.

        Args:
            name: of the model.
            version: None for that of the channel.
            stopping: set when the daemon is about to end.

        Returns:
            What is written down in the end; None where the daemon's end came first, or nothing was written
            since that very version serves from elsewhere.

        Raises:
            UpdateError: what was asked for does not serve, and why.
        """
        return self._go(name, version, stopping)

    def look(self, stopping: Event) -> bool:
        """Does what the channel says, one model after the other; how it went is in ``states`` and the log.

        Returns:
            Whether there is nothing to try again: not so where this machine or the network failed.
        """
        while True:
            try:
                if self._go("", None, stopping) is None:
                    return not stopping.is_set()
            except UpdateError as error:
                return not error.is_of_this_machine and error.reason not in _PASSING

    def roll_back(self, name: str, stopping: Event) -> Record | None:
        """Turns a model back to the version before; see :func:`edge_agent.update.install.roll_back`.

        Raises:
            UpdateError: there is none, or it has rotted; nothing was changed.
        """
        with self._in_turn(stopping) as store:
            if store is None:
                return None
            record = roll_back(store, name, allow_none=self._places.has_other(name))
            self.states.note(record)
            self._log.warning("update.rolled_back", name=name, reason=Reason.ASKED.value)
            return record if self._host.serve_anew(stopping) else None

    def watch_again(self, names: tuple[str, ...], stopping: Event) -> None:
        """Watches what was being watched when the last process ended."""
        for name in names:
            try:
                with self._in_turn(stopping) as store:
                    if store is not None:
                        self._watch(store, name, None, stopping)
            except UpdateError as error:
                self._log.warning("update.failed", name=name, reason=str(error))

    # One update

    def _go(self, name: str, version: str | None, stopping: Event) -> Record | None:
        """One update; of a poll, which has no name, the first that is news."""
        with self._in_turn(stopping) as store:
            if store is None or not self._is_time(name, stopping):
                return None
            before = {each: self._host.stats(each) for each in self._host.served()}
            heard = _Heard(self.states, name)
            try:
                if not self._run(self._order(store, name, version), heard, stopping):
                    return None
            except UpdateError as error:
                self._note_failure(store, heard.name, error)
                raise
            if not heard.is_new or heard.name is None:
                self.states.settle(heard.name)
                return heard.record
            return self._watch(store, heard.name, before.get(heard.name), stopping)

    def _order(self, store: Store, name: str, version: str | None) -> Order:
        rules = self._rules
        served = self._host.served()
        if not rules.repository:
            raise UpdateError(
                Reason.NO_REPOSITORY, "no repository is set", hint="set updates.repository and updates.root"
            )
        return Order(
            models=str(store.models),
            state=str(self._places.state),
            repository=rules.repository,
            root=str(rules.root),
            channel=rules.channel,
            names=(name,) if name else (),
            version=version,
            clock_synced=self._host.clock_synced(),
            is_poll=not name,
            only_tells=not name and not rules.install_by_itself,
            serving={each: Version(one.version, one.digest) for each, one in served.items()},
            limits=Limits(
                deadline_seconds=rules.deadline_seconds,
                memory_bytes=rules.max_memory_mb * 1_000_000,
                max_latency_ms=rules.max_latency_ms,
                max_model_mb=rules.max_model_mb,
                min_agreement=rules.shadow_agreement,
                keep_versions=rules.keep_versions,
                keep_bytes=rules.keep_mb * 1_000_000,
            ),
            shadow={each: self._host.sentences(each) for each in served if not name or each == name},
        )

    def _is_time(self, name: str, stopping: Event) -> bool:
        """Waits while the board has other worries; False where the daemon is about to end.

        Raises:
            UpdateError: it waited for as long as an update may take.
        """
        deadline = self._clock() + self._rules.deadline_seconds
        said: str | None = None
        while (reason := self._host.reason_to_wait()) is not None:
            if reason != said:
                self._log.info("update.waits", name=name or None, reason=reason)
                self.states.wait(name, reason)
                said = reason
            if self._clock() > deadline:
                words = reason.removeprefix(f"{Reason.DEFERRED.value}: ")
                seconds = self._rules.deadline_seconds
                error = UpdateError(Reason.DEFERRED, f"{words}; it waited for {seconds:g} s")
                self.states.fail(name, str(error))
                raise error
            if stopping.wait(_WAIT_SECONDS):
                return False
        return not stopping.is_set()

    def _note_failure(self, store: Store, name: str | None, error: UpdateError) -> None:
        """What was stopped in the middle is written down as failed; what serves goes on."""
        self._log.warning("update.failed", name=name, reason=str(error))
        if not name:
            return
        try:
            record = give_up(store, name, error.reason, str(error))
        except UpdateError:
            record = None
        if record is not None and record.state is State.FAILED:
            self.states.note(record)
        else:
            self.states.fail(name, str(error))

    # Watching

    def _watch(self, store: Store, name: str, before: Stats | None, stopping: Event) -> Record | None:
        """Serves the new version, and keeps it or turns back.

        Raises:
            UpdateError: it was rolled back, and why.
        """
        fault = self._fault_of_serving(store, name, stopping)
        if stopping.is_set():
            return None
        if fault is None:
            fault = self._watched(name, before, stopping)
            if stopping.is_set():
                return None
        record = conclude(store, name, None if fault is None else Reason.UNHEALTHY, fault)
        self.states.note(record)
        if fault is None:
            self._log.info("update.kept", name=name, version=record.serving and record.serving.version)
            return record
        self._log.error("update.rolled_back", name=name, reason=fault)
        self._host.serve_anew(stopping)
        raise UpdateError(Reason.UNHEALTHY, fault)

    def _fault_of_serving(self, store: Store, name: str, stopping: Event) -> str | None:
        """Serves what the store links; returns why that is not the new version, or None."""
        if not self._host.serve_anew(stopping):
            return None
        record, served = store.journal.read(name), self._host.served().get(name)
        wanted = record.serving if record is not None else None
        if served is not None and wanted is not None and served.digest == wanted.digest:
            return None
        return self._host.fault_of(name) or "the daemon does not serve it"

    def _watched(self, name: str, before: Stats | None, stopping: Event) -> str | None:
        """Watches; returns why it is to be turned back, or None."""
        host = self._host
        watch = Watch(before, host.stats(name), self._rules, self._clock())
        while True:
            verdict = watch.verdict(
                self._clock(), host.stats(name), host.fault_of(name), is_strained=host.is_strained()
            )
            if isinstance(verdict, RollBack):
                return verdict.reason
            if not isinstance(verdict, Watching) or stopping.wait(_LOOK_SECONDS):
                return None

    @contextmanager
    def _in_turn(self, stopping: Event) -> Iterator[Store | None]:
        """The store, when no other update is at it; None where the daemon is about to end.

        Raises:
            UpdateError: another update has not ended in the time that one may take; there is no store.
        """
        store = self._places.store
        if store is None:
            raise UpdateError(
                Reason.DISK, "no folder for models", hint="set models.directories to a folder of bundles"
            )
        deadline = self._clock() + self._rules.deadline_seconds
        while not self._turn.acquire(timeout=_LOOK_SECONDS):
            if stopping.is_set():
                break
            if self._clock() > deadline:
                raise UpdateError(Reason.BUSY, "another update does not end")
        else:
            try:
                yield None if stopping.is_set() else store
            finally:
                self._turn.release()
            return
        yield None


class _Heard:
    """Hears the child, and passes it on."""

    def __init__(self, states: UpdateStates, name: str) -> None:
        self._states = states
        self.name: str | None = name or None
        self.record: Record | None = None
        self.is_new = False

    def __call__(self, progress: Progress) -> None:
        if progress.latest is not None:
            self._states.offer(progress.latest)
        if progress.record is not None:
            self.record, self.name = progress.record, progress.record.name
            self._states.note(progress.record)
        if progress.percentage is not None and self.name is not None:
            self._states.download(self.name, progress.percentage)
        if progress.done is not None:
            self.name, self.is_new = progress.done or self.name, progress.is_new
