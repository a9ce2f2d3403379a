"""The desk: what it takes, refuses, executes and tells; each command ends, and none runs twice."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from edge_agent.errors import EdgeAgentError
from edge_agent.link.topics import Topics
from edge_agent.service.commands.desk import MOST_IN_INBOX, CommandDesk
from edge_agent.service.commands.operation import Operation, Outcome
from edge_agent.service.commands.policy import MOST_WAITING, Clocks
from edge_agent.service.commands.states import Interruption
from edge_agent.service.commands.store import FILE_NAME, CommandStore
from tests.service.commands.operations import Told
from tests.service.commands.voice import KeptVoice, delivery

ROOT = "edge-agent/pi"
NOW = 1_800_000_000.0
INIT = {"status": "init"}


def cmd(command_id: str, operation: str = "work") -> str:
    return f"{ROOT}/cmd/{operation}/{command_id}"


class Office:
    """A desk with all that it needs, which may be closed and opened again as after a restart."""

    def __init__(
        self, folder: Path, operations: Mapping[str, Operation], kept: int = 1000, first: int = 0
    ) -> None:
        self.folder = folder
        self.voice = KeptVoice()
        self.drops: Counter[str] = Counter()
        self.synced = True
        self.now = NOW
        ids = count(first)
        self.desk = CommandDesk(
            self.voice,
            Topics("edge-agent", "pi"),
            CommandStore(folder, kept),
            operations,
            Clocks(lambda: self.synced, lambda: self.now),
            count_drop=lambda reason: self.drops.update([reason]),
            mint=lambda: f"minted-{next(ids)}",
        )

    def send(self, topic: str, payload: bytes | dict[str, Any] = b"", **more: Any) -> None:
        """Delivers a message and waits until it is acknowledged."""
        message = delivery(topic, payload, **more)
        self.desk.on_delivery(message)
        self.voice.wait_settled(message)

    def ask(self, command_id: str, operation: str = "work", **arguments: Any) -> dict[str, Any]:
        """Sends a command and waits for its end."""
        self.send(cmd(command_id, operation), {**INIT, **arguments})
        return self.voice.wait_final(cmd(command_id, operation))

    def record(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.folder / FILE_NAME).read_bytes())["commands"]
        return found


Open = Callable[..., Office]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens desks on one state directory; the one before is closed first."""
    offices: list[Office] = []

    def opens(*, start: bool = True, **operations: Operation) -> Office:
        if offices:
            offices[-1].desk.stop(20.0)
        offices.append(Office(tmp_path, operations, first=100 * len(offices)))
        if start:
            offices[-1].desk.start()
        return offices[-1]

    yield opens
    for office in offices:
        office.desk.stop(20.0)


def test_a_command_is_executed_and_told_from_beginning_to_end(opened: Open) -> None:
    work = Told(Outcome(result={"found": 3}))
    office = opened(work=work)
    final = office.ask("1", depth=2)
    assert office.voice.states(cmd("1")) == ["executing", "successful"]
    assert (final["reason"], final["result"]) == (None, {"found": 3})
    assert final["started_at"] == final["ended_at"] == "2027-01-15T08:00:00Z"
    assert work.runs == [{"depth": 2}]


def test_executing_is_written_before_the_operation_begins_and_before_it_is_acknowledged(
    opened: Open, tmp_path: Path
) -> None:
    written: list[Any] = []
    work = Told(on_run=lambda: written.extend(json.loads((tmp_path / FILE_NAME).read_bytes())["commands"]))
    office = opened(work=work)
    office.ask("1", depth=2)
    assert [(r["status"], r["arguments"], r["attempts"]) for r in written] == [("executing", {"depth": 2}, 1)]


def test_a_wish_is_executed_under_an_id_of_our_own(opened: Open) -> None:
    work = Told()
    office = opened(work=work)
    office.send(f"{ROOT}/request/work", {"depth": 2})
    assert office.voice.wait_final(cmd("minted-0"))["status"] == "successful"
    office.send(f"{ROOT}/request/work", b"PRESS", mid=2)
    assert office.voice.wait_final(cmd("minted-1"))["status"] == "successful"
    assert work.runs == [{"depth": 2}, {}]


