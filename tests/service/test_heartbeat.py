"""The heartbeat: the watchdog is fed by work that was done, and by nothing else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from edge_agent.link.envelope import Limits
from edge_agent.link.routes import Router
from edge_agent.link.topics import Topics
from edge_agent.service.answering import Rules
from edge_agent.service.figures import Figures, Stages
from edge_agent.service.heartbeat import Heartbeat
from edge_agent.service.models import Entry
from edge_agent.service.notify import Notifier
from edge_agent.service.worker import Worker
from tests.fakes.model import FakeModel, served
from tests.fakes.replies import RecordingReplies
from tests.testbeds.waiting import eventually


class Manager:
    """A service manager that listens."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.setblocking(False)
        self.notifier = Notifier({"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "90000000"})

    def heard(self) -> list[str]:
        words = []
        while True:
            try:
                words.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return words

    def close(self) -> None:
        self._socket.close()


class Stand:
    """A heartbeat with a real worker, whose model may be held."""

    def __init__(self, folder: Path) -> None:
        self.manager = Manager(folder)
        self.free = Event()
        self.free.set()
        self.figures = Figures()
        self.hangs = 0
        model = FakeModel(before=self._held)
        router = Router(Topics("edge-agent", "pi"))
        rules = Rules(Limits(100), queue_size=4)
        self.worker = Worker(RecordingReplies(), router, rules, self.figures, clock_synced=lambda: True)
        self.worker.swap({"home": Entry("home", served(model))})
        self.worker.start()
        self.heartbeat = Heartbeat(
            self.worker,
            self.figures,
            self.manager.notifier,
            600.0,
            is_stuck=lambda: not self.free.is_set(),
            on_hang=self.count_hang,
        )
        self.heartbeat.begin()

    def _held(self, _: str) -> None:
        self.free.wait(60)

    def count_hang(self) -> None:
        self.hangs += 1

    def settle(self) -> None:
        eventually(lambda: self.worker.busy_seconds == 0.0 and self.worker.canary(0).wait(30), 30.0)

    def close(self) -> None:
        self.free.set()
        self.worker.finish(30)
        self.manager.close()


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.close()


def test_it_beats_three_times_within_the_watchdogs_patience(stand: Stand) -> None:
    assert stand.heartbeat.seconds == 30.0


def test_a_canary_that_came_back_feeds_the_watchdog(stand: Stand) -> None:
    stand.settle()
    stand.heartbeat.beat(0.0)
    assert stand.manager.heard() == ["WATCHDOG=1"]


def test_a_worker_that_hangs_does_not_and_is_noted(stand: Stand) -> None:
    stand.settle()
    stand.free.clear()
    stand.heartbeat.beat(0.0)
    stand.manager.heard()
    stand.heartbeat.beat(0.0)
    assert (stand.manager.heard(), stand.hangs) == ([], 1)


def test_an_answer_feeds_it_too_while_a_canary_waits_its_turn(stand: Stand) -> None:
    stand.settle()
    stand.free.clear()
    stand.heartbeat.beat(0.0)
    stand.manager.heard()
    stand.figures.count_result("home", Stages(0.1, 0.1, 0.1, 0.3), 0.0)
    stand.heartbeat.beat(0.0)
    assert (stand.manager.heard(), stand.hangs) == (["WATCHDOG=1"], 0)


def test_a_process_that_stood_still_blames_nobody(stand: Stand) -> None:
    stand.settle()
    stand.free.clear()
    stand.heartbeat.beat(0.0)
    stand.heartbeat.beat(15.0)
    assert stand.hangs == 0
