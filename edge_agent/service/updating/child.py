"""The process that updates: ``python -m edge_agent.service.updating.child``, with an order on its stdin.

Its memory and its crashes are not the daemon's. It refreshes signed metadata, chooses a version, downloads,
unpacks, has the model proved by a further process, and turns the link; it ends in ``watching``, which is the
daemon's. It goes with the daemon: half-done work is what :mod:`edge_agent.update.upkeep` recovers from.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Final

from edge_agent.errors import EdgeAgentError, SettingsError
from edge_agent.files import write_atomic
from edge_agent.service.commands.operation import where_of
from edge_agent.service.updating.bundles import ROOM_FOR_ZIP, check_bundle, unpack_bundle
from edge_agent.service.updating.order import Order, Progress, render
from edge_agent.service.updating.proof import ProofLimits, prove
from edge_agent.update.following import is_followed
from edge_agent.update.install import Outcome, Wanted, install
from edge_agent.update.known_time import read_clocks, take_reference
from edge_agent.update.refusal import Reason, UpdateError
from edge_agent.update.slots import Version
from edge_agent.update.store import Budget, Content, Store
from edge_agent.update.trust import Offer, Repository
from edge_agent.update.upkeep import record_of

_PR_SET_PDEATHSIG: Final = 1
_NICENESS: Final = 10
_KILLED_FIRST: Final = "600"
_LOOK_SECONDS: Final = 0.5
_RESUMABLE: Final = frozenset({Reason.UNREACHABLE, Reason.SLOW})

Say = Callable[[Progress], None]


def run(order: Order, say: Say) -> None:
    """Carries out an order.

    Raises:
        UpdateError: it was refused, or could not be done; what served before serves.
        SettingsError: the repository's root cannot be read, or its address is none.
    """
    client = _repository(order)
    client.refresh()
    store = Store(Path(order.models), check_bundle)
    offers = list(_offers(order, client, say))
    chosen = None if order.only_tells else _chosen(order, store, offers)
    if chosen is None:
        say(Progress(done=""))
        return
    word = _word(order, client, chosen)  # before anything is turned: a server may be slow
    outcome = _install(order, store, client, chosen, say)
    with suppress(OSError):  # the link is turned: from here on it is for the daemon to watch, not to fail
        _Followed(order).note(chosen.content.name, word)
    say(Progress(done=chosen.content.name, is_new=outcome.is_new))


def _repository(order: Order) -> Repository:
    folder = Path(order.state)
    try:
        pinned = Path(order.root).read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{order.root} cannot be read: {error.strerror}", hint="updates.root names the pinned root.json"
        ) from error
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    reference = take_reference(folder / "clock.json", read_clocks(order.clock_synced))
    return Repository(order.repository, pinned, folder, reference.time)


def _word(order: Order, client: Repository, chosen: Offer) -> str | None:
    """What the channel says of the model that was installed; None where it says nothing.

    A command is the operator's newest word. What the channel said when it came counts as followed, or the
    next poll would take a device back to a channel that had moved shortly before.
    """
    if order.version is None:
        return chosen.content.version
    try:
        return client.channel(order.channel).get(chosen.content.name)
    except UpdateError:
        return None


def _offers(order: Order, client: Repository, say: Say) -> Iterator[Offer]:
    """What is to be had: what the order names, or of a poll all that the channel has. Tells it."""
    if order.version is not None:
        offers = [client.find(name, order.version) for name in order.names]
    else:
        allowed = client.channel(order.channel)
        names = tuple(allowed) if order.is_poll else order.names
        missing = [name for name in names if name not in allowed]
        if missing:
            raise UpdateError(Reason.NOT_FOR_CHANNEL, f"channel {order.channel} does not have {missing[0]}")
        offers = [client.find(name, allowed[name]) for name in names]
    say(Progress(latest={offer.content.name: offer.content.version for offer in offers}))
    yield from offers


def _chosen(order: Order, store: Store, offers: list[Offer]) -> Offer | None:
    """The one to install; of a poll the first that is news, since one model is watched at a time."""
    followed = _Followed(order)
    with store.opened():
        for offer in offers:
            content = offer.content
            version = Version(content.version, content.digest)
            if content.name in order.passed_over:
                continue
            if order.serving.get(content.name) == version and _is_sound(store, content):
                continue
            record = record_of(store, content.name)
            if not order.is_poll or is_followed(record, version, followed.version(content.name)):
                return offer
    return None


def _is_sound(store: Store, content: Content) -> bool:
    """Whether what serves lies well in the store; a folder beside it is not ours to mend."""
    linked = store.linked(content.name)
    return linked is None or (linked == content.digest and store.holds(content.digest))


def _install(order: Order, store: Store, client: Repository, offer: Offer, say: Say) -> Outcome:
    limits = ProofLimits.of(order.limits)
    sentences = order.shadow.get(offer.content.name, ())
    room = ROOM_FOR_ZIP * offer.length
    wanted = Wanted(offer.content, room, lambda: _download(order, client, offer, say), unpack_bundle)
    try:
        outcome = install(
            store,
            wanted,
            partial(prove, limits=limits),
            shadow=partial(prove, limits=limits, shadow=sentences) if sentences else None,
            watch=True,
            budget=Budget(order.limits.keep_versions, order.limits.keep_bytes),
            on_change=lambda record: say(Progress(record=record)),
        )
    except UpdateError as error:
        if error.reason not in _RESUMABLE:
            client.clear()
        raise
    client.clear()
    return outcome


def _download(order: Order, client: Repository, offer: Offer, say: Say) -> Path:
    """Fetches the bundle, and tells how far it is."""
    ended = Event()
    parts = Path(order.state) / "parts"

    def watch() -> None:
        told = -1
        while not ended.wait(_LOOK_SECONDS):
            with suppress(OSError):
                size = max((path.stat().st_size for path in parts.iterdir()), default=0)
                percentage = min(100, 100 * size // max(1, offer.length))
                if percentage > told:
                    told = percentage
                    say(Progress(percentage=percentage))

    watcher = Thread(target=watch, name="percentage", daemon=True)
    watcher.start()
    try:
        return client.download(offer)
    finally:
        ended.set()
        watcher.join()


class _Followed:
    """Which version of each model was followed last, in the state folder."""

    def __init__(self, order: Order) -> None:
        self._path = Path(order.state) / "followed.json"
        self._versions: dict[str, str] = {}
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(self._path.read_bytes())
            self._versions = {str(name): str(version) for name, version in dict(found).items()}

    def version(self, name: str) -> str | None:
        return self._versions.get(name)

    def note(self, name: str, version: str | None) -> None:
        if version is None:
            return
        self._versions[name] = version
        write_atomic(self._path, json.dumps(self._versions).encode())


def _stay_small(order: Order) -> None:
    """Goes with the thread that started it, yields to everything else, and has an end."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_KILLED_FIRST)
    with suppress(OSError):  # a sandbox may forbid it
        os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Soft, since the process that proves the model is watched in another way and inherits the hard one.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    memory = order.limits.memory_bytes
    resource.setrlimit(
        resource.RLIMIT_DATA, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard)
    )
    cpu = int(order.limits.deadline_seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))