def test_the_report_of_a_wish_makes_room_for_the_next_of_its_operation(opened: Open) -> None:
    office = opened(work=Told(), other=Told())
    for mid, operation in enumerate(("work", "other", "work"), 1):
        office.send(f"{ROOT}/request/{operation}", mid=mid)
        office.voice.wait_final(cmd(f"minted-{mid - 1}", operation))
    assert set(office.voice.retained) == {cmd("minted-1", "other"), cmd("minted-2")}


def test_a_retained_wish_is_stale_and_counted(opened: Open) -> None:
    work = Told()
    office = opened(work=work)
    office.send(f"{ROOT}/request/work", retain=True)
    assert office.drops == {"retained": 1}
    assert (office.voice.said, work.runs) == ([], [])


def test_an_id_that_has_ended_is_never_executed_again(opened: Open) -> None:
    work = Told()
    office = opened(work=work)
    first = office.ask("1")
    assert office.ask("1") == first
    assert len(work.runs) == 1


def test_nor_is_it_in_the_next_life(opened: Open) -> None:
    opened(work=Told()).ask("1")
    work = Told()
    office = opened(work=work)
    assert office.ask("1")["result"] == {"done": True}
    assert work.runs == []


def test_a_replay_of_what_was_cleared_is_refused_by_name(opened: Open) -> None:
    work = Told()
    office = opened(work=work)
    office.ask("1")
    office.send(cmd("1"))
    assert office.voice.retracted == [cmd("1")]
    office.send(cmd("1"), INIT)
    replayed = office.voice.wait_final(cmd("1"))
    assert replayed["status"] == "failed"
    assert "has ended before" in replayed["reason"]
    assert len(work.runs) == 1


def test_an_unknown_operation_is_failed_by_name(opened: Open) -> None:
    office = opened(work=Told(), other=Told())
    final = office.ask("1", "fly")
    assert final["status"] == "failed"
    assert final["reason"] == "unknown operation fly; this device knows other, work"
    office.send(f"{ROOT}/request/fly")
    assert office.voice.wait_final(cmd("minted-0", "fly"))["status"] == "failed"


def test_what_is_refused_writes_nothing_to_disk(opened: Open, tmp_path: Path) -> None:
    office = opened(work=Told())
    office.ask("1", "fly")
    office.send(cmd("2"), b"{")
    office.voice.wait_final(cmd("2"))
    office.ask("3", expires_at="2020-01-01T00:00:00Z")
    office.ask("x" * 129)
    office.ask("\x1b")
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_payload_is_failed_with_the_reason(opened: Open) -> None:
    office = opened(work=Told())
    office.send(cmd("1"), b'{"status":"go"}')
    assert office.voice.wait_final(cmd("1"))["reason"] == 'the payload has no "status":"init"'
    assert office.ask("1")["status"] == "failed", "what has failed is not begun under the same id"
    office.send(cmd("1"))
    assert office.ask("1")["status"] == "successful", "once cleared, what never began may be asked again"


def test_a_malformed_payload_changes_nothing_of_a_command_that_runs(opened: Open) -> None:
    gate = Event()
    office = opened(work=Told(gate=gate))
    office.send(cmd("1"), INIT)
    office.send(cmd("1"), b"{")
    gate.set()
    assert office.voice.wait_final(cmd("1"))["status"] == "successful"
    assert "failed" not in office.voice.states(cmd("1"))


def test_a_stale_command_is_refused_where_the_clock_is_right(opened: Open) -> None:
    work = Told()
    office = opened(work=work)
    late = office.ask("1", sent_at="2027-01-15T07:58:00Z", ttl_s=60)
    assert (late["status"], late["reason"]) == ("failed", "expired: its time to live is over")
    assert work.runs == []
    office.synced = False
    assert office.ask("2", expires_at="2020-01-01T00:00:00Z")["status"] == "successful"


