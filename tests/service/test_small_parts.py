"""Figures, the machine's own words, systemd's datagrams, signals and logs."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.log import configure_log, get_logger
from edge_agent.service.figures import WINDOW, Figures, Spread, Stages, percentile
from edge_agent.service.machine import Machine, kernel_clock_synced
from edge_agent.service.notify import Notifier
from edge_agent.service.signals import captured_signals


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_since_the_snapshot_before() -> None:
    clock = Clock()
    figures = Figures(clock, clock)
    for _ in range(30):
        figures.count_result("home", Stages(0.1, 0.1, 0.8, 1.0), clock.now)
    clock.now += 15
    assert figures.snapshot().per_minute == 120.0
    clock.now += 60
    snapshot = figures.snapshot()
    assert snapshot.per_minute == 0.0
    assert snapshot.answered == 30
    assert snapshot.last_ok_age_seconds == {"home": 75.0}


def test_the_window_of_latencies_is_bounded() -> None:
    figures = Figures()
    for number in range(WINDOW * 2):
        figures.count_result("home", Stages(0.0, 0.0, 0.0, float(number)), 0.0)
    snapshot = figures.snapshot()
    assert snapshot.stages["total"].p50_ms == WINDOW + WINDOW / 2 - 1
    assert snapshot.stages["total"].p99_ms >= WINDOW * 1.98
    assert snapshot.stages["queue"] == Spread(0.0, 0.0)


def test_errors_and_drops_are_counted_by_kind_with_those_of_the_link() -> None:
    figures = Figures(wall=lambda: 5.0)
    figures.count_error("expired")
    figures.count_drop("retained")
    figures.note_error("inference.failed")
    snapshot = figures.snapshot({"retained": 1, "redelivered": 2})
    assert snapshot.errors == {"expired": 1}
    assert snapshot.dropped == {"retained": 2, "redelivered": 2}
    assert snapshot.last_error is not None
    assert (snapshot.last_error.event, snapshot.last_error.time) == ("inference.failed", 5.0)


def test_no_update_is_lost_between_threads() -> None:
    figures = Figures()

    def count() -> None:
        for _ in range(2000):
            figures.count_error("expired")

    threads = [Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert figures.snapshot().errors == {"expired": 8000}


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_percentile_is_one_of_the_values_with_that_share_below(values: list[float], share: float) -> None:
    ascending = sorted(values)
    found = percentile(ascending, share)
    assert found in ascending
    assert sum(value <= found for value in ascending) >= share * len(ascending) - 1e-9


def test_a_board_is_named_by_its_device_tree(tmp_path: Path) -> None:
    tree = tmp_path / "proc" / "device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.5\0")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "os-release").write_text('ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    machine = Machine(tmp_path)
    assert machine.board() == "Raspberry Pi 4 Model B Rev 1.5"
    assert machine.operating_system() == "Debian GNU/Linux 12 (bookworm)"
    assert machine.boot_id() is None


def test_what_a_machine_does_not_tell_is_unknown_and_never_zero(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    first = machine.load()
    assert machine.board()
    assert machine.operating_system()
    assert first.cpu_percent is None, "the first look has no time to compare with"
    assert first.memory_rss_mb is not None
    assert first.memory_rss_mb > 10
    assert machine.load().cpu_percent is not None
    usage = machine.usage()
    assert usage.cpu_seconds > 0
    assert usage.memory_available_bytes > usage.memory_resident_bytes > 1e7
    idle, total = machine.cpu_times()
    assert 0 < idle < total


def test_the_kernel_is_asked_for_its_clock_at_most_once_a_minute() -> None:
    clock, asked = Clock(), []

    def ask() -> bool:
        asked.append(clock.now)
        return True

    machine = Machine(kernel_synced=ask, clock=clock)
    for _ in range(5):
        assert machine.clock_synced()
        clock.now += 20
    assert asked == [100.0, 180.0]
    assert kernel_clock_synced() in (True, False)


def test_systemd_is_told_by_a_datagram(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        Notifier({"NOTIFY_SOCKET": path}).send("READY=1", "STATUS=ok")
        assert manager.recv(100) == b"READY=1\nSTATUS=ok"


def test_an_abstract_socket_begins_with_nul() -> None:
    name = f"edge-agent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        Notifier({"NOTIFY_SOCKET": "@" + name}).send("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_without_a_manager_nothing_is_told_and_nothing_fails(tmp_path: Path) -> None:
    Notifier({}).send("READY=1")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "absent")}).send("READY=1")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "junk"}, None),
    ],
)
def test_the_watchdog_counts_only_when_it_is_ours(environment: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environment).watchdog_seconds == seconds


def test_signals_are_handed_over_and_the_handlers_put_back() -> None:
    before = signal.getsignal(signal.SIGHUP)
    heard: list[int] = []
    with captured_signals(heard.append):
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
    assert heard == [signal.SIGHUP, signal.SIGTERM, signal.SIGHUP]
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_second_stopping_signal_ends_the_process() -> None:
    program = (
        "import signal\n"
        "from edge_agent.service.signals import captured_signals\n"
        "with captured_signals(lambda number: None):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('still here', flush=True)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print('never')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGINT
    assert ended.stdout == "still here\n"


def test_logs_are_json_where_nobody_watches() -> None:
    out = io.StringIO()
    configure_log("info", "auto", out)
    get_logger(name="home").info("model.loaded", version="1.0.0")
    get_logger().debug("not.written")
    line = json.loads(out.getvalue())
    assert (line["event"], line["level"], line["name"], line["version"]) == (
        "model.loaded",
        "info",
        "home",
        "1.0.0",
    )
    assert "timestamp" in line


def test_logs_are_text_on_request_with_the_traceback_of_a_bug() -> None:
    out = io.StringIO()
    configure_log("debug", "text", out)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        get_logger().exception("agent.bug")
    assert "agent.bug" in out.getvalue()
    assert "ZeroDivisionError" in out.getvalue()
