"""The poison guard, with processes that really die: by SIGSEGV, by abort, by SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.service.crash_note import MOST_BYTES, parse_crash
from edge_agent.service.poison import MOST_IN_HAND, MOST_SUSPECTS, PoisonGuard, Verdict

_PRELUDE = """
import ctypes, os, signal, sys, threading
from pathlib import Path
from edge_agent.service.poison import PoisonGuard, Verdict
guard = PoisonGuard.open(Path(sys.argv[1]))
def in_worker(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
def native_abort():
    libc = ctypes.CDLL(None)
    handle = ctypes.c_ulong()
    libc.pthread_create(ctypes.byref(handle), None, libc.abort, None)
    libc.pthread_join(handle, None)
"""


def run(record: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh process with a guard; it leaves no core file."""
    return subprocess.run(
        [sys.executable, "-c", _PRELUDE + program, str(record), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=_no_core,
    )


def _no_core() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "in-hand"


@pytest.fixture
def opened(record: Path) -> Iterator[PoisonGuard]:
    guard = PoisonGuard.open(record)
    yield guard
    guard.close()


def vanish(guard: PoisonGuard) -> None:
    """What is left of a guard whose process was killed: the record as it stood."""
    assert guard._memory is not None
    assert guard._note is not None
    guard._memory.close()
    guard._memory = None
    guard._note.close()


def crash(guard: PoisonGuard, record: Path, *, thread: int | None) -> None:
    """Likewise, with the note of a fatal signal on a thread, or on none that Python knows."""
    vanish(guard)
    current = (
        "" if thread is None else f"Current thread 0x{thread:016x} (most recent call first):\n  File …\n"
    )
    note = record.with_name(record.name + ".crash")
    note.write_bytes(f"Fatal Python error: Segmentation fault\n\n{current}".encode("ascii", "replace"))


# Real deaths


@pytest.mark.parametrize(
    ("death", "number", "words"),
    [
        ("ctypes.string_at(0)", signal.SIGSEGV, "Segmentation fault"),
        ("ctypes.CDLL(None).abort()", signal.SIGABRT, "Aborted"),
        ("native_abort()", signal.SIGABRT, "Aborted"),
    ],
)
def test_what_was_in_hand_at_a_crash_is_suspected_and_at_the_second_condemned(
    record: Path, death: str, number: int, words: str
) -> None:
    program = f"""
def work():
    print(guard.verdict("t", b"bad").name, guard.verdict("t", b"good").name, flush=True)
    guard.hold([("t", b"bad")])
    {death}
in_worker(work)
"""
    for verdict in ("OK", "ALONE", "POISON"):
        ended = run(record, program)
        assert (ended.returncode, ended.stdout) == (-number, f"{verdict} OK\n"), ended.stderr
    guard = PoisonGuard.open(record)
    assert guard.crash is not None
    assert guard.crash.signal == words
    assert "most recent call first" in guard.crash.trace
    assert "bad" not in guard.crash.trace
    assert guard.suspected == 1
    assert guard.verdict("t", b"bad") is Verdict.POISON
    assert guard.verdict("u", b"bad") is Verdict.OK
    guard.close()


@pytest.mark.parametrize(
    "death",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "os._exit(1)",
        "os.kill(os.getpid(), signal.SIGABRT)",  # as systemd's watchdog sends it: to the process
        "os.kill(os.getpid(), signal.SIGSEGV)",
    ],
)
def test_a_death_from_outside_condemns_nobody(record: Path, death: str) -> None:
    program = f"""
def work():
    guard.hold([("t", b"good")])
    print(guard.verdict("t", b"good").name, guard.suspected, flush=True)
    {death}
    threading.Event().wait(60)
in_worker(work)
"""
    for _ in range(3):
        ended = run(record, program)
        assert ended.returncode
        assert ended.stdout == "OK 0\n"


def test_a_crash_between_requests_and_one_on_another_thread_condemn_nobody(record: Path) -> None:
    for program in (
        "guard.hold([('t', b'good')]); guard.release(); ctypes.string_at(0)",
        "in_worker(lambda: guard.hold([('t', b'good')])); ctypes.string_at(0)",
    ):
        assert run(record, program).returncode == -signal.SIGSEGV
        guard = PoisonGuard.open(record)
        assert guard.crash is not None
        assert (guard.suspected, guard.verdict("t", b"good")) == (0, Verdict.OK)
        guard.close()


_SERVER = """
inbox, outbox, deaths = (Path(name) for name in sys.argv[2:])
def runtime(group):
    guard.hold([("t", text.encode()) for text in group])
    if "boom" in group:
        ctypes.string_at(0)
    if "killed" in group and len(deaths.read_bytes()) < 4:
        deaths.open("ab").write(b"x")
        os.kill(os.getpid(), signal.SIGKILL)
    guard.release()
    return [(text, "ok") for text in group]
def serve():
    while True:
        done = {line.split()[0] for line in outbox.read_text().splitlines()}
        waiting = [text for text in inbox.read_text().split() if text not in done][:4]
        if not waiting:
            return
        verdicts = {text: guard.verdict("t", text.encode()) for text in waiting}
        answers = [(text, "internal") for text in waiting if verdicts[text] is Verdict.POISON]
        together = [text for text in waiting if verdicts[text] is Verdict.OK]
        answers += runtime(together) if together else []
        for text in waiting:
            answers += runtime([text]) if verdicts[text] is Verdict.ALONE else []
        with outbox.open("a") as file:
            file.writelines(f"{text} {answer}\\n" for text, answer in answers)
in_worker(serve)
guard.close()
"""


def test_a_server_that_is_restarted_answers_all_and_refuses_only_the_guilty(
    tmp_path: Path, record: Path
) -> None:
    inbox, outbox, deaths = (tmp_path / name for name in ("inbox", "outbox", "deaths"))
    inbox.write_text("a b boom c d killed e f")
    outbox.touch()
    deaths.touch()
    ends: list[int] = []
    while not ends or ends[-1]:
        ends.append(run(record, _SERVER, str(inbox), str(outbox), str(deaths)).returncode)
        assert len(ends) < 12
    answers = dict(line.split() for line in outbox.read_text().splitlines())
    assert answers == {**dict.fromkeys(["a", "b", "c", "d", "killed", "e", "f"], "ok"), "boom": "internal"}
    assert ends.count(-signal.SIGSEGV) == 2
    assert ends.count(-signal.SIGKILL) == 4


# In one process


def test_a_group_is_suspected_together_and_each_clears_itself(opened: PoisonGuard, record: Path) -> None:
    group = [("t", text) for text in (b"a", b"b", b"c", b"d")]
    opened.hold(group)
    crash(opened, record, thread=threading.get_ident())
    after = PoisonGuard.open(record)
    assert after.suspected == 4
    assert [after.verdict(*one) for one in group] == [Verdict.ALONE] * 4
    after.hold(group[:1])
    after.release()
    assert [after.verdict(*one) for one in group] == [Verdict.OK] + [Verdict.ALONE] * 3
    after.close()
    again = PoisonGuard.open(record)
    assert [again.verdict(*one) for one in group] == [Verdict.OK] + [Verdict.ALONE] * 3
    again.forgive()
    again.close()
    last = PoisonGuard.open(record)
    assert [last.verdict(*one) for one in group] == [Verdict.OK] * 4
    last.close()


def test_topic_and_payload_do_not_run_into_one_another(opened: PoisonGuard, record: Path) -> None:
    opened.hold([("a", b"bc")])
    crash(opened, record, thread=None)
    guard = PoisonGuard.open(record)
    assert guard.verdict("a", b"bc") is Verdict.ALONE
    assert guard.verdict("ab", b"c") is Verdict.OK
    guard.close()


def test_more_in_hand_than_the_record_takes_are_held_as_far_as_it_goes(
    opened: PoisonGuard, record: Path
) -> None:
    many = [("t", bytes([number])) for number in range(MOST_IN_HAND + 4)]
    opened.hold(many)
    opened.hold(many[:2])
    opened.hold(many)
    crash(opened, record, thread=None)
    guard = PoisonGuard.open(record)
    assert guard.suspected == MOST_IN_HAND
    guard.close()


def test_the_oldest_suspects_are_forgotten(record: Path) -> None:
    for number in range(MOST_SUSPECTS + 10):
        guard = PoisonGuard.open(record)
        guard.hold([("t", bytes([number]))])
        crash(guard, record, thread=None)
    guard = PoisonGuard.open(record)
    verdicts = [guard.verdict("t", bytes([number])) for number in range(MOST_SUSPECTS + 10)]
    assert verdicts == [Verdict.OK] * 10 + [Verdict.ALONE] * MOST_SUSPECTS
    guard.close()


def test_the_files_hold_no_text_and_only_their_owner_reads_them(opened: PoisonGuard, record: Path) -> None:
    opened.hold([("secret/topic", b"secret text")])
    files = sorted(record.parent.iterdir())
    assert [file.name for file in files] == ["in-hand", "in-hand.crash"]
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        assert b"secret" not in file.read_bytes()
    assert record.stat().st_size < 4096


def test_a_clean_end_leaves_nothing_in_hand(opened: PoisonGuard, record: Path) -> None:
    opened.hold([("t", b"x")])
    opened.close()
    guard = PoisonGuard.open(record)
    assert (guard.crash, guard.suspected, guard.fault) == (None, 0, None)
    assert guard.verdict("t", b"x") is Verdict.OK
    guard.close()


# What is not as it should be


@pytest.mark.parametrize(
    "content", [b"garbage", b"\0" * 5000, b"edge-agent hand1", b"edge-agent hand1" * 400]
)
def test_a_damaged_record_is_made_anew_and_said(record: Path, content: bytes) -> None:
    record.write_bytes(content)
    guard = PoisonGuard.open(record)
    assert guard.is_on
    assert "damaged" in str(guard.fault)
    guard.close()
    again = PoisonGuard.open(record)
    assert again.fault is None
    again.close()


def test_a_torn_table_of_suspects_is_forgotten(opened: PoisonGuard, record: Path) -> None:
    opened.hold([("t", b"x")])
    crash(opened, record, thread=None)
    guard = PoisonGuard.open(record)
    vanish(guard)
    content = bytearray(record.read_bytes())
    content[-40] ^= 1
    record.write_bytes(content)
    torn = PoisonGuard.open(record)
    assert torn.is_on
    assert torn.verdict("t", b"x") is Verdict.OK
    torn.close()


def _is_off(guard: PoisonGuard) -> bool:
    guard.hold([("t", b"x")])
    guard.release()
    guard.forgive()
    return not guard.is_on and guard.verdict("t", b"x") is Verdict.OK and bool(guard.fault)


def test_without_its_folder_the_guard_is_off_and_says_why(tmp_path: Path) -> None:
    guard = PoisonGuard.open(tmp_path / "missing" / "in-hand")
    assert _is_off(guard)
    assert "No such file" in str(guard.fault)
    assert list(tmp_path.iterdir()) == []


def test_a_link_a_folder_and_a_pipe_in_the_records_place_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe"):
        assert _is_off(PoisonGuard.open(tmp_path / name)), name
        assert _is_off(PoisonGuard.open(tmp_path / "absent" / name)), name
    assert target.read_bytes() == b"precious"


def test_a_memory_that_is_full_turns_the_guard_off_and_kills_nobody(record: Path) -> None:
    program = """
guard.close()
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
full = PoisonGuard.open(Path(sys.argv[1] + "2"))
full.hold([("t", b"x")])
print(full.is_on, full.fault)
"""
    ended = run(record, program)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("False requests that crash the runtime are not recognised")


@given(st.binary(max_size=300))
def test_any_note_is_a_crash_or_none(note: bytes) -> None:
    assert parse_crash(note) is None or note.startswith(b"Fatal Python error: ")


def test_a_note_is_read_up_to_its_limit() -> None:
    note = (
        b"Fatal Python error: Aborted\n\nThread 0x00000000000000ab (most recent call first):\n"
        + b"x" * 200_000
    )
    found = parse_crash(note)
    assert found is not None
    assert (found.signal, found.thread, len(found.trace)) == ("Aborted", None, MOST_BYTES)


# Whatever happens, in whatever order


@settings(deadline=None, max_examples=60)
@given(
    guilty=st.sets(st.integers(0, 11), max_size=3),
    kills=st.lists(st.booleans(), max_size=12),
    size=st.integers(1, 4),
)
def test_only_the_guilty_are_refused_after_two_crashes_each_and_all_are_answered(
    guilty: set[int], kills: list[bool], size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "in-hand"
        answers: dict[int, str] = {}
        strikes, crashes = iter(kills), 0
        guard = PoisonGuard.open(record)
        while len(answers) < 12:
            waiting = [number for number in range(12) if number not in answers][:size]
            verdicts = {number: guard.verdict("t", bytes([number])) for number in waiting}
            poison = [number for number in waiting if verdicts[number] is Verdict.POISON]
            answers.update(dict.fromkeys(poison, "internal"))
            alone = [[number] for number in waiting if verdicts[number] is Verdict.ALONE]
            together = [number for number in waiting if verdicts[number] is Verdict.OK]
            for group in [*alone, *([together] if together else [])]:
                guard.hold([("t", bytes([number])) for number in group])
                if guilty.intersection(group):
                    crash(guard, record, thread=threading.get_ident())
                    crashes += 1
                elif next(strikes, False):
                    vanish(guard)
                else:
                    guard.release()
                    answers.update(dict.fromkeys(group, "ok"))
                    continue
                guard = PoisonGuard.open(record)
                break
        guard.close()
    assert {number for number, answer in answers.items() if answer == "internal"} == guilty
    assert crashes <= 2 * len(guilty)
