"""Installing, concluding, rolling back: where a record, the store and the link move together.

Each step writes the record first and acts then (:mod:`~edge_agent.update.slots`). What goes wrong on the way
ends the update as failed, with its reason, and leaves what served before.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edge_agent.errors import BundleError, EdgeAgentError
from edge_agent.update.refusal import Reason, UpdateError
from edge_agent.update.slots import Event, Record, State, Version, begin, step
from edge_agent.update.store import Budget, Content, Store, Unpack
from edge_agent.update.upkeep import collect, follow, record_of, settle

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be installed.

    Attributes:
        content: name, version and digest that the bundle must turn out to have.
        bytes_needed: room for the download and for the unpacked bundle.
        fetch: gets it, and says where it lies; a download or a file that is there. Raises UpdateError.
        unpack: unpacks and checks what ``fetch`` got.
    """

    content: Content
    bytes_needed: int
    fetch: Callable[[], Path]
    unpack: Unpack


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an installation ended.

    Attributes:
        record: what is written down now.
        is_new: whether anything was done.
    """

    record: Record
    is_new: bool


def tell_nothing(record: Record) -> None:
    """The default of ``on_change``."""


def install(
    store: Store,
    wanted: Wanted,
    prove: Callable[[Path], object],
    *,
    shadow: Callable[[Path], object] | None = None,
    watch: bool = False,
    budget: Budget | None = None,
    on_change: Callable[[Record], None] = tell_nothing,
) -> Outcome:
    """Installs one version of one model and turns the link to it.

    Args:
        store: where.
        wanted: what.
        prove: runs the candidate's golden sentences on this machine, in a process of its own. Raises
            EdgeAgentError.
        shadow: lets it answer what the serving version answered lately, as ``prove``; None for no such proof.
        watch: end in ``watching``, for a daemon that concludes with :func:`conclude`; else in ``kept``.
        budget: of old versions.
        on_change: told each record once it is written.

    Raises:
        UpdateError: it was refused, or could not be done; what served before serves.
    """
    name, candidate = wanted.content.name, Version(wanted.content.version, wanted.content.digest)
    with store.opened():
        settle(store)
        record = record_of(store, name)
        if record.serving == candidate and _serves(store, record):
            return Outcome(record, False)
        if not record.is_at_rest:  # watching: what was watched so far stands, since somebody wants another
            record = step(record, Event.PROVED)
        run = _Run(store, begin(record, candidate), on_change)
        try:
            run.go_through(wanted, prove, shadow)
        except (OSError, EdgeAgentError) as error:
            raise run.failed(error) from error
        after = run.record if watch else run.move(Event.PROVED)
        with suppress(OSError):
            after = collect(store, name, budget or Budget())
        return Outcome(after, True)


def conclude(store: Store, name: str, reason: Reason | None = None, detail: str | None = None) -> Record:
    """Ends the watching of a model: it is kept, or, with a reason, rolled back.

    Raises:
        UpdateError: another process is at the store, or the disk failed; it is watched still.
    """
    with store.opened():
        record = record_of(store, name)
        if record.state is not State.WATCHING:  # somebody has decided meanwhile, by the command line
            return record
        record = step(record, Event.PROVED if reason is None else Event.FAIL, reason, detail)
        store.journal.write(record)
        follow(store, record)
        return record


def roll_back(
    store: Store,
    name: str,
    reason: Reason = Reason.ASKED,
    detail: str | None = None,
    *,
    allow_none: bool = False,
) -> Record:
    """Turns a model back to the newest version before the one that serves.

    Args:
        store: where.
        name: of the model.
        reason: why.
        detail: the same in words.
        allow_none: take the model out of the store's hands where there is no older one, so that a folder of
            the settings that comes later serves it.

    Raises:
        UpdateError: there is no older version, or the older one has rotted; nothing was changed.
    """
    with store.opened():
        settle(store)
        record = record_of(store, name)
        older = record.fallback
        if older is None and not (allow_none and record.serving):
            raise UpdateError(
                Reason.NOTHING_OLDER,
                f"there is no older version of {name} here",
                hint="edge-agent model list shows what is here",
            )
        if older is not None and not store.holds(older.digest):
            raise UpdateError(Reason.BUNDLE, f"{name} {older.version} is damaged", hint="install it again")
        record = step(record, Event.ROLL_BACK, reason, detail)
        store.journal.write(record)
        follow(store, record)
        return record


def give_up(store: Store, name: str, reason: Reason, detail: str) -> Record:
    """Ends an update whose process was stopped in the middle; what served before serves.

    Raises:
        UpdateError: another process is at the store, or the disk failed.
    """
    with store.opened():
        record = store.journal.read(name) or Record(name)
        if not record.is_at_rest and record.state is not State.WATCHING:
            record = step(record, Event.FAIL, reason, detail)
            store.journal.write(record)
            follow(store, record)
        return record


def put_off(store: Store, name: str) -> None:
    """The daemon ends in good order while a model is watched: the next start is not to count that as a cut.

    Raises:
        UpdateError: another process is at the store, or the disk failed.
    """
    with store.opened():
        record = store.journal.read(name)
        if record is not None and record.state is State.WATCHING and record.cuts >= 0:
            store.journal.write(replace(record, cuts=record.cuts - 1))


class _Run:
    """One update on its way."""

    def __init__(self, store: Store, record: Record, on_change: Callable[[Record], None]) -> None:
        self._store = store
        self._on_change = on_change
        self.record = record

    def go_through(
        self, wanted: Wanted, prove: Callable[[Path], object], shadow: Callable[[Path], object] | None
    ) -> None:
        """From ``downloading`` to ``watching``."""
        self._write(self.record)
        digest = wanted.content.digest
        folder = self._store.path(digest)
        if self._store.holds(digest):  # an earlier attempt got so far, or it served before
            self.move(Event.ARRIVED)
        else:
            self._make_space(wanted.bytes_needed)
            source = wanted.fetch()
            self.move(Event.ARRIVED)
            found = self._store.add(source, wanted.unpack)
            if found != wanted.content:
                raise UpdateError(
                    Reason.WRONG_SOFTWARE,
                    f"asked for {_words(wanted.content)}, and the bundle is {_words(found)}",
                )
        self.move(Event.VERIFIED)
        _proved(prove, folder)
        if shadow is not None:
            self.move(Event.SHADOW)
            _proved(shadow, folder)
        self.move(Event.PROVED)
        self._store.link(self.record.name, digest)
        self.move(Event.SWITCHED)

    def _make_space(self, size: int) -> None:
        """Old versions go before a new one is refused for want of room."""
        try:
            self._store.need_space(size)
        except UpdateError:
            self.record = collect(self._store, self.record.name, Budget(0, 0))
            self._store.need_space(size)

    def move(self, event: Event, reason: Reason | None = None, detail: str | None = None) -> Record:
        """Writes the next record."""
        return self._write(step(self.record, event, reason, detail))

    def failed(self, error: OSError | EdgeAgentError) -> UpdateError:
        """Writes down the end, turns the link to what serves, and says why in one error."""
        told = _as_update_error(error)
        with suppress(OSError):  # a disk that takes nothing: the next start writes and turns it
            if self.record.is_at_rest:
                return told
            record = self.move(Event.FAIL, told.reason, str(told))
            follow(self._store, record)
        return told

    def _write(self, record: Record) -> Record:
        self._store.journal.write(record)
        self.record = record
        self._on_change(record)
        return record


def _proved(prove: Callable[[Path], object], folder: Path) -> None:
    try:
        prove(folder)
    except UpdateError:
        raise
    except EdgeAgentError as error:
        raise UpdateError(Reason.PROOF, str(error), hint=error.hint) from error


def _serves(store: Store, record: Record) -> bool:
    digest = record.serving.digest if record.serving else ""
    return store.linked(record.name) == digest and store.holds(digest)


def _as_update_error(error: OSError | EdgeAgentError) -> UpdateError:
    if isinstance(error, UpdateError):
        return error
    if isinstance(error, BundleError):
        return UpdateError(Reason.BUNDLE, str(error), hint=error.hint)
    if isinstance(error, EdgeAgentError):
        return UpdateError(Reason.PROOF, str(error), hint=error.hint)
    reason = Reason.NO_SPACE if error.errno in _FULL else Reason.DISK
    return UpdateError(reason, f"{error.filename or 'the disk'}: {error.strerror or type(error).__name__}")


def _words(content: Content) -> str:
    return f"{content.name} {content.version} ({content.digest[:15]}…)"
