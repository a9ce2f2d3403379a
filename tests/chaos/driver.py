"""Runs a schedule on real parts: Mosquitto, the daemon, a proxy between them, and requesters that go on."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread

from tests.chaos.asker import INFLIGHT, Asker, Question, mark, questions
from tests.chaos.faults import FakeClock, Stage, TinyDisk
from tests.chaos.ledger import (
    Answered,
    Began,
    Broken,
    Confirmed,
    Event,
    Forgotten,
    Recovered,
    Rules,
    Sent,
    Verdict,
    Whole,
    settle,
)
from tests.chaos.schedule import Fault, Kind, make_schedule
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.proxy import Proxy
from tests.tiny_bundle import SENTENCES, build_tiny_bundle

RECONNECT_MAX_SECONDS = 1.0
KEEPALIVE_SECONDS = 5
QUEUE_SIZE = 32
RECEIVE_MAXIMUM = 16
MOST_OUTSTANDING = 256
_ANSWERS_IN_FLIGHT = 20  # of the link: ConnectOptions.inflight
_DURING_FAULT = 0.6  # of the requests up to the next fault; the rest proves the recovery
_STALL_SECONDS = 120.0
_PATIENCE_SECONDS = 10.0
_LINGER_SECONDS = 1.0
_LOOK_SECONDS = 0.25
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked for.

    Attributes:
        requests: in all.
        faults: in all.
        seed: of the schedule.
        per_second: requests that are sent a second, at most.
    """

    requests: int
    faults: int
    seed: int
    per_second: float = 200.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        skipped: kinds that could not be brought about on this machine, and why.
        start_seconds: from the start of the daemon to its first answer, without faults.
        seconds: of the whole run.
        daemon_log: of the daemon.
    """

    plan: Plan
    schedule: tuple[Fault, ...]
    events: tuple[Event, ...]
    verdict: Verdict
    skipped: dict[Kind, str]
    start_seconds: float
    seconds: float
    daemon_log: str


@dataclass(slots=True)
class _Run:
    """What the threads of a run share; ``news`` guards it."""

    plan: Plan
    asked: tuple[Question, ...]
    news: Condition = field(default_factory=Condition)
    events: list[Event] = field(default_factory=list)
    sent: int = 0
    confirmed: int = 0
    limit: int = 0
    is_over: bool = False
    open: dict[int, float] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    last_answer: tuple[int, float] | None = None

    def question(self, number: int) -> Question:
        return self.asked[number // 2 % len(self.asked)]

    def note(self, event: Event) -> None:
        with self.news:
            self.events.append(event)
            if isinstance(event, Sent):
                self.sent += 1
                self.open[event.request] = event.at
            elif isinstance(event, Confirmed):
                self.confirmed += 1
            elif isinstance(event, Forgotten):
                self.forgotten.add(event.request)
            elif isinstance(event, Answered) and event.is_right:
                since = self.open.pop(event.request, None)
                if since is not None:
                    self.last_answer = (event.request, since)
            self.news.notify_all()

    def allow(self, limit: int) -> None:
        """Lets the requesters send so many in all."""
        with self.news:
            self.limit = max(self.limit, min(limit, self.plan.requests))
            self.news.notify_all()


def run(
    plan: Plan, tell: Callable[[str], None] = lambda _: None, schedule: tuple[Fault, ...] | None = None
) -> Outcome:
    """Runs a plan; the same seed meets the same faults at the same requests.

    Args:
        plan: what to do.
        tell: takes a line after each fault.
        schedule: None for that of the seed.
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=memory_folder()) as name, ExitStack() as parts:
        folder = Path(name)
        models = {
            "tiny": build_tiny_bundle(folder / "models" / "tiny"),
            "other": build_tiny_bundle(folder / "models" / "other", name="other", classify=True, seed=11),
        }
        shared = _Run(plan, questions(models, plain_texts()))
        stage = _set_up(folder, parts)
        askers = _askers(stage, parts, shared)
        schedule = schedule or make_schedule(plan.seed, plan.requests, plan.faults)
        skipped = {fault.kind: lack for fault in schedule if (lack := stage.lack(fault.kind))}
        driver = _Driver(stage, shared, askers, [one for one in schedule if one.kind not in skipped], tell)
        start_seconds = driver.drive()
        rules = Rules(
            agent_window=QUEUE_SIZE + _ANSWERS_IN_FLIGHT,
            requester_window=INFLIGHT * len(askers),
            links=stage.proxy.carried,
        )
        events = tuple(shared.events)
        return Outcome(
            plan=plan,
            schedule=schedule,
            events=events,
            verdict=settle(events, rules),
            skipped=skipped,
            start_seconds=start_seconds,
            seconds=time.monotonic() - begun,
            daemon_log=stage.daemon.log_text(),
        )