def test_what_was_sent_before_the_oldest_that_is_remembered_is_refused(tmp_path: Path) -> None:
    work = Told()
    office = Office(tmp_path, {"work": work}, kept=2)
    office.desk.start()
    for number in range(4):
        office.now = NOW + number
        office.ask(str(number))
    again = office.ask("0 again", sent_at="2027-01-15T08:00:00Z")
    assert again["reason"] == "stale: it was sent before the oldest command that is remembered"
    assert office.ask("new", sent_at="2027-01-15T08:00:02Z")["status"] == "successful"
    office.desk.stop(20.0)


def test_our_own_echoes_are_ignored(opened: Open) -> None:
    office = opened(work=Told())
    office.ask("1")
    before = list(office.voice.said)
    for _, payload in before:
        office.send(cmd("1"), payload)
    office.send(cmd("other"), b'{"status":"executing"}')
    assert office.voice.said == before


def test_one_is_executed_at_a_time_in_the_order_of_arrival(opened: Open) -> None:
    gate = Event()
    work = Told(gate=gate)
    office = opened(work=work)
    for number in range(3):
        office.send(cmd(str(number)), {**INIT, "n": number})
    assert work.running.wait(20)
    assert [r["status"] for r in office.record()] == ["executing", "init", "init"]
    assert office.voice.states(cmd("1")) == []
    gate.set()
    office.voice.wait_final(cmd("2"))
    assert work.runs == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_a_waiting_command_that_is_cleared_is_not_executed(opened: Open) -> None:
    gate = Event()
    work = Told(gate=gate)
    office = opened(work=work)
    office.send(cmd("1"), INIT)
    office.send(cmd("2"), INIT)
    office.send(cmd("2"))
    office.send(cmd("3"), INIT)
    gate.set()
    office.voice.wait_final(cmd("3"))
    assert len(work.runs) == 2
    assert office.voice.states(cmd("2")) == []


def test_a_command_that_is_cleared_while_it_runs_is_not_told_again(opened: Open) -> None:
    gate = Event()
    office = opened(work=Told(gate=gate))
    office.send(cmd("1"), INIT)
    office.send(cmd("1"))
    gate.set()
    office.ask("2")
    assert office.voice.states(cmd("1")) == ["executing"]
    assert [r["status"] for r in office.record()] == ["successful", "successful"]


def test_beyond_the_queue_a_command_is_failed_as_busy(opened: Open) -> None:
    gate = Event()
    work = Told(gate=gate)
    office = opened(work=work)
    for number in range(MOST_WAITING + 3):
        office.send(cmd(str(number)), INIT)
    for number in (MOST_WAITING + 1, MOST_WAITING + 2):
        assert office.voice.wait_final(cmd(str(number)))["reason"].startswith("busy")
    gate.set()
    office.voice.wait_final(cmd(str(MOST_WAITING)))
    assert len(work.runs) == MOST_WAITING + 1


def test_a_flood_beyond_the_inbox_is_answered_busy_at_once_and_counted(opened: Open) -> None:
    office = opened(work=Told(), start=False)
    for number in range(MOST_IN_INBOX):
        office.desk.on_delivery(delivery(cmd(str(number)), INIT))
    office.send(cmd("late"), INIT)
    office.send(cmd("late"), office.voice.retained[cmd("late")])
    office.send(cmd("gone"))
    assert office.voice.wait_final(cmd("late"))["reason"].startswith("busy")
    assert office.voice.retracted == [cmd("gone")]
    assert office.drops == {"commands_busy": 2}


def test_states_that_the_broker_retained_leave_room_for_commands(opened: Open) -> None:
    office = opened(work=Told(), start=False)
    for number in range(MOST_IN_INBOX):
        office.desk.on_delivery(delivery(cmd(str(number)), {"status": "failed"}, retain=True))
    assert len(office.voice.settled) == MOST_IN_INBOX // 2
    office.desk.on_delivery(delivery(cmd("new"), INIT))
    office.desk.start()
    assert office.voice.wait_final(cmd("new"))["status"] == "successful"


