"""Settles a run: what was sent, confirmed and answered between which faults, and which promise was broken.

Pure. A request counts from the moment that the broker confirmed it. What a killed broker had confirmed and
not saved is the broker's loss and not the agent's, but only where the evidence says so: the database that it
left holds neither the request nor its answer, and the request was confirmed no longer than
``doubtful_seconds`` before (Mosquitto saves after each round of its loop, so an older one must be there).
Every other missing answer is the agent's loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.chaos.schedule import Kind


@dataclass(frozen=True, slots=True)
class Sent:
    """A request was handed to the requester's client; ``stream`` is the requester and the model."""

    at: float
    request: int
    stream: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The broker acknowledged a request to the requester."""

    at: float
    request: int


@dataclass(frozen=True, slots=True)
class Resent:
    """The requester lost its broker before a request was confirmed, so its client sends it again."""

    at: float
    request: int


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer arrived.

    Attributes:
        is_right: it says what the model says without faults, to the requester that asked.
        code: of an error.
        is_again: the broker marks it as one that it may have delivered before.
    """

    at: float
    request: int
    is_right: bool = True
    code: str | None = None
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A killed broker left a database with neither this request nor its answer."""

    at: float
    request: int


@dataclass(frozen=True, slots=True)
class Began:
    """A fault began."""

    at: float
    fault: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Whole:
    """All is as before: the path is whole, the process runs. It may take so long to answer again."""

    at: float
    fault: int
    bound_seconds: float


@dataclass(frozen=True, slots=True)
class Recovered:
    """The first answer arrived to a request that was sent since all is as before."""

    at: float
    fault: int


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that must not happen and is no request: a daemon that died by itself, a run that hangs."""

    at: float
    what: str


_AROUND_SECONDS = 5.0

Event = Sent | Confirmed | Resent | Answered | Forgotten | Began | Whole | Recovered | Broken


@dataclass(frozen=True, slots=True)
class Rules:
    """What the ledger holds a run to.

    Attributes:
        agent_window: answers whose requests may be unacknowledged when a link of the agent breaks.
        requester_window: answers that a restarted broker may deliver to a requester again, of all requesters.
        links: connections of the agent that were carried to the broker, the first included.
        doubtful_seconds: see above.
    """

    agent_window: int
    requester_window: int
    links: int
    doubtful_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """How soon answers came again after the faults of one kind, in seconds."""

    kind: Kind
    faults: int
    median: float
    p95: float
    worst: float
    bound: float
    is_within: bool


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise, and the request that it was broken to."""

    what: str
    request: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The settled ledger."""

    sent: int
    confirmed: int
    answered: int
    lost: int
    lost_by_broker: int
    wrong: int
    errors: dict[str, int]
    duplicates: int
    duplicates_of_broker: int
    duplicates_bound: int
    resent: int
    disorders: int
    disorders_at_faults: int
    faults: int
    links: int
    recoveries: tuple[Recovery, ...]
    violations: tuple[Violation, ...]

    @property
    def is_kept(self) -> bool:
        """Whether no promise was broken."""
        return not self.violations


@dataclass(slots=True)
class _Account:
    """What is known of one request."""

    stream: str
    confirmed: float | None = None
    resent: int = 0
    answers: int = 0
    again: int = 0
    right: int = 0
    wrong: int = 0
    codes: list[str] = field(default_factory=list)
    forgotten: list[float] = field(default_factory=list)


class _Book:
    """Reads the events once, in their order."""

    def __init__(self, ranks: dict[int, int]) -> None:
        self.accounts: dict[int, _Account] = {}
        self._ranks = ranks
        self.kinds: dict[int, Kind] = {}
        self.whole: dict[int, Whole] = {}
        self.recovered: dict[int, float] = {}
        self.broken: list[str] = []
        self.disorders: list[int] = []
        self.disorders_at_faults = 0
        self._is_quiet = True
        self._highest: dict[str, int] = {}
        self._highest_in_quiet: dict[str, int] = {}

    def read(self, event: Event) -> None:
        if isinstance(event, Sent):
            self.accounts[event.request] = _Account(event.stream)
        elif isinstance(event, Confirmed):
            self.accounts[event.request].confirmed = event.at
        elif isinstance(event, Resent):
            self.accounts[event.request].resent += 1
        elif isinstance(event, Answered):
            self._answered(event)
        elif isinstance(event, Forgotten):
            self.accounts[event.request].forgotten.append(event.at)
        else:
            self._fault(event)

    def _fault(self, event: Began | Whole | Recovered | Broken) -> None:
        if isinstance(event, Broken):
            self.broken.append(event.what)
        elif isinstance(event, Whole):
            self.whole[event.fault] = event
        elif isinstance(event, Began):
            self.kinds[event.fault] = event.kind
            self._is_quiet = False
        else:
            self.recovered[event.fault] = event.at
            self._is_quiet = True
            self._highest_in_quiet = {}

    def _answered(self, event: Answered) -> None:
        account = self.accounts[event.request]
        account.answers += 1
        account.again += event.is_again
        if event.code is not None:
            account.codes.append(event.code)
        elif event.is_right:
            account.right += 1
        else:
            account.wrong += 1
        rank = self._ranks.get(event.request)
        if account.answers == 1 and not account.resent and rank is not None:
            self._judge_order(event.request, rank, account.stream)

    def _judge_order(self, request: int, rank: int, stream: str) -> None:
        """First answers come in the order of the broker's PUBACKs, in which it took the requests.

        One that was sent twice has no place in it.
        """
        if self._is_quiet and rank < self._highest_in_quiet.get(stream, -1):
            self.disorders.append(request)
        elif rank < self._highest.get(stream, -1):
            self.disorders_at_faults += 1
        self._highest[stream] = max(rank, self._highest.get(stream, -1))
        if self._is_quiet:
            self._highest_in_quiet[stream] = max(rank, self._highest_in_quiet.get(stream, -1))