class _Driver:
    """Walks through the schedule."""

    def __init__(
        self,
        stage: Stage,
        shared: _Run,
        askers: list[Asker],
        schedule: list[Fault],
        tell: Callable[[str], None],
    ) -> None:
        self._stage = stage
        self._run = shared
        self._askers = askers
        self._schedule = schedule
        self._tell = tell
        self._start_seconds = 0.0
        stage.on_broker_killed = self._look_into_the_database

    def drive(self) -> float:
        """Runs all faults and waits for all answers.

        Returns:
            Seconds from the start of the daemon to its first answer.
        """
        sender = Thread(target=self._send_all, name="sender", daemon=True)
        sender.start()
        try:
            self._start()
            for fault, limit in zip(self._schedule, self._limits(), strict=True):
                if not self._pass_through(fault, limit):
                    return self._start_seconds
            self._run.allow(self._run.plan.requests)
            self._finish()
        finally:
            with self._run.news:
                self._run.is_over = True
                self._run.news.notify_all()
            sender.join()
        return self._start_seconds

    def _start(self) -> None:
        begun = time.monotonic()
        self._stage.daemon.start()  # what comes before the first subscription is nobody's
        self._run.allow(self._schedule[0].after_requests if self._schedule else self._run.plan.requests)
        self._wait_for(lambda: self._run.last_answer is not None, "the first answer")
        self._start_seconds = time.monotonic() - begun
        self._tell(f"the first answer came after {self._start_seconds:.1f} s")

    def _limits(self) -> list[int]:
        return [*(fault.after_requests for fault in self._schedule[1:]), self._run.plan.requests]

    def _pass_through(self, fault: Fault, limit: int) -> bool:
        """One fault, from its first request to the recovery; False where nothing is answered any more."""
        shared = self._run
        if not self._wait_for(lambda: shared.sent >= fault.after_requests, f"the requests before {fault}"):
            return False
        shared.note(Began(time.monotonic(), fault.index, fault.kind))
        shared.allow(fault.after_requests + int(_DURING_FAULT * (limit - fault.after_requests)))
        self._stage.begin(fault)
        self._sleep(fault.seconds)
        self._stage.end(fault)
        whole = time.monotonic()
        shared.note(Whole(whole, fault.index, self._bound_seconds(fault)))
        shared.allow(limit)
        if not self._wait_for(lambda: self._is_answered_since(whole), f"an answer after {fault}"):
            return False
        now = time.monotonic()
        shared.note(Recovered(now, fault.index))
        self._tell(f"{fault}; answers again {now - whole:.2f} s later, {len(shared.open)} open")
        return True

    def _is_answered_since(self, moment: float) -> bool:
        last = self._run.last_answer
        return last is not None and last[1] > moment

    def _bound_seconds(self, fault: Fault) -> float:
        """Longest pause before the next attempt, and what this machine needs to be let in and to answer."""
        bound = RECONNECT_MAX_SECONDS + max(2.0, self._start_seconds)
        if self._stage.restarts_agent(fault):
            bound += 2 * self._start_seconds
        if fault.kind is Kind.AGENT_DESERTED:
            bound += 2 * KEEPALIVE_SECONDS
        return bound

    def _finish(self) -> None:
        shared = self._run
        self._wait_for(lambda: shared.sent >= shared.plan.requests, "the last request")
        self._wait_for(
            lambda: shared.confirmed >= shared.sent and shared.open.keys() <= shared.forgotten,
            "the last answer",
        )
        with shared.news:  # what a killed broker forgot may come by an answer that was under way
            shared.news.wait_for(lambda: not shared.open, _PATIENCE_SECONDS)
        self._sleep(_LINGER_SECONDS)

    def _wait_for(self, is_it: Callable[[], bool], what: str) -> bool:
        """Waits until something is true, or nothing has moved for a long time."""
        shared = self._run
        moved, deadline = -1, 0.0
        while True:
            self._look_after_the_agent()
            with shared.news:
                if len(shared.events) != moved:
                    moved, deadline = len(shared.events), time.monotonic() + _STALL_SECONDS
                if is_it():
                    return True
                if time.monotonic() >= deadline:
                    left = f"{len(shared.open)} requests are open"
                    shared.note(Broken(time.monotonic(), f"waited in vain for {what}: {left}"))
                    self._tell(f"waited in vain for {what}: {left}")
                    return False
                shared.news.wait_for(is_it, _LOOK_SECONDS)

    def _look_after_the_agent(self) -> None:
        """Nothing but a fault may end the daemon; systemd would start it again, and so do we."""
        if not self._stage.daemon.is_running:
            self._run.note(Broken(time.monotonic(), "the daemon ended by itself; its log says why"))
            self._stage.daemon.start(wait_ready=False)

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(left)

    def _look_into_the_database(self) -> None:
        """Notes which open requests a killed broker has neither saved nor answered."""
        shared = self._run
        database = self._stage.broker.folder / "mosquitto.db"
        saved = database.read_bytes() if database.exists() else b""
        now = time.monotonic()
        with shared.news:
            for number in list(shared.open):
                if mark(number).encode() not in saved:
                    shared.note(Forgotten(now, number))

    # In a thread of its own

    def _send_all(self) -> None:
        shared, pause = self._run, 1.0 / self._run.plan.per_second
        due = time.monotonic()
        for number in range(shared.plan.requests):
            with shared.news:
                shared.news.wait_for(self._may_send)
                if shared.is_over:
                    return
            self._askers[number % len(self._askers)].send(number)
            due = max(due + pause, time.monotonic() - pause)
            self._sleep(due - time.monotonic())

    def _may_send(self) -> bool:
        shared = self._run
        return shared.is_over or (shared.sent < shared.limit and len(shared.open) < MOST_OUTSTANDING)


