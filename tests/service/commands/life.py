"""One life of a desk as a process that ends by SIGKILL at a named point: ``python life.py FOLDER POINT``.

The folder has the state directory, and a journal of what a broker would have seen: one JSON line for each
announcement, acknowledgement and run. A point is ``<what>-<n>-<before|after>``, such as ``write-1-after``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

from edge_agent.link.protocol import Delivery, Incoming
from edge_agent.link.topics import Topics
from edge_agent.log import configure_log
from edge_agent.service.commands.desk import CommandDesk
from edge_agent.service.commands.operation import Outcome
from edge_agent.service.commands.policy import Clocks
from edge_agent.service.commands.record import Record
from edge_agent.service.commands.states import Interruption
from edge_agent.service.commands.store import CommandStore, Key

TOPIC = "edge-agent/pi/cmd/work/1"
POINTS = tuple(
    f"{what}-{number}-{when}"
    for what, last in (("write", 2), ("announce", 2), ("settle", 1), ("run", 1))
    for number in range(1, last + 1)
    for when in ("before", "after")
)


class Fate:
    """Ends the process at its point."""

    def __init__(self, point: str) -> None:
        self._point = point
        self._counts: Counter[str] = Counter()

    def before(self, what: str) -> None:
        self._counts[what] += 1
        self._meet(what, "before")

    def after(self, what: str) -> None:
        self._meet(what, "after")

    def _meet(self, what: str, when: str) -> None:
        if self._point == f"{what}-{self._counts[what]}-{when}":
            os.kill(os.getpid(), signal.SIGKILL)


class Journal:
    """The broker's side, and the operation's: survives the process."""

    def __init__(self, folder: Path, fate: Fate) -> None:
        self._path = folder / "journal"
        self._fate = fate
        self.is_done = Event()

    def _note(self, what: str, detail: Any = None) -> None:
        self._fate.before(what)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([what, detail]) + "\n")
        self._fate.after(what)

    def announce(self, topic: str, payload: bytes) -> None:
        assert topic == TOPIC
        state = json.loads(payload)["status"]
        self._note("announce", state)
        if state in ("successful", "failed"):
            self.is_done.set()

    def retract(self, topic: str) -> None:
        raise AssertionError(topic)

    def settle(self, delivery: Delivery) -> None:
        self._note("settle", delivery.message.topic)

    def comes_again(self, delivery: Delivery) -> bool:
        return False

    def run(self, arguments: Mapping[str, Any], stopping: Event) -> Outcome:
        self._note("run", dict(arguments))
        return Outcome()


class MortalStore(CommandStore):
    """A store whose writes may be the last thing that happens."""

    def __init__(self, folder: Path, fate: Fate) -> None:
        super().__init__(folder)
        self._fate = fate

    def _write(self, records: dict[Key, Record], forgotten: float | None) -> None:
        self._fate.before("write")
        super()._write(records, forgotten)
        self._fate.after("write")


class Work:
    """An operation whose runs stand in the journal."""

    deadline_seconds = 30.0

    def __init__(self, journal: Journal, interruption: Interruption) -> None:
        self.run = journal.run
        self.interruption = interruption


def live(folder: Path, point: str, interruption: Interruption) -> None:
    """Opens a desk and delivers the command, as a broker would that still has it."""
    fate = Fate(point)
    journal = Journal(folder, fate)
    state = folder / "state"
    state.mkdir(exist_ok=True)
    desk = CommandDesk(
        journal,
        Topics("edge-agent", "pi"),
        MortalStore(state, fate),
        {"work": Work(journal, interruption)},
        Clocks(lambda: True),
    )
    desk.start()
    message = Incoming(TOPIC, b'{"status":"init","n":1}', 1, True, 1, None, None, None, None, None)
    desk.on_delivery(Delivery(message, 1, 0.0))
    assert journal.is_done.wait(30)
    assert desk.stop(30)


if __name__ == "__main__":
    configure_log("error", "json")
    live(Path(sys.argv[1]), sys.argv[2], Interruption(sys.argv[3]))
