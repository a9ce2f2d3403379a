"""The states of one model's update, and which version serves in each. Pure.

         begin             arrived           verified      proved          switched          proved
    rest ─────► downloading ─────► verifying ─────► trying ─────► switching ─────► watching ─────► kept
                     │                 │            │ shadow ▲ proved  │               │
                     │ fail            │ fail  fail │   ▼    │         │ fail          │ fail, roll back
                     │                 │            │ shadowing        │               │
                     ▼                 ▼            ▼   │ fail         ▼               ▼
                  failed            failed        failed◄┘          failed        rolled_back

*Rest* is ``idle``, ``kept``, ``rolled_back`` or ``failed``; from each of them the next update begins, and
from each of them somebody may roll back.

The theory. A record names the version that serves, and the record is replaced as a whole by one rename of a
synchronised file. So at every instant, and after a power cut at any of them, exactly one version is named. It
changes at two events only:

    switched   the old one → the candidate   after the link was turned and the candidate had been proved
    fail while watching, roll back   → the newest of those before it

The link ``<models>/<name>`` follows the record: where a cut leaves the two apart, the next start turns the
link to what the record names (:mod:`~edge_agent.update.upkeep`). The next state is written before it is
acted on:

    record says  what may have been done        at the next start
    downloading  part of a download             failed; the old one serves; the next one resumes the download
    verifying    part of an unpacked folder     failed; what has no digest for a name is removed
    trying,      the candidate may have taken   failed; the old one serves. When it happens twice with the
    shadowing    the machine down               same candidate, that candidate is condemned
    switching    the link turned, or not        failed; the link is turned back: it was never watched
    watching     link turned, new one served    watched again; after the second cut rolled back, since a model
                                                that takes the machine down is the likeliest cause of it
    rest         all; perhaps not the link      the link is turned

What is condemned is not tried again by itself; a person may still install it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Final

from edge_agent.update.refusal import CONDEMNING, Reason

MOST_CUTS: Final = 2
"""The candidate that was in hand at so many power cuts or crashes is given up."""
_MOST_CONDEMNED: Final = 16


class State(str, Enum):
    """Where an update stands, as in ``model/<name>`` (PROTOCOL §1)."""

    IDLE = "idle"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    TRYING = "trying"
    SHADOWING = "shadowing"
    SWITCHING = "switching"
    WATCHING = "watching"
    KEPT = "kept"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


class Event(Enum):
    """What happens to an update."""

    BEGIN = "begin"
    ARRIVED = "arrived"
    VERIFIED = "verified"
    SHADOW = "shadow"
    PROVED = "proved"
    SWITCHED = "switched"
    FAIL = "fail"
    ROLL_BACK = "roll back"


REST: Final = frozenset({State.IDLE, State.KEPT, State.ROLLED_BACK, State.FAILED})
TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        **{(state, Event.BEGIN): State.DOWNLOADING for state in REST},
        **{(state, Event.ROLL_BACK): State.ROLLED_BACK for state in (*REST, State.WATCHING)},
        (State.DOWNLOADING, Event.ARRIVED): State.VERIFYING,
        (State.VERIFYING, Event.VERIFIED): State.TRYING,
        (State.TRYING, Event.SHADOW): State.SHADOWING,
        (State.TRYING, Event.PROVED): State.SWITCHING,
        (State.SHADOWING, Event.PROVED): State.SWITCHING,
        (State.SWITCHING, Event.SWITCHED): State.WATCHING,
        (State.WATCHING, Event.PROVED): State.KEPT,
        (State.DOWNLOADING, Event.FAIL): State.FAILED,
        (State.VERIFYING, Event.FAIL): State.FAILED,
        (State.TRYING, Event.FAIL): State.FAILED,
        (State.SHADOWING, Event.FAIL): State.FAILED,
        (State.SWITCHING, Event.FAIL): State.FAILED,
        (State.WATCHING, Event.FAIL): State.ROLLED_BACK,
    }
)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model: what it calls itself, and ``sha256:…`` of its ``bundle.json``."""

    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class Record:
    """What is written down of one model.

    Attributes:
        name: of the model.
        state: of its latest update.
        serving: the version that is to be served; None where the store has none.
        previous: those that served before it, newest first; the first is the one to fall back to.
        candidate: what the latest update is about.
        reason: why the latest update ended as it did, or None.
        detail: the same in words, or None.
        cuts: how often the candidate was in hand when the machine went down.
        condemned: digests that are not tried again by themselves, newest last.
    """

    name: str
    state: State = State.IDLE
    serving: Version | None = None
    previous: tuple[Version, ...] = ()
    candidate: Version | None = None
    reason: Reason | None = None
    detail: str | None = None
    cuts: int = 0
    condemned: tuple[str, ...] = ()

    @property
    def fallback(self) -> Version | None:
        """What serves after a rollback."""
        return self.previous[0] if self.previous else None

    @property
    def is_at_rest(self) -> bool:
        """Whether the latest update has ended."""
        return self.state in REST

    def condemns(self, digest: str) -> bool:
        """Whether a version is not to be tried again by itself."""
        return digest in self.condemned


def advance(state: State, event: Event) -> State:
    """The state after an event.

    Raises:
        ValueError: there is no such way.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"an update that is {state.value} cannot {event.value}") from None


def begin(record: Record, candidate: Version) -> Record:
    """An update to ``candidate`` begins.

    Raises:
        ValueError: another one has not ended.
    """
    state = advance(record.state, Event.BEGIN)
    cuts = record.cuts if record.candidate == candidate else 0
    return replace(record, state=state, candidate=candidate, reason=None, detail=None, cuts=cuts)


def step(record: Record, event: Event, reason: Reason | None = None, detail: str | None = None) -> Record:
    """The record after an event other than ``begin``.

    Args:
        record: the one before.
        event: what happened.
        reason: why, of ``fail`` and ``roll back``.
        detail: the same in words.

    Raises:
        ValueError: there is no such way.
    """
    after = replace(record, state=advance(record.state, event), reason=reason, detail=detail)
    if event is Event.FAIL and reason in CONDEMNING:
        after = _condemn(after)
    if event is Event.SWITCHED:
        return _turned(after)
    if after.state is State.ROLLED_BACK:
        return replace(after, serving=record.fallback, previous=record.previous[1:])
    return replace(after, cuts=0) if after.state is State.KEPT else after


def recover(record: Record) -> Record:
    """The record with which a start goes on; see the table above. One at rest stays as it is."""
    if record.is_at_rest:
        return record
    if record.state in (State.DOWNLOADING, State.VERIFYING, State.SWITCHING):
        return step(
            record, Event.FAIL, Reason.INTERRUPTED, f"the machine went down while {record.state.value}"
        )
    cut = replace(record, cuts=record.cuts + 1)
    is_last = cut.cuts >= MOST_CUTS
    if record.state is State.WATCHING and not is_last:
        return cut
    detail = f"the machine went down while {record.state.value}, {cut.cuts} times"
    failed = step(cut, Event.FAIL, Reason.INTERRUPTED, detail)
    return _condemn(failed) if is_last else failed


def _turned(record: Record) -> Record:
    """The candidate serves; what served before it is the one to fall back to."""
    older = (record.serving, *record.previous) if record.serving else record.previous
    kept = tuple(version for version in older if version != record.candidate)
    return replace(record, serving=record.candidate, previous=kept, cuts=0)


def _condemn(record: Record) -> Record:
    if record.candidate is None or record.candidate.digest in record.condemned:
        return record
    return replace(record, condemned=(*record.condemned, record.candidate.digest)[-_MOST_CONDEMNED:])