def _set_up(folder: Path, parts: ExitStack) -> Stage:
    broker = Mosquitto(folder / "broker", extra=("autosave_on_changes true", "autosave_interval 1"))
    parts.enter_context(broker)
    proxy = Proxy(broker.port)
    parts.enter_context(proxy)
    disk, clock = TinyDisk(), FakeClock(folder)
    daemon = Daemon(
        folder / "daemon",
        proxy.port,
        (folder / "models",),
        settings={
            "device": {"state_directory": str(disk.folder), "runtime_directory": str(folder / "runtime")},
            "mqtt": {
                "reconnect_max_seconds": RECONNECT_MAX_SECONDS,
                "keepalive_seconds": KEEPALIVE_SECONDS,
                "receive_maximum": RECEIVE_MAXIMUM,
            },
            "inference": {"queue_size": QUEUE_SIZE},
            "health": {"interval_seconds": 5},
            "log": {"level": "info"},
        },
        environment=clock.environment,
    )
    stage = parts.enter_context(Stage(broker, proxy, daemon, disk, clock))
    parts.enter_context(_ended(daemon))
    return stage


def _askers(stage: Stage, parts: ExitStack, shared: _Run) -> list[Asker]:
    askers = []
    for name, is_v5 in (("v5", True), ("v3", False)):
        asker = Asker(stage.broker.port, name, stage.daemon.root, shared.note, shared.question, is_v5=is_v5)
        parts.callback(asker.close)
        askers.append(asker)
    return askers


@contextmanager
def _ended(daemon: Daemon) -> Iterator[Daemon]:
    """Ends the daemon with the run, whatever became of it."""
    try:
        yield daemon
    finally:
        daemon.__exit__(None, None, None)


def plain_texts() -> tuple[str, ...]:
    """The sentences that the tiny model was fitted to."""
    return tuple(_plain(marked) for _, marked, _ in SENTENCES)


def _plain(marked: str) -> str:
    """A sentence without the marks of its slots."""
    while "[" in marked:
        before, _, rest = marked.partition("[")
        value, _, rest = rest.partition("](")
        marked = before + value + rest.partition(")")[2]
    return marked


def memory_folder() -> str | None:
    """In memory where there is such a folder: Mosquitto writes its whole database at every change."""
    return str(_SHARED_MEMORY) if _SHARED_MEMORY.is_dir() else None