def test_an_operation_that_hangs_is_failed_and_the_desk_goes_on(opened: Open) -> None:
    gate = Event()
    office = opened(stuck=Told(gate=gate, deadline_seconds=0.1, deaf=True), work=Told())
    assert office.ask("1", "stuck")["reason"] == "did not end within 0.1 s"
    assert office.ask("2")["status"] == "successful"
    assert office.ask("3", "stuck")["reason"] == "an earlier stuck has not ended yet"
    gate.set()
    office.ask("4")
    assert office.voice.states(cmd("1", "stuck")) == ["executing", "failed"]


def test_an_operation_that_fails_says_why(opened: Open) -> None:
    office = opened(work=Told(Outcome("three models are ill", {"ill": 3})))
    final = office.ask("1")
    assert (final["status"], final["reason"], final["result"]) == (
        "failed",
        "three models are ill",
        {"ill": 3},
    )


def test_an_error_of_ours_is_told_and_a_foreign_one_only_by_its_kind(opened: Open) -> None:
    ours = Told(EdgeAgentError("the disk is full"))
    foreign = Told(ValueError("the text of a user"))
    odd = Told(Outcome(result={"a": object()}))
    large = Told(Outcome(result={"a": "x" * 70_000}))
    office = opened(ours=ours, foreign=foreign, odd=odd, large=large)
    assert office.ask("1", "ours")["reason"] == "the disk is full"
    assert office.ask("2", "foreign")["reason"] == "internal: ValueError"
    assert office.ask("3", "odd")["reason"] == "internal: TypeError"
    assert "more than 65536" in office.ask("4", "large")["reason"]


