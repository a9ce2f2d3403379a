"""Records, links and versions brought together: after a cut, after somebody's own doing, within a budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edge_agent.update.slots import Record, State, Version, recover
from edge_agent.update.store import Budget, Store


def recover_all(store: Store) -> list[Record]:
    """What the daemon does at its start, before it looks for models.

    Returns:
        The records of all models of the store.

    Raises:
        UpdateError: another process is at the store, or the disk failed.
    """
    if not store.folder.is_dir():
        return []
    with store.opened():
        settle(store, is_start=True)
        return store.journal.records()


def settle(store: Store, *, is_start: bool = False) -> None:
    """Brings records and links together after a cut; the lock must be held.

    Whoever installs holds the lock, so a record that is in the middle of it belongs to a process that is
    gone. A model is watched without the lock: only the daemon's own start tells that its watching was cut.

    A name that is no link into the store is somebody's own doing and left alone, but for the gap that a file
    system without exchange leaves while a folder is replaced.
    """
    for record in store.journal.records():
        is_watched = record.state is State.WATCHING and not is_start
        after = record if is_watched else recover(record)
        if after != record:
            store.journal.write(after)
        gap = record.state is State.SWITCHING and not (store.models / record.name).exists()
        if gap or store.linked(record.name) is not None:
            follow(store, after)


def record_of(store: Store, name: str) -> Record:
    """What is written of a model, put right by what lies there; the lock must be held.

    Where nothing sensible is written, or somebody turned the link or put a folder of their own in its place,
    what lies there is what serves.
    """
    record = store.journal.read(name) or Record(name)
    content = store.adopt(name)
    if content is None:
        linked = store.linked(name)
        if linked is None:
            return record if record.serving is None else replace(record, serving=None)
        if record.serving is not None and linked == record.serving.digest:
            return record
        content = store.content(linked)
        if content is None or content.name != name:
            return record
    found = Version(content.version, content.digest)
    older = tuple(v for v in (record.serving, *record.previous) if v is not None and v != found)
    return replace(record, serving=found, previous=older)


def collect(store: Store, name: str, budget: Budget) -> Record:
    """Removes old versions beyond the budget; none that a record serves, tries or falls back to.

    Returns:
        The record of ``name`` afterwards.
    """
    records = store.journal.records()
    protected = {version.digest for record in records for version in _needed(record)}
    removed = set(store.collect(protected, budget))
    for record in records:
        kept = tuple(version for version in record.previous if version.digest not in removed)
        if kept != record.previous:
            store.journal.write(replace(record, previous=kept))
    return store.journal.read(name) or Record(name)


def follow(store: Store, record: Record) -> None:
    """Turns the link to what the record names, where it points elsewhere."""
    digest = record.serving.digest if record.serving else None
    linked = store.linked(record.name)
    if linked != digest and (linked is not None or digest is not None):
        if digest is not None and not store.path(digest).is_dir():
            return  # the version that is to serve is gone, so what is linked is better than nothing
        store.link(record.name, digest)


def _needed(record: Record) -> Iterable[Version]:
    in_hand = None if record.is_at_rest else record.candidate
    return (version for version in (record.serving, record.fallback, in_hand) if version is not None)
