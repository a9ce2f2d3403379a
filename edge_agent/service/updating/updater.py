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
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Event, Lock
from typing import Final

from edge_agent.log import get_logger
from edge_agent.service.updating.host import Host, Places
from edge_agent.service.updating.order import Limits, Order, Progress
from edge_agent.service.updating.process import run_order
from edge_agent.service.updating.states import UpdateStates
from edge_agent.service.updating.watching import RollBack, Stats, Watch, Watching
from edge_agent.settings.update_sections import UpdatesSettings
from edge_agent.update.install import conclude, give_up, put_off, roll_back
from edge_agent.update.refusal import Reason, UpdateError
from edge_agent.update.slots import Record, State, Version
from edge_agent.update.store import Store
from edge_agent.update.upkeep import recover_all

_LOOK_SECONDS: Final = 0.25
_WAIT_SECONDS: Final = 5.0
_ROLLBACK_TURN_SECONDS: Final = 60.0
"""Less than a model-rollback may take: one that was reported as failed must not be carried out later."""
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

    def recover_late(self, stopping: Event) -> tuple[str, ...]:
        """The same later, where the start could not; between two updates.

        Raises:
            UpdateError: as :meth:`recover`, or another update does not end.
        """
        with self._in_turn(stopping) as store:
            return () if store is None else self.recover()

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
        return self._go(name, version, stopping, _Heard(self.states, name))

    def look(self, stopping: Event) -> bool:
        """Does what the channel says, one model after the other; how it went is in ``states`` and the log.

        Returns:
            Whether there is nothing to try again: not so where this machine or the network failed.
        """
        is_done = True
        passed_over: tuple[str, ...] = ()
        while True:
            heard = _Heard(self.states, "")
            try:
                if self._go("", None, stopping, heard, passed_over) is None:
                    return is_done and not stopping.is_set()
            except UpdateError as error:
                is_done = is_done and not error.is_of_this_machine and error.reason not in _PASSING
                if heard.name is None or heard.name in passed_over:
                    return is_done
                passed_over = (*passed_over, heard.name)  # the others are not to wait for this one

    def roll_back(self, name: str, stopping: Event) -> Record | None:
        """Turns a model back to the version before; see :func:`edge_agent.update.install.roll_back`.

        Raises:
            UpdateError: there is none, or it has rotted; nothing was changed.
        """
        with self._in_turn(stopping, _ROLLBACK_TURN_SECONDS) as store:
            if store is None:
                return None
            record = roll_back(store, name, allow_none=self._places.has_other(name))
            self.states.note(record)
            self._log.warning("update.rolled_back", name=name, reason=Reason.ASKED.value)
            if not self._host.serve_anew(stopping):
                return None
            return record if record.serving is not None else replace(record, serving=self._serving(name))

    def watch_again(self, names: tuple[str, ...], stopping: Event) -> None:
        """Watches what was being watched when the last process ended."""
        for name in names:
            try:
                with self._in_turn(stopping) as store:
                    if store is not None and self._is_watched(store, name):  # no command took it up
                        self._watch(store, name, None, stopping)
            except UpdateError as error:
                self._log.warning("update.failed", name=name, reason=str(error))

    # One update

    def _go(
        self,
        name: str,
        version: str | None,
        stopping: Event,
        heard: _Heard,
        passed_over: tuple[str, ...] = (),
    ) -> Record | None:
        """One update; of a poll, which has no name, the first that is news."""
        with self._in_turn(stopping) as store:
            if store is None or not self._is_time(name, stopping):
                return None
            before = {each: self._host.stats(each) for each in self._host.served()}
            try:
                if not self._run(self._order(store, name, version, passed_over), heard, stopping):
                    self._put_down(store, heard.name)
                    return None
            except UpdateError as error:
                if not self._is_watched(store, heard.name, version):
                    self._note_failure(store, heard.name, error)
                    raise
                self._log.warning("update.failed_late", name=heard.name, reason=str(error))
            if heard.name is None or not (heard.is_new or self._is_watched(store, heard.name, version)):
                self.states.settle(heard.name)
                return heard.record or (Record(name, serving=self._serving(name)) if name else None)
            return self._watch(store, heard.name, before.get(heard.name), stopping)

    def _is_watched(self, store: Store, name: str | None, version: str | None = None) -> bool:
        """Whether a model waits for the verdict: its link is turned, by this life or the one before."""
        record = None if name is None else store.journal.read(name)
        if record is None or record.state is not State.WATCHING or record.serving is None:
            return False
        return version in (None, record.serving.version)

    def _serving(self, name: str) -> Version | None:
        served = self._host.served().get(name)
        return None if served is None else Version(served.version, served.digest)

    def _put_down(self, store: Store, name: str | None) -> None:
        """The daemon ends in good order: that is no power cut, which would be counted."""
        if name is not None:
            with suppress(UpdateError):
                give_up(store, name, Reason.INTERRUPTED, "the daemon was stopped")
                put_off(store, name)

    def _order(self, store: Store, name: str, version: str | None, passed_over: tuple[str, ...]) -> Order:
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
            passed_over=passed_over,
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
        watched = store.journal.read(name)
        fault = self._fault_of_serving(store, name, stopping)
        if fault is None and not stopping.is_set():
            fault = self._watched(name, before, stopping)
        record = None if stopping.is_set() else self._concluded(store, name, fault, stopping)
        if record is None:
            self._put_down(store, name)
            return None
        self.states.note(record)
        wanted = State.KEPT if fault is None else State.ROLLED_BACK
        if record.state is not wanted or (fault is None and watched and record.serving != watched.serving):
            self._host.serve_anew(stopping)
            raise UpdateError(Reason.INTERRUPTED, "somebody changed this model while it was watched")
        if fault is None:
            self._log.info("update.kept", name=name, version=record.serving and record.serving.version)
            return record
        self._log.error("update.rolled_back", name=name, reason=fault)
        self._host.serve_anew(stopping)
        raise UpdateError(Reason.UNHEALTHY, fault)

    def _concluded(self, store: Store, name: str, fault: str | None, stopping: Event) -> Record | None:
        """Writes the verdict, however long the disk is full or another process at it: a bad model must go."""
        said = ""
        while True:
            try:
                return conclude(store, name, None if fault is None else Reason.UNHEALTHY, fault)
            except UpdateError as error:
                if str(error) != said:
                    said = str(error)
                    self._log.error("update.not_concluded", name=name, reason=said)
            if stopping.wait(_WAIT_SECONDS):
                return None

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
    def _in_turn(self, stopping: Event, seconds: float | None = None) -> Iterator[Store | None]:
        """The store, when no other update is at it; None where the daemon is about to end.

        Raises:
            UpdateError: another update has not ended in the time that one may take; there is no store.
        """
        store = self._places.store
        if store is None:
            raise UpdateError(
                Reason.DISK, "no folder for models", hint="set models.directories to a folder of bundles"
            )
        deadline = self._clock() + (self._rules.deadline_seconds if seconds is None else seconds)
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