def settle(events: Sequence[Event], rules: Rules) -> Verdict:
    """The verdict on a run.

    Args:
        events: in the order in which they happened.
        rules: what is allowed.
    """
    confirmations = [event.request for event in events if isinstance(event, Confirmed)]
    book = _Book({request: rank for rank, request in enumerate(confirmations)})
    for event in events:
        book.read(event)
    accounts = book.accounts
    confirmed = {number: one for number, one in accounts.items() if one.confirmed is not None}
    missing = [number for number, one in confirmed.items() if not one.right]
    by_broker = [number for number in missing if _is_brokers_loss(accounts[number], rules)]
    lost = [number for number in missing if number not in set(by_broker)]
    wrong = [number for number, one in accounts.items() if one.wrong]
    extra = sum(max(0, one.answers - 1) for one in accounts.values())
    again = sum(min(one.again, max(0, one.answers - 1)) for one in accounts.values())
    resent = sum(one.resent for one in accounts.values())
    restarts = sum(kind in (Kind.BROKER_TERM, Kind.BROKER_KILL) for kind in book.kinds.values())
    bound = rules.agent_window * max(0, rules.links - 1) + rules.requester_window * restarts + resent
    recoveries = tuple(_recoveries(book))
    violations = [
        *(Violation(what) for what in book.broken),
        *(Violation(_missing_words(accounts[number]), number) for number in lost),
        *(Violation("answered wrongly", number) for number in wrong),
        *(Violation("answered out of order between faults", number) for number in book.disorders),
        *_overall(book, recoveries, extra, bound),
    ]
    return Verdict(
        sent=len(accounts),
        confirmed=len(confirmed),
        answered=sum(one.right > 0 for one in confirmed.values()),
        lost=len(lost),
        lost_by_broker=len(by_broker),
        wrong=len(wrong),
        errors=dict(Counter(code for one in accounts.values() for code in one.codes)),
        duplicates=extra,
        duplicates_of_broker=again,
        duplicates_bound=bound,
        resent=resent,
        disorders=len(book.disorders),
        disorders_at_faults=book.disorders_at_faults,
        faults=len(book.kinds),
        links=rules.links,
        recoveries=recoveries,
        violations=tuple(violations),
    )


def history(events: Iterable[Event], request: int) -> list[str]:
    """What happened to one request, and the faults around it, one line each."""
    mine = [event for event in events if getattr(event, "request", request) == request]
    moments = [event.at for event in mine if hasattr(event, "request")]
    return [
        f"{event.at:10.3f} {event}"
        for event in mine
        if hasattr(event, "request") or any(abs(event.at - at) <= _AROUND_SECONDS for at in moments)
    ]


def percentile(values: Sequence[float], fraction: float) -> float:
    """The nearest-rank percentile (no interpolation, so that few values give their worst)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def _is_brokers_loss(account: _Account, rules: Rules) -> bool:
    confirmed = account.confirmed
    if confirmed is None or account.answers:
        return False
    return any(at - confirmed <= rules.doubtful_seconds for at in account.forgotten)


def _missing_words(account: _Account) -> str:
    if account.codes:
        return f"confirmed, but answered with nothing but errors: {', '.join(account.codes)}"
    return "confirmed and never answered"


def _recoveries(book: _Book) -> Iterable[Recovery]:
    for kind in Kind:
        times: list[float] = []
        bounds: list[float] = []
        for fault, whole in book.whole.items():
            if book.kinds.get(fault) is kind and fault in book.recovered:
                times.append(book.recovered[fault] - whole.at)
                bounds.append(whole.bound_seconds)
        if times:
            ratios = [time / bound for time, bound in zip(times, bounds, strict=True)]
            yield Recovery(
                kind=kind,
                faults=len(times),
                median=percentile(times, 0.5),
                p95=percentile(times, 0.95),
                worst=max(times),
                bound=max(bounds),
                is_within=percentile(ratios, 0.95) <= 1.0,
            )


def _overall(
    book: _Book, recoveries: tuple[Recovery, ...], duplicates: int, bound: int
) -> Iterable[Violation]:
    for fault, kind in book.kinds.items():
        if fault not in book.recovered:
            yield Violation(f"no answer any more after fault {fault}: {kind.value}")
    for one in recoveries:
        if not one.is_within:
            yield Violation(
                f"{one.kind.value}: answers again after {one.p95:.1f} s (p95), the bound is {one.bound:.1f} s"
            )
    if duplicates > bound:
        yield Violation(f"{duplicates} duplicates, the bound is {bound}")
    unconfirmed = sum(one.confirmed is None for one in book.accounts.values())
    if unconfirmed:
        yield Violation(f"{unconfirmed} requests were never confirmed, so the run proves less than it says")
