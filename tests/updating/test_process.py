"""The process that updates is spoken to, listened to and ended in time, whatever it does."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from threading import Event

import psutil
import pytest

from edge_agent.service.updating.order import Limits, Order, Progress, parse, render
from edge_agent.service.updating.process import run_order
from edge_agent.service.updating.shadow import ShadowSentence
from edge_agent.update.refusal import Reason, UpdateError
from edge_agent.update.slots import Record, State, Version
from tests.testbeds.waiting import eventually

LIMITS = Limits(20.0, 500_000_000, 1000.0, 512, 0.9, 2, 100_000_000)
SENTENCES = tuple(
    ShadowSentence(f"sentence {n}" * 50, True, "on", (("area", "kitchen"),)) for n in range(900)
)


def order(limits: Limits = LIMITS) -> Order:
    return Order(
        models="/m",
        state="/s",
        repository="/r",
        root="/root.json",
        channel="default",
        names=("home",),
        version=None,
        clock_synced=True,
        is_poll=False,
        only_tells=False,
        serving={"home": Version("1.0.0", "sha256:" + "0" * 64)},
        limits=limits,
        shadow={"home": SENTENCES},
    )


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the test's own, in place of the one that updates; :func:`write` says what it does."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "strange_child"


def write(tmp_path: Path, source: str) -> None:
    (tmp_path / "strange_child.py").write_text(textwrap.dedent(source))


def _children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if "strange_child" in each.cmdline()]


def test_an_order_and_each_line_come_through_as_they_were() -> None:
    assert Order.from_json(order().to_json()) == order()
    record = Record("home", State.TRYING, None, (), Version("2.0.0", "sha256:" + "1" * 64))
    for progress in (
        Progress(latest={"home": "1.1.0"}),
        Progress(percentage=40),
        Progress(record=record),
        Progress(done="home", is_new=True),
        Progress(done=""),
        Progress(refused=Reason.EXPIRED, name="home", message="expired: it is"),
    ):
        assert parse(render(progress)) == progress


def test_a_sentence_of_the_user_is_in_no_repr() -> None:
    assert "sentence" not in repr(order())


@pytest.mark.parametrize(
    "line", ["", "7", "[]", '{"record": 7}', '{"refused": {"reason": "?"}}', '{"done": 7}']
)
def test_a_line_that_makes_no_sense_is_no_progress(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whichever; the words are for nobody
        parse(line)


def test_a_large_order_arrives_whole_and_lines_are_heard(tmp_path: Path, child: str) -> None:
    write(
        tmp_path,
        """
        import json, sys
        order = json.loads(sys.stdin.read())
        print(json.dumps({"percentage": len(order["shadow"]["home"])}))
        print(json.dumps({"done": {"name": "home", "is_new": True}}))
        """,
    )
    heard: list[Progress] = []
    assert run_order(order(), heard.append, Event(), module=child)
    assert heard == [Progress(percentage=900), Progress(done="home", is_new=True)]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "updater_failed: .* signal 11"),
        ("raise SystemExit(7)", "updater_failed: .* code 7"),
        ("print('no JSON')", "updater_failed: .* make sense"),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "updater_failed: .* without end"),
        ("import sys; sys.stdin.close(); import time; time.sleep(60)", "took_too_long: "),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "took_too_long: "),
        (
            'print(\'{"refused": {"name": "home", "reason": "expired", "message": "expired: old"}}\')',
            "^expired: old$",
        ),
    ],
)
def test_whatever_it_does_it_ends_with_a_named_reason_and_leaves_nothing(
    tmp_path: Path, child: str, source: str, reason: str
) -> None:
    write(tmp_path, source)
    seconds = 2.0 if "took" in reason else 20.0
    limits = Limits(seconds, 500_000_000, 1000.0, 512, 0.9, 2, 100_000_000)
    with pytest.raises(UpdateError, match=reason):
        run_order(order(limits), lambda _: None, Event(), module=child)
    assert _children() == []


def test_it_is_stopped_at_once_with_all_that_it_started(tmp_path: Path, child: str) -> None:
    write(
        tmp_path,
        """
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "strange_child"])
        print('{"percentage": 1}', flush=True)
        time.sleep(60)
        """,
    )
    stopping = Event()
    begun = time.monotonic()
    assert not run_order(order(), lambda _: stopping.set(), stopping, module=child)
    assert time.monotonic() - begun < 10
    assert _children() == []


def test_it_goes_with_its_parent(tmp_path: Path) -> None:
    """The real child, which reads its root from a pipe that nobody writes."""
    os.mkfifo(tmp_path / "root.json")
    waits = replace(order(), root=str(tmp_path / "root.json"), state=str(tmp_path))
    program = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'edge_agent.service.updating.child']\n"
        "child = subprocess.Popen(command, stdin=subprocess.PIPE)\n"
        "child.stdin.write(sys.stdin.buffer.read()); child.stdin.close()\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(waits.to_json())
        parent.stdin.close()
        child = psutil.Process(int(parent.stdout.readline()))
        eventually(lambda: child.nice() == 10, 20.0, "a child that stepped back")
        parent.kill()
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 20.0, "its end")