def main() -> int:
    """Reads the order, carries it out, tells how it went; returns the exit code."""
    parent = os.getppid()
    order = Order.from_json(sys.stdin.read())

    def say(progress: Progress) -> None:
        sys.stdout.write(render(progress) + "\n")
        sys.stdout.flush()

    _stay_small(order)
    if os.getppid() != (order.parent or parent):  # it may have ended before we asked who it is
        return 1
    name = order.names[0] if len(order.names) == 1 else None
    try:
        run(order, say)
    except Exception as error:
        reason, message = _in_words(error)
        say(Progress(refused=reason, name=name, message=message))
    return 0


def _in_words(error: Exception) -> tuple[Reason, str]:
    """What to tell the daemon. A foreign error's own words stay here: they may quote a sentence."""
    if isinstance(error, UpdateError):
        return error.reason, str(error)
    if isinstance(error, EdgeAgentError):
        return Reason.NO_REPOSITORY, str(error)
    if isinstance(error, OSError):
        return Reason.DISK, f"{error.filename or 'the disk'}: {error.strerror or type(error).__name__}"
    if isinstance(error, MemoryError):
        return Reason.CRASHED, "it needed more memory than it may have"
    return Reason.CRASHED, f"{type(error).__name__} at {where_of(error)}"


if __name__ == "__main__":
    sys.exit(main())