def test_what_cannot_be_written_down_is_failed_and_not_executed(opened: Open, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    work = Told()
    office = Office(folder, {"work": work})
    office.desk.start()
    final = office.ask("1")
    assert final["reason"] == "the command cannot be recorded: No such file or directory"
    folder.mkdir()
    assert office.ask("2")["status"] == "successful", "the desk goes on"
    assert office.ask("1")["status"] == "failed"
    assert len(work.runs) == 1
    office.desk.stop(20.0)


def test_a_copy_of_an_earlier_connection_is_left_to_the_broker(opened: Open) -> None:
    work = Told()
    office = opened(work=work, start=False)
    office.voice.old.add(1)
    office.desk.on_delivery(delivery(f"{ROOT}/request/work", mid=7, connection=1))
    office.desk.on_delivery(delivery(f"{ROOT}/request/work", mid=7, connection=2))
    office.desk.start()
    office.voice.wait_final(cmd("minted-0"))
    office.send(cmd("1"), INIT, connection=2)
    office.voice.wait_final(cmd("1"))
    assert len(work.runs) == 2


def test_a_wish_that_the_broker_sends_again_is_not_executed_again_even_in_the_next_life(opened: Open) -> None:
    wish = delivery(f"{ROOT}/request/work", mid=7)
    work = Told()
    office = opened(work=work)
    office.desk.on_delivery(wish)
    office.voice.wait_final(cmd("minted-0"))
    again = replace(wish, message=replace(wish.message, dup=True))
    office.desk.on_delivery(again)
    office.voice.wait_settled(again)
    after = opened(work=work)
    after.desk.on_delivery(again)
    after.voice.wait_settled(again)
    assert len(work.runs) == 1
    after.send(f"{ROOT}/request/work", mid=7)
    after.voice.wait_final(cmd("minted-100"))
    assert len(work.runs) == 2, "a new message may have the packet id of an old one"


def test_the_end_of_the_daemon_leaves_a_running_operation_for_the_next_start(opened: Open) -> None:
    office = opened(work=Told(gate=Event()))
    office.send(cmd("1"), {**INIT, "depth": 2})
    office.send(cmd("2"), INIT)
    assert office.desk.stop(20.0)
    work = Told()
    after = opened(work=work)
    assert after.voice.wait_final(cmd("2"))["status"] == "successful"
    assert after.voice.states(cmd("1")) == ["executing", "successful"]
    assert work.runs == [{"depth": 2}, {}]


@pytest.mark.parametrize(
    ("interruption", "status", "runs"),
    [
        (Interruption.RUN_AGAIN, "successful", 1),
        (Interruption.FAILED, "failed", 0),
        (Interruption.SUCCESSFUL, "successful", 0),
    ],
)
def test_what_was_interrupted_ends_as_its_operation_says(
    opened: Open, interruption: Interruption, status: str, runs: int
) -> None:
    opened(work=Told(gate=Event())).send(cmd("1"), INIT)
    work = Told(interruption=interruption)
    office = opened(work=work)
    final = office.voice.wait_final(cmd("1"))
    assert (final["status"], len(work.runs)) == (status, runs)
    assert office.ask("1") == final
    assert len(work.runs) == runs


def test_what_was_interrupted_twice_is_given_up(opened: Open) -> None:
    for _ in range(2):
        work = Told(gate=Event())
        office = opened(work=work)
        office.send(cmd("1"), INIT)
        assert work.running.wait(20)
    work = Told()
    final = opened(work=work).voice.wait_final(cmd("1"))
    assert (final["status"], work.runs) == ("failed", [])
    assert final["reason"].startswith("interrupted")


def test_an_interrupted_operation_that_this_version_does_not_know_is_failed(opened: Open) -> None:
    opened(work=Told(gate=Event())).send(cmd("1"), INIT)
    assert opened(other=Told()).voice.wait_final(cmd("1"))["status"] == "failed"


def test_a_state_that_an_earlier_life_left_at_the_broker_is_corrected(opened: Open) -> None:
    opened(work=Told()).ask("1")
    office = opened(work=Told())
    office.send(cmd("1"), {"status": "executing"}, retain=True)
    office.send(cmd("lost"), {"status": "executing"}, retain=True)
    office.send(cmd("foreign"), {"status": "failed"}, retain=True)
    assert office.voice.wait_final(cmd("1"))["status"] == "successful"
    assert office.voice.wait_final(cmd("lost"))["reason"].startswith("interrupted")
    assert office.voice.states(cmd("foreign")) == []


def test_what_was_cleared_and_stands_at_the_broker_all_the_same_is_cleared_again(opened: Open) -> None:
    office = opened(work=Told())
    for mid in (1, 2):
        office.send(f"{ROOT}/request/work", mid=mid)
        office.voice.wait_final(cmd(f"minted-{mid - 1}"))
    after = opened(work=Told())
    after.send(cmd("minted-0"), {"status": "successful"}, retain=True)
    after.send(cmd("minted-1"), {"status": "successful"}, retain=True)
    assert (cmd("minted-0"), b"") in after.voice.said
    assert set(after.voice.retained) == {cmd("minted-1")}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_on_a_disk_that_takes_nothing_a_command_is_failed_and_not_executed(
    tmp_path: Path, fault: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this container may not mount")
    work = Told()
    office = Office(disk, {"work": work})
    try:
        if fault == "full":
            with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
                while True:
                    ballast.write(b"x" * 4096)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        before = sorted(path.name for path in disk.iterdir())
        office.desk.start()
        final = office.ask("1")
        assert final["status"] == "failed"
        assert final["reason"] in (
            "the command cannot be recorded: No space left on device",
            "the command cannot be recorded: Read-only file system",
        )
        assert work.runs == []
        assert sorted(path.name for path in disk.iterdir()) == before
    finally:
        office.desk.stop(20.0)
        subprocess.run(["umount", str(disk)], check=True)


def test_reports_that_nobody_clears_are_bounded(opened: Open) -> None:
    office = opened(work=Told())
    for number in range(150):
        office.send(cmd(str(number), "fly"), INIT)
    assert len(office.voice.retained) == 128


def test_a_topic_below_the_commands_that_is_none_is_acknowledged_and_counted(opened: Open) -> None:
    office = opened(work=Told())
    assert office.desk.takes(cmd("1"))
    assert not office.desk.takes(f"{ROOT}/in/home")
    office.send(f"{ROOT}/cmd/work", INIT)
    assert office.drops == {"no_command": 1}
